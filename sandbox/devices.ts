/** Device nodes and the links in /dev that every container has (config-linux.md#devices, #default-devices). */
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { UnsupportedError } from "../specutils/errors.ts";
import { parseMountOptions } from "../specutils/mount-options.ts";
import type { Device, Mount, Spec } from "../specutils/spec.ts";
import { openTreeOps } from "./mounts.ts";
import { op, type Plan } from "./plan.ts";
import { OP, OP_FLAG, TARGET } from "./protocol.ts";

const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;

const TYPES: Readonly<Record<string, number>> = { b: S_IFBLK, c: S_IFCHR, u: S_IFCHR, p: S_IFIFO };

/** config-linux.md#default-devices. /dev/console and /dev/ptmx are made with the terminal and devpts. */
const DEFAULT_DEVICES: readonly Device[] = (
  [
    ["null", 3],
    ["zero", 5],
    ["full", 7],
    ["random", 8],
    ["urandom", 9],
  ] as const
)
  .map(
    ([name, minor]): Device => ({ type: "c", path: `/dev/${name}`, major: 1, minor, fileMode: 0o666, uid: 0, gid: 0 }),
  )
  .concat({ type: "c", path: "/dev/tty", major: 5, minor: 0, fileMode: 0o666, uid: 0, gid: 0 });

/** config-linux.md#dev-symbolic-links */
const LINKS: readonly [string, string][] = [
  ["/dev/fd", "/proc/self/fd"],
  ["/dev/stdin", "/proc/self/fd/0"],
  ["/dev/stdout", "/proc/self/fd/1"],
  ["/dev/stderr", "/proc/self/fd/2"],
];

/** Whether /dev is the container's own. A /dev bound from elsewhere is left as it is. */
function hasOwnDev(spec: Spec): boolean {
  return !mountsAt(spec, "/dev").some(({ type, options }) => parseMountOptions(options ?? [], type).bind !== false);
}

function mountsAt({ mounts = [] }: Spec, wanted: string): Mount[] {
  return mounts.filter(({ destination }) => path.posix.normalize(`/${destination}`).replace(/\/$/, "") === wanted);
}

/**
 * Ops that make the devices of config.json and the default ones.
 *
 * @param useBinds bind the host's nodes instead: in a user namespace mknod(2) of a device is refused
 */
export function planDevices(plan: Plan, spec: Spec, root: number, useBinds: boolean): void {
  const listed = spec.linux?.devices ?? [];
  const paths = new Set(listed.map(({ path: listedPath }) => path.posix.normalize(listedPath)));
  const isOwn = hasOwnDev(spec);
  const defaults = isOwn ? DEFAULT_DEVICES.filter((device) => !paths.has(device.path)) : [];
  for (const device of defaults) planDevice(plan, device, root, useBinds, `default device ${device.path}`);
  listed.forEach((device, index) => {
    if (useBinds && device.type !== "p") checkHostNode(device, `linux.devices[${index}]`);
    planDevice(plan, device, root, useBinds, `linux.devices[${index}]: create ${JSON.stringify(device.path)}`);
  });
  if (!isOwn) return;
  const links = existsSync("/proc/kcore") ? [...LINKS, ["/dev/core", "/proc/kcore"] as const] : LINKS;
  for (const [link, target] of links) plan.container.push(op(OP.SYMLINK, `link ${link}`, [root], [link, target]));
  // The multiplexer of the container's own devpts, whatever the image has there. Without one, what is there stays: with "/" for
  // a root it is the host's.
  if (mountsAt(spec, "/dev/pts").length === 0) return;
  plan.container.push(op(OP.SYMLINK, "link /dev/ptmx", [root], ["/dev/ptmx", "pts/ptmx"], OP_FLAG.REPLACE));
}

/** A bound node brings its own mode and owner along; at least it has to be the device. @throws UnsupportedError */
function checkHostNode({ path: nodePath, type, major = 0, minor = 0 }: Device, field: string): void {
  const found = statSync(nodePath, { throwIfNoEntry: false });
  const isType = type === "b" ? found?.isBlockDevice() : found?.isCharacterDevice();
  if (found !== undefined && isType === true && found.rdev === makeDevice(major, minor)) return;
  throw new UnsupportedError(
    `${field}: ${JSON.stringify(nodePath)} on the host is not that device, and a user namespace may not make one`,
  );
}

/** A device number as stat(2) has it (makedev(3)): 12 bits of major, 20 bits of minor. */
export function makeDevice(major: number, minor: number): number {
  return (minor & 0xff) + major * 0x100 + (minor >> 8) * 0x100000;
}

function planDevice(plan: Plan, device: Device, root: number, useBinds: boolean, what: string): void {
  const { type, major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 } = device;
  if (useBinds && type !== "p") {
    const slot = plan.slot();
    plan.host.push(...openTreeOps(slot, device.path, false, false, what));
    const target = plan.slot();
    plan.container.push(
      op(OP.TARGET, what, [target, root, TARGET.FILE, 0o644], [device.path]),
      op(OP.ATTACH, what, [slot, target]),
      op(OP.CLOSE, what, [target]),
      op(OP.CLOSE, what, [slot]),
    );
    return;
  }
  const mode = (TYPES[type] ?? 0) | (fileMode & 0o7777);
  const number = (BigInt(major) << 32n) | BigInt(minor);
  const owner = (BigInt(uid) << 32n) | BigInt(gid);
  plan.container.push(op(OP.MKNOD, what, [root, mode, number, owner], [device.path]));
}
