/** How a process ended that somebody else has waited for, told by a pidfd that was opened while it was there. */

import { NR, sys } from "./syscall.ts";

/** PIDFD_GET_INFO of linux/pidfd.h, for the structure as it was first published (PIDFD_INFO_SIZE_VER0, 64 bytes). */
const PIDFD_GET_INFO = 0xc040ff0bn;
const INFO_BYTES = 64;
/** PIDFD_INFO_EXIT, asked for and granted in the first field, `mask`. */
const EXIT = 8n;
const EXIT_CODE = 60;

/**
 * The status that waitpid(2) gave to whoever waited for the process behind `pidfd`. Undefined as long as nobody has, and
 * before Linux 6.15. Twin: `record_exit` of sandbox/init/sandbox.c.
 */
export function reapedStatus(pidfd: number): number | undefined {
  const info = new DataView(new ArrayBuffer(INFO_BYTES));
  info.setBigUint64(0, EXIT, true);
  if (sys(NR.ioctl, pidfd, PIDFD_GET_INFO, new Uint8Array(info.buffer)) < 0) return undefined;
  return (info.getBigUint64(0, true) & EXIT) === 0n ? undefined : info.getInt32(EXIT_CODE, true);
}
