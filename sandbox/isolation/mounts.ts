/** The mounts of a sandbox: what of the host's files is shifted into its ids, and with what rights (see spec.ts). */
import path from "node:path";
import { SpecError, UnsupportedError } from "../../specutils/errors.ts";
import { MS_SHARED, type ParsedMountOptions, parseMountOptions } from "../../specutils/mount-options.ts";
import { hasMappings } from "../../specutils/mount-rules.ts";
import type { IdMapping, Mount } from "../../specutils/spec.ts";
import { namespaceChoice } from "../namespaces.ts";
import { idMappingOf, ignoresCase, USER_MOUNTABLE } from "./file-systems.ts";
import { type HostMount, type IdRange, type Part, RANGE_SIZE, type RootIds, type SandboxedInput } from "./spec.ts";

/** How many mounts of one container are made from descriptors: it is a child of ours that gets them, at its start. */
const MAX_PARTS = 40;

/** Whatever they say, mounts are nosuid and nodev: what is mounted there may hold files that others made. */
const CLOSED = ["nosuid", "nodev"];

/** @throws SpecError, UnsupportedError */
export function sandboxedMounts(
  input: SandboxedInput,
  warnings: string[],
): { mounts: Mount[] | undefined; root: RootIds; parts: Part[] } {
  const found: Findings = { warnings, parts: [] };
  // The root first: it is the tree that is used most.
  const root = input.range === undefined ? "keep" : rootIds(input, found);
  const mounts = input.spec.mounts?.map((mount, index) => sandboxedMount(input, mount, index, found));
  return { mounts, root, parts: found.parts };
}

/** What is looked at to say how ids can be shifted. */
type Looks = Pick<SandboxedInput, "rootfs" | "hasLayer" | "host" | "access">;

/**
 * What is to be done with the ids of the root, in a sandbox with ids of its own.
 *
 * @throws UnsupportedError
 */
export function rootIds(input: Looks, found: Findings = { warnings: [], parts: [] }): RootIds {
  const place: Place = { of: "root", source: input.rootfs, destination: "/", field: "root.path" };
  // A layer is over one file system, without the mounts below it.
  const ids = idsOfTree(input, place, !input.hasLayer, found);
  if (ids === "serve" && !input.hasLayer && input.access("/").access !== "donated") addWhole(found, place);
  return ids;
}

/** @throws UnsupportedError */
function addWhole({ parts }: Findings, { of, source, field }: Place): void {
  if (parts.length >= MAX_PARTS) {
    throw new UnsupportedError(
      `${field}: more than ${MAX_PARTS} mounts of the container would have to be served or mapped one by one: use fewer, or "bind" instead of "rbind"`,
    );
  }
  parts.push({ of, below: "", source, ids: "serve", field });
}

/** What comes of it beside the mounts. */
interface Findings {
  warnings: string[];
  parts: Part[];
}

/** A bind mount, or the root. */
interface Place {
  of: Part["of"];
  source: string;
  destination: string;
  field: string;
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
function newMount({ spec, host, access, range }: SandboxedInput, mount: Mount, index: number): Mount {
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
  const own = hasMappings(mount) && range !== undefined ? withOwnMappings(mount, range, index) : mount;
  return { ...own, options: [...options, ...closed, ...(isOthers ? ["ro"] : [])] };
}

function bindMount(
  input: SandboxedInput,
  mount: Mount,
  parsed: ParsedMountOptions,
  index: number,
  found: Findings,
): Mount {
  const source = path.resolve(input.bundle, mount.source ?? "");
  const isTree = parsed.bind === "rbind";
  const { options = [] } = mount;
  const kind = input.host.look(source)?.kind;
  const field = `mounts[${index}]`;
  const { access, policy } = input.access(mount.destination);
  const isHeld = policy === "named" || (policy === "any" && kind === "directory");
  // Devices keep their owners, to whom the sandbox is nobody; a node that is to be of use cannot be nodev.
  if (kind === "node" || source === "/dev" || source.startsWith("/dev/")) {
    if (isHeld) throw cannotServe(field);
    return { ...mount, options: [...options, "nosuid", ...(isTree ? ["rnosuid"] : [])] };
  }
  const closed = [...options, ...CLOSED, ...(isTree ? ["rnosuid", "rnodev"] : [])];
  if (input.range === undefined) return { ...mount, options: closed };
  if (hasMappings(mount)) {
    if (isHeld) throw cannotServe(field);
    return { ...withOwnMappings(mount, input.range, index), options: closed };
  }
  const place: Place = { of: index, source, destination: mount.destination, field };
  const ids = idsOfTree(input, place, isTree, found);
  if (ids === "serve" && kind === "directory" && access !== "donated") addWhole(found, place);
  else if (ids === "serve") {
    found.warnings.push(nobodys(field, source));
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

/**
 * What is done with the ids of a place. `map-tree` also for a tree without mounts in it, which need not be looked for in a bind
 * of one mount. Where the kernel cannot map a tree as a whole, the mounts below become parts of their own.
 */
function idsOfTree(input: Looks, place: Place, isTree: boolean, found: Findings): RootIds {
  const { host, access: accessOf } = input;
  const { source, destination, field } = place;
  const { access, policy } = accessOf(destination);
  const looked = host.look(source);
  const own = looked === undefined ? "keep" : idMappingOf(looked.magic, host.kernel);
  const canServe = own !== "keep" && looked?.kind === "directory";
  if (policy === "named" && !canServe && looked !== undefined) throw cannotServe(field);
  if (policy !== undefined && looked !== undefined) checkNames(field, source, looked.magic);
  const ids = access === "served" && canServe ? "serve" : own;
  if (!isTree || looked?.kind !== "directory" || ids === "keep") return ids;
  const below = host.mountsBelow(source).map((mount) => partBelow(input, place, mount, found));
  const isMapped = ids === "map" && below.every((part) => part.ids === "map");
  if (isMapped) return "map-tree";
  // What is donated as it is keeps the host's ids below, of which none is inside.
  if (access === "donated") return ids;
  if (below.length > 0 && found.parts.length + below.length >= MAX_PARTS) {
    const many = `there are ${below.length} mounts below ${JSON.stringify(source)}, too many to serve or map beside ${found.parts.length} others`;
    if (ids === "serve") throw new UnsupportedError(`${field}: ${many}: use "bind" instead of "rbind"`);
    found.warnings.push(`${field}: ${many}: their files are nobody's inside`);
    return ids;
  }
  found.parts.push(...below);
  return ids;
}

/** A mount below a place, served or mapped if the place's own files are or would be. */
function partBelow({ host, access: accessOf }: Looks, place: Place, mount: HostMount, { warnings }: Findings): Part {
  const { of, field, destination } = place;
  const { id, point, below, type, isIdMapped } = mount;
  const { access, policy } = accessOf(destination);
  const { magic = 0, kind } = host.look(point) ?? {};
  // devtmpfs says that it is a tmpfs, but its ids cannot be shifted: its nodes belong to the host.
  const own = type === "devtmpfs" ? "keep" : idMappingOf(magic, host.kernel);
  const possible = own === "map" && isIdMapped ? "serve" : own;
  const canServe = possible !== "keep" && kind === "directory";
  if (policy === "named" && !canServe) throw cannotServe(field);
  if (policy !== undefined) checkNames(field, point, magic);
  const wanted = access === "served" && canServe ? "serve" : possible;
  const ids = wanted === "serve" && !(canServe && access !== "donated") ? "keep" : wanted;
  if (ids !== wanted) warnings.push(nobodys(field, point));
  return { of, below, source: point, mountId: id, ids, field };
}

function nobodys(field: string, source: string): string {
  return `${field}: the ids of ${JSON.stringify(source)} cannot be shifted: its files are nobody's inside`;
}

/** @throws UnsupportedError */
function checkNames(field: string, source: string, magic: number): void {
  if (!ignoresCase(magic)) return;
  throw new UnsupportedError(
    `${field}: no gofer policy or audit stream can hold for ${JSON.stringify(source)}, whose file system takes names that are written differently for one: leave it out of the policy, or out of the container`,
  );
}

/** A policy that does not hold would be worse than no container. */
function cannotServe(field: string): UnsupportedError {
  return new UnsupportedError(
    `${field}: there is a gofer policy for it, which only bound directories of files can have, without ids of their own`,
  );
}
