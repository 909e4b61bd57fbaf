/**
 * What isolation level `sandboxed` makes of config.json, as a pure transform: the same container in a user namespace, with
 * the host's files shifted into its range of ids, nothing of the host's that it could use as anybody's root, and
 * no_new_privs. The baseline filter, which config.json has no place for, is in baseline.ts.
 *
 * Where config.json asks for more than can be given safely, it gets what is safe and a warning says what is missing; where
 * nothing safe would be left of it, that is an error.
 */
import { SpecError } from "../../specutils/errors.ts";
import type { KernelVersion } from "../../specutils/kernel-version.ts";
import type { Device, IdMapping, Linux, Mount, Process, Spec } from "../../specutils/spec.ts";
import { namespaceChoice } from "../namespaces.ts";
import { checkForeign } from "./foreign-namespaces.ts";
import type { MountAccess } from "./mount-access.ts";
import { sandboxedMounts } from "./mounts.ts";

/** How many ids every sandbox has. */
export const RANGE_SIZE = 65536;

/** `"false"`: set-user-ID programs of the image make root of the container. */
const PRIVILEGES_ANNOTATION = "dev.cloche.no-new-privileges";

/** The ids of the host that a sandbox's ids 0 to RANGE_SIZE - 1 are. */
export interface IdRange {
  uid: number;
  gid: number;
}

/** What the transform has to know about the host. */
export interface HostView {
  kernel: KernelVersion;
  /** What is at a path, links followed; undefined if nothing is. */
  look(path: string): { kind: "directory" | "node" | "other"; mode: number; magic: number } | undefined;
  /** A node of the host for a device, at `path` or wherever it is; undefined if there is none that everybody may open. */
  openNode(device: Device): string | undefined;
  /** Whether a path leads to a namespace that we are in. */
  isOwnNamespace(path: string): boolean;
  /** The mounts below a directory that a recursive bind mount of it has. */
  mountsBelow(path: string): readonly HostMount[];
}

/** A mount of the host. */
export interface HostMount {
  id: number;
  /** Where it is, without symbolic links, and where below the directory that was asked about. */
  point: string;
  below: string;
  type: string;
  /** Its ids are shifted already, which can be done once. */
  isIdMapped: boolean;
}

export interface SandboxedInput {
  spec: Spec;
  /** Absolute. */
  bundle: string;
  rootfs: string;
  /** Undefined for a spec that says itself how ids are mapped. */
  range: IdRange | undefined;
  /** The user namespace of the sandbox that the container joins, which has that range. */
  joined?: string;
  /** Whether what is written to the root file system goes to a layer over it. */
  hasLayer: boolean;
  /** By a mount's destination; `/` for the root file system. */
  access(destination: string): MountAccess;
  host: HostView;
}

/** How the root file system gets the ids of the sandbox. */
export type RootIds = "keep" | "map" | "map-tree" | "serve";

/** A mount that is made from a descriptor: because it is served, or because what it is below is mounted without it. */
export interface Part {
  /** The bind mount that it is, or is part of, by its index. */
  of: number | "root";
  /** Where in that it is, without a leading slash; empty for the whole. */
  below: string;
  /** On the host, absolute. */
  source: string;
  /** The number of the mount that has to be there; undefined for the whole. */
  mountId?: number;
  ids: "keep" | "map" | "serve";
  /** In config.json. */
  field: string;
}

export interface Sandboxed {
  spec: Spec;
  root: RootIds;
  parts: readonly Part[];
  warnings: string[];
}

/**
 * The container as it is in a sandbox.
 *
 * @throws SpecError, UnsupportedError for what cannot be had there
 */
export function sandboxedSpec(input: SandboxedInput): Sandboxed {
  const { spec, range, joined } = input;
  const warnings: string[] = [];
  const { linux, ...names } = withDomainname(spec);
  const process = spec.process && sandboxedProcess(spec.process, range, spec.annotations);
  if (range === undefined) {
    const { mounts } = sandboxedMounts({ ...input, spec: { ...spec, linux } }, warnings);
    return {
      spec: { ...names, ...(process && { process }), ...(mounts && { mounts }), linux },
      root: "keep",
      parts: [],
      warnings,
    };
  }
  const { devices, binds } = openDevices(linux.devices ?? [], input.host, warnings);
  const sysctl = linux.sysctl && withPossibleGroups(linux);
  const user = { type: "user" as const, ...(joined !== undefined && { path: joined }) };
  const inside: Linux = {
    ...linux,
    ...(sysctl && { sysctl }),
    namespaces: [user, ...(linux.namespaces ?? [])],
    uidMappings: mappings(range.uid),
    gidMappings: mappings(range.gid),
    devices,
  };
  if (joined === undefined) checkForeign({ ...names, linux: inside }, input.host);
  warnAboutHost(inside, input.host, warnings);
  const { mounts, root, parts } = sandboxedMounts({ ...input, spec: { ...spec, linux: inside } }, warnings);
  return {
    spec: { ...names, ...(process && { process }), mounts: [...(mounts ?? []), ...binds], linux: inside },
    root,
    parts,
    warnings,
  };
}

/** Whether config.json leaves the choice of ids to the runtime. */
export function wantsRange(spec: Spec): boolean {
  return namespaceChoice(spec.linux, "user").kind === "host";
}

/**
 * A process of a sandbox, also one that `exec` adds: no_new_privs unless it says otherwise. That takes an explicit `false`, which
 * engines do not write; so there is an annotation of the container for it.
 *
 * @throws SpecError for an id that the sandbox does not have
 */
export function sandboxedProcess(
  process: Process,
  range: IdRange | undefined,
  annotations: Record<string, string> = {},
): Process {
  if (range !== undefined) checkIds(process);
  return { ...process, noNewPrivileges: process.noNewPrivileges ?? annotations[PRIVILEGES_ANNOTATION] !== "false" };
}

function checkIds({ user }: Process): void {
  const ids: [string, number][] = [
    ["uid", user.uid],
    ["gid", user.gid],
  ];
  for (const [index, gid] of (user.additionalGids ?? []).entries()) ids.push([`additionalGids[${index}]`, gid]);
  for (const [name, id] of ids) {
    if (id < RANGE_SIZE) continue;
    const field = `process.user.${name}`;
    throw new SpecError(
      `invalid config.json: ${field}: got ${id}, but a sandbox has the ids 0 to ${RANGE_SIZE - 1}: use --isolation oci, or a user namespace in config.json`,
      field,
    );
  }
}

/** docker writes the name to a file of /proc that only root of the host may write to; setdomainname(2) does the same. */
function withDomainname(spec: Spec): Spec & { linux: Linux } {
  const { "kernel.domainname": domainname, ...sysctl } = spec.linux?.sysctl ?? {};
  if (domainname === undefined || namespaceChoice(spec.linux, "uts").kind !== "new") {
    return { ...spec, linux: spec.linux ?? {} };
  }
  return { ...spec, domainname, linux: { ...spec.linux, sysctl } };
}

/** docker lets all groups ping. In a user namespace the range must be of groups that it has. */
function withPossibleGroups({ sysctl = {}, ...linux }: Linux): Record<string, string> {
  const key = "net.ipv4.ping_group_range";
  const [, first = "", last = ""] = /^(\d+)\s+(\d+)$/.exec(sysctl[key]?.trim() ?? "") ?? [];
  if (last === "" || namespaceChoice(linux, "network").kind !== "new") return sysctl;
  return { ...sysctl, [key]: `${first} ${Math.min(Number(last), RANGE_SIZE - 1)}` };
}

function mappings(hostID: number): IdMapping[] {
  return [{ containerID: 0, hostID, size: RANGE_SIZE }];
}

/**
 * Nobody is root of the host in a sandbox, so of the devices only those that are open to everybody are of any use; they are
 * bound from the host, and so keep their owner and mode. `--privileged` asks for all that the host has.
 *
 * @returns the devices that the host has at the same path, and bind mounts for those that are elsewhere
 */
function openDevices(
  devices: readonly Device[],
  host: HostView,
  warnings: string[],
): { devices: Device[]; binds: Mount[] } {
  // That of the container's own terminals is made with them.
  const wanted = devices.filter(({ path }) => path !== "/dev/ptmx");
  const found = wanted.map((device) => ({ device, node: device.type === "p" ? device.path : host.openNode(device) }));
  const closed = found.filter(({ node }) => node === undefined).map(({ device }) => JSON.stringify(device.path));
  if (closed.length > 0) {
    const [named, others] = [closed.slice(0, 3), closed.length - 3];
    const rest = others > 0 ? ` and ${others} others` : "";
    warnings.push(`linux.devices: left out ${named.join(", ")}${rest}: only root of the host may open them`);
  }
  return {
    devices: found.flatMap(({ device, node }) => (node === device.path ? [device] : [])),
    binds: found.flatMap(({ device: { path }, node }) =>
      node === undefined || node === path
        ? []
        : [{ destination: path, type: "bind", source: node, options: ["bind", "nosuid"] }],
    ),
  };
}

/** One line each for what is shared with the host and cannot be used as its root. */
function warnAboutHost(linux: Linux, host: HostView, warnings: string[]): void {
  const isHost = (type: "network" | "pid") => {
    const choice = namespaceChoice(linux, type);
    return choice.kind === "host" || (choice.kind === "path" && host.isOwnNamespace(choice.path));
  };
  if (isHost("network")) {
    warnings.push("linux.namespaces: in the host's network the container has no rights: no low ports, no raw sockets");
  }
  if (isHost("pid")) {
    warnings.push("linux.namespaces: the container sees the host's processes and can neither signal nor trace them");
  }
}
