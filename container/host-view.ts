/** The host as the transform of isolation level `sandboxed` sees it. */
import { readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import { constants } from "node:os";
import { makeDevice } from "../sandbox/devices.ts";
import type { HostMount, HostView } from "../sandbox/isolation/spec.ts";
import { SyscallError, UnsupportedError } from "../specutils/errors.ts";
import { runningKernel } from "../specutils/kernel-version.ts";
import type { Device } from "../specutils/spec.ts";
import { AT_EMPTY_PATH, AT_FDCWD } from "../specutils/syscall/constants.ts";
import { NR, sys, throwErrno } from "../specutils/syscall.ts";

const { ENOENT, ENOTDIR } = constants.errno;

/** A view that knows what it has shown. */
interface LookedAt extends HostView {
  /** Whether any of the mounts that it was asked for have gone or come since. */
  haveMountsChanged(): boolean;
}

/** This host, looked at when it is asked. */
export function hostView(): LookedAt {
  const seen = new Map<string, HostMount[]>();
  const lookBelow = (path: string) => {
    const found = mountsBelow(path);
    seen.set(path, found);
    return found;
  };
  const haveMountsChanged = () => [...seen].some(([path, found]) => !isSame(path, found));
  return { kernel: runningKernel(), look, openNode, isOwnNamespace, mountsBelow: lookBelow, haveMountsChanged };
}

function isSame(path: string, found: readonly HostMount[]): boolean {
  try {
    return JSON.stringify(mountsBelow(path)) === JSON.stringify(found);
  } catch {
    return true; // it is gone itself: what failed because of that says so
  }
}

function look(path: string): ReturnType<HostView["look"]> {
  try {
    const stats = statSync(path);
    const kind = stats.isDirectory()
      ? "directory"
      : stats.isCharacterDevice() || stats.isBlockDevice()
        ? "node"
        : "other";
    return { kind, mode: stats.mode, magic: statfsSync(path).type >>> 0 };
  } catch {
    return undefined; // not there, or not to be looked at: opening it says why
  }
}

function openNode(device: Device): string | undefined {
  if (isOpen(device.path, device)) return device.path;
  const { type, major, minor } = device;
  const kind = type === "b" ? "block" : "char";
  try {
    // What the kernel calls it, below /dev.
    const uevent = readFileSync(`/sys/dev/${kind}/${major}:${minor}/uevent`, "utf8");
    const node = `/dev/${/^DEVNAME=(.+)$/m.exec(uevent)?.[1]}`;
    return isOpen(node, device) ? node : undefined;
  } catch {
    return undefined; // no such device
  }
}

/** Whether it is that very device, and everybody may read or write to it. */
function isOpen(path: string, { type, major = 0, minor = 0 }: Device): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  const isType = type === "b" ? stats?.isBlockDevice() : stats?.isCharacterDevice();
  return (
    stats !== undefined && isType === true && stats.rdev === makeDevice(major, minor) && (stats.mode & 0o006) !== 0
  );
}

/** Namespaces are files of one file system, and differ by their number. */
function isOwnNamespace(path: string): boolean {
  try {
    const { ino } = statSync(path);
    return ["pid", "net", "ipc"].some((name) => statSync(`/proc/self/ns/${name}`).ino === ino);
  } catch {
    return false; // joining it says why it cannot be
  }
}

/** A line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
interface MountLine extends Omit<HostMount, "below"> {
  parent: number;
  isUnbindable: boolean;
}

function mountsBelow(path: string): HostMount[] {
  const real = realpathSync(path);
  const prefix = real === "/" ? "/" : `${real}/`;
  const all = readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n").map(parseMountLine);
  const below = all.filter(({ point }) => point.startsWith(prefix) && point !== real);
  if (below.length === 0) return [];
  const byId = new Map(all.map((mount) => [mount.id, mount]));
  return (
    below
      .filter((mount) => !isLeftOut(mount, byId))
      // What is covered by another mount is not to be seen there either.
      .filter(({ id, point }) => mountIdAt(point) === id)
      .map(({ id, point, type, isIdMapped }) => ({ id, point, type, isIdMapped, below: point.slice(prefix.length) }))
  );
}

/** A recursive bind mount leaves out what is unbindable, with everything below. */
function isLeftOut(mount: MountLine, byId: ReadonlyMap<number, MountLine>): boolean {
  for (let at: MountLine | undefined = mount; at !== undefined; at = byId.get(at.parent)) {
    if (at.isUnbindable) return true;
    if (at.parent === at.id) return false;
  }
  return false;
}

function parseMountLine(line: string): MountLine {
  const [, left = "", type = ""] = /^(.*?) - (\S+) /.exec(line) ?? [];
  const [id = "", parent = "", , , point = "", options = "", ...tags] = left.split(" ");
  return {
    id: Number(id),
    parent: Number(parent),
    point: unescapePath(point),
    type,
    isIdMapped: options.split(",").includes("idmapped"),
    isUnbindable: tags.includes("unbindable"),
  };
}

const STATX_MNT_ID = 0x1000;
const AT_NO_AUTOMOUNT = 0x800;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_BYTES = 256;
const STX_MASK = 0;
const STX_MNT_ID = 0x90;

/** The number of the mount that is to be seen at a path; undefined if nothing is, because another mount covers it. */
function mountIdAt(path: string): number | undefined {
  // What cannot be named here would not be noticed, and what it hides would be shown.
  if (path.includes("\ufffd"))
    throw new UnsupportedError(`the mount at ${JSON.stringify(path)} has a name that is not UTF-8`);
  try {
    return mountId(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC);
  } catch (error) {
    if (error instanceof SyscallError && [ENOENT, ENOTDIR].includes(error.errno)) return undefined;
    throw error;
  }
}

/** The number of the mount that a descriptor is in, as in /proc/self/mountinfo; undefined on kernels before 5.8. */
export function mountIdOf(fd: number): number | undefined {
  return mountId(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC);
}

function mountId(dirFd: number, path: string, flags: number): number | undefined {
  const found = new DataView(new ArrayBuffer(STATX_BYTES));
  const bytes = new Uint8Array(found.buffer);
  throwErrno("statx", path, sys(NR.statx, dirFd, path, flags, STATX_MNT_ID, bytes));
  const isKnown = (found.getUint32(STX_MASK, true) & STATX_MNT_ID) !== 0;
  return isKnown ? Number(found.getBigUint64(STX_MNT_ID, true)) : undefined;
}

/** Blanks and the like are octal in /proc/self/mountinfo (proc_pid_mountinfo(5)). */
function unescapePath(text: string): string {
  return text.replace(/\\(\d{3})/g, (_escape, code) => String.fromCharCode(Number.parseInt(code, 8)));
}
