/** The mounts of a sandbox: what of the host's files is shifted into its ids, and with what rights (see spec.ts). */
import path from "node:path";
import { SpecError, UnsupportedError } from "../../specutils/errors.ts";
import { MS_SHARED, type ParsedMountOptions, parseMountOptions } from "../../specutils/mount-options.ts";
import type { IdMapping, Mount } from "../../specutils/spec.ts";
import { namespaceChoice } from "../namespaces.ts";
import { idMappingOf, USER_MOUNTABLE } from "./file-systems.ts";
import { type IdRange, RANGE_SIZE, type RootIds, type SandboxedInput } from "./spec.ts";

/** Whatever they say, mounts are nosuid and nodev: what is mounted there may hold files that others made. */
const CLOSED = ["nosuid", "nodev"];

/** @throws SpecError, UnsupportedError */
export function sandboxedMounts(
  input: SandboxedInput,
  warnings: string[],
): { mounts: Mount[] | undefined; root: RootIds; served: number[] } {
  const served: number[] = [];
  const mounts = input.spec.mounts?.map((mount, index) => sandboxedMount(input, mount, index, { warnings, served }));
  const root =
    input.range === undefined
      ? "keep"
      : idsOfTree(input, { source: input.rootfs, destination: "/", field: "root.path" }, true);
  return { mounts, root, served };
}

/** What comes of it beside the mounts. */
interface Findings {
  warnings: string[];
  served: number[];
}

function sandboxedMount(input: SandboxedInput, mount: Mount, index: number, found: Findings): Mount {
  const options = parseMountOptions(mount.options ?? [], mount.type);
  if (options.remount) return { ...mount, options: [...(mount.options ?? []), ...CLOSED] };
  if (options.bind !== false) {
    // create-plan.ts takes it out of the host's peer groups.
    if (options.propagation.some(({ type }) => type === MS_SHARED)) {
      found.warnings.push(`mounts[${index}].options: shared: what is mounted in a sandbox stays in it`);
    }
    return bindMount(input, mount, options, index, found);
  }
  if (input.range === undefined || mount.type === undefined || mount.type === "none") return mount;
  return newMount(input, mount, index);
}

/** A new file system. Those of the kernel belong to a namespace, and may be mounted by who owns that. */
function newMount({ spec, host, access }: SandboxedInput, mount: Mount, index: number): Mount {
  const { type = "", options = [] } = mount;
  if (access(mount.destination).policy === "named") throw cannotServe(`mounts[${index}]`);
  if (!USER_MOUNTABLE.has(type)) {
    throw new UnsupportedError(
      `mounts[${index}].type: ${JSON.stringify(type)} cannot be mounted in a sandbox: mount it on the host and bind it, or use --isolation oci`,
    );
  }
  const pid = namespaceChoice(spec.linux, "pid");
  const isHosts = pid.kind === "host" || (pid.kind === "path" && host.isOwnNamespace(pid.path));
  if (type === "proc" && isHosts) {
    return { ...mount, type: "bind", source: "/proc", options: ["bind", ...options, ...CLOSED] };
  }
  // The host's devices, or those of somebody else's network: to look at.
  const isOthers = type === "sysfs" && namespaceChoice(spec.linux, "network").kind !== "new";
  // Terminals are devices, made by the kernel.
  const closed = type === "devpts" ? ["nosuid"] : CLOSED;
  return { ...mount, options: [...options, ...closed, ...(isOthers ? ["ro"] : [])] };
}

function bindMount(
  input: SandboxedInput,
  mount: Mount,
  parsed: ParsedMountOptions,
  index: number,
  { warnings, served }: Findings,
): Mount {
  const source = path.resolve(input.bundle, mount.source ?? "");
  const isTree = parsed.bind === "rbind";
  const { options = [] } = mount;
  const found = input.host.look(source);
  const field = `mounts[${index}]`;
  const { access, policy } = input.access(mount.destination);
  const isHeld = policy === "named" || (policy === "any" && found?.kind === "directory");
  // Devices keep their owners, to whom the sandbox is nobody; a node that is to be of use cannot be nodev.
  if (found?.kind === "node" || source === "/dev" || source.startsWith("/dev/")) {
    if (isHeld) throw cannotServe(field);
    return { ...mount, options: [...options, "nosuid", ...(isTree ? ["rnosuid"] : [])] };
  }
  const closed = [...options, ...CLOSED, ...(isTree ? ["rnosuid", "rnodev"] : [])];
  if (input.range === undefined) return { ...mount, options: closed };
  if (parsed.idmap !== undefined && mount.uidMappings !== undefined) {
    if (isHeld) throw cannotServe(field);
    return { ...withOwnMappings(mount, input.range, index), options: closed };
  }
  const ids = idsOfTree(input, { source, destination: mount.destination, field }, isTree);
  if (ids === "serve" && found?.kind === "directory" && access !== "donated") served.push(index);
  else if (ids === "serve") {
    warnings.push(`${field}: the ids of ${JSON.stringify(source)} cannot be shifted: its files are nobody's inside`);
  }
  const word = ids === "map" ? ["idmap"] : ids === "map-tree" ? ["ridmap"] : [];
  return { ...mount, options: [...closed, ...word] };
}

/** Mappings of the mount's own are to the container's ids, which are others on the host by now. @throws SpecError */
function withOwnMappings(mount: Mount, range: IdRange, index: number): Mount {
  const shift = (mappings: IdMapping[] | undefined, start: number, field: string) =>
    (mappings ?? []).map((mapping) => {
      if (mapping.hostID + mapping.size <= RANGE_SIZE) return { ...mapping, hostID: mapping.hostID + start };
      const name = `mounts[${index}].${field}`;
      throw new SpecError(`invalid config.json: ${name}: a sandbox has the ids 0 to ${RANGE_SIZE - 1}`, name);
    });
  return {
    ...mount,
    uidMappings: shift(mount.uidMappings, range.uid, "uidMappings"),
    gidMappings: shift(mount.gidMappings, range.gid, "gidMappings"),
  };
}

/** `map-tree` also for a tree without mounts in it, which need not be looked for in a bind of one mount. */
function idsOfTree(
  { host, access: accessOf }: SandboxedInput,
  { source, destination, field }: { source: string; destination: string; field: string },
  isTree: boolean,
): RootIds {
  const { access, policy } = accessOf(destination);
  const found = host.look(source);
  const ids = found === undefined ? "keep" : idMappingOf(found.magic, host.kernel);
  const canServe = ids !== "keep" && found?.kind === "directory";
  if (policy === "named" && !canServe && found !== undefined) throw cannotServe(field);
  if (access === "served" && canServe) return "serve";
  if (ids !== "map" || !isTree || found?.kind !== "directory") return ids;
  // The kernel maps a tree as a whole or not at all; what cannot be mapped keeps the host's ids, of which none is inside.
  const canAll = host.mountsBelow(source).every((point) => {
    const { magic = 0 } = host.look(point) ?? {};
    return idMappingOf(magic, host.kernel) === "map";
  });
  return canAll ? "map-tree" : "map";
}

/** A policy that does not hold would be worse than no container. */
function cannotServe(field: string): UnsupportedError {
  return new UnsupportedError(
    `${field}: there is a gofer policy for it, which only bound directories of files can have, without ids of their own`,
  );
}
