/** Versions of Linux, where what the kernel can do is told by its version alone. */

import { release } from "node:os";

/** Major and minor number. */
export type KernelVersion = readonly [major: number, minor: number];

/** The version of the running kernel: of a release such as `6.18.44-generic`, 6 and 18 (uname(2)). */
export function runningKernel(): KernelVersion {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release()) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

/** Whether `kernel` is `since` or a later one. */
export function isAtLeast([major, minor]: KernelVersion, since: KernelVersion): boolean {
  return major > since[0] || (major === since[0] && minor >= since[1]);
}
