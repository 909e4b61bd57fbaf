/**
 * Signals to one certain process, and waiting for its end, through a pidfd: a pid alone may name another process by the
 * time the signal is sent.
 */

import { closeSync } from "node:fs";
import { constants } from "node:os";
import { ClocheError, SyscallError } from "../specutils/errors.ts";
import type { ProcessRef } from "../specutils/process-ref.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { POLLIN } from "../specutils/syscall/constants.ts";
import { pidfdOpen, pidfdSendSignal, poll } from "../specutils/syscall.ts";

/** Sends a signal, 0 to 64, to that very process. Returns whether it was there to get it. @throws SyscallError */
export function signalProcess(ref: ProcessRef, signal: number): boolean {
  return withPidfd(ref, false, (pidfd) => {
    try {
      pidfdSendSignal(pidfd, signal);
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  });
}

/** Waits up to `timeoutMs` (-1: for ever) for the end of that very process, blocking. Returns whether it has ended. */
export function waitForEnd(ref: ProcessRef, timeoutMs: number): boolean {
  return withPidfd(ref, true, (pidfd) => poll([{ fd: pidfd, events: POLLIN }], timeoutMs)[0] !== 0);
}

/**
 * Kills that very process and waits until it has ended. What is gone already is fine.
 *
 * @throws ClocheError when it does not die in time, which only a process in uninterruptible sleep does not
 */
export function killProcess(ref: ProcessRef, timeoutMs: number): void {
  if (signalProcess(ref, constants.signals.SIGKILL) && !waitForEnd(ref, timeoutMs)) {
    throw new ClocheError(`process ${ref.pid} did not die of SIGKILL within ${timeoutMs / 1000} seconds`);
  }
}

function withPidfd(ref: ProcessRef, ifGone: boolean, use: (pidfd: number) => boolean): boolean {
  const pidfd = openPidfd(ref);
  if (pidfd === undefined) return ifGone;
  try {
    return use(pidfd);
  } finally {
    closeSync(pidfd);
  }
}

/**
 * A pidfd of that very process, which the caller closes; undefined when it has ended. The start time is compared after the
 * pidfd was opened: from then on the pidfd stands for what was compared.
 *
 * @throws SyscallError
 */
export function openPidfd(ref: ProcessRef): number | undefined {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(ref.pid);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
  if (isAlive(ref)) return pidfd;
  closeSync(pidfd);
  return undefined;
}

/** ESRCH: no such process. EINVAL and, since Linux 6.15, ENOENT: the pid is now that of a thread of another process. */
function isGone(error: unknown): boolean {
  const { ESRCH, EINVAL, ENOENT } = constants.errno;
  return error instanceof SyscallError && [ESRCH, EINVAL, ENOENT].includes(error.errno);
}
