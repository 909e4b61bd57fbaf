/** The host as the transform of isolation level `sandboxed` sees it. */
import { readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import { makeDevice } from "../sandbox/devices.ts";
import type { HostView } from "../sandbox/isolation/spec.ts";
import type { Device } from "../specutils/spec.ts";

export function hostView(): HostView {
  return { kernel: kernelVersion(release()), look, openNode, isOwnNamespace, mountsBelow };
}

/** Major and minor number of a release such as `6.18.44-generic`. */
export function kernelVersion(text: string): [number, number] {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
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

function mountsBelow(path: string): string[] {
  const real = realpathSync(path);
  const prefix = real === "/" ? "/" : `${real}/`;
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => unescapePath(line.split(" ")[4] ?? ""))
    .filter((point) => point.startsWith(prefix) && point !== real);
}

/** Blanks and the like are octal in /proc/self/mountinfo (proc_pid_mountinfo(5)). */
function unescapePath(text: string): string {
  return text.replace(/\\(\d{3})/g, (_escape, code) => String.fromCharCode(Number.parseInt(code, 8)));
}
