/** The host as the transform of isolation level `sandboxed` sees it. */
import { readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import type { HostView } from "../sandbox/isolation/spec.ts";

export function hostView(): HostView {
  return { kernel: kernelVersion(release()), look, mountsBelow };
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
