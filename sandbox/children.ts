/**
 * Our children: the helper's processes. The short-lived ones must be waited for, because PID 1 of the sandbox cannot end
 * while a zombie of its pid namespace is left (pid_namespaces(7)).
 */
import { constants } from "node:os";
import { SyscallError } from "../specutils/errors.ts";
import { type ProcessEnd, waitPid } from "../specutils/syscall.ts";

/** Ends that were met while waiting for others. */
const ended = new Map<number, ProcessEnd>();

/** Waits for all children that have ended by now, without blocking. */
export function reapEnded(): void {
  try {
    for (let end = waitPid(-1, { noHang: true }); end !== undefined; end = waitPid(-1, { noHang: true })) {
      ended.set(end.pid, end);
    }
  } catch (error) {
    ignoreNoChild(error);
  }
}

/** Waits for all children, blocking. */
export function reapAll(): void {
  try {
    for (;;) waitPid(-1);
  } catch (error) {
    ignoreNoChild(error);
  }
}

/** ECHILD is how the end of the children shows. */
function ignoreNoChild(error: unknown): void {
  if (!(error instanceof SyscallError && error.errno === constants.errno.ECHILD)) throw error;
}

/** Waits for child `pid`, blocking. @throws SyscallError with ECHILD when it is none */
export function waitForChild(pid: number): ProcessEnd | undefined {
  return ended.get(pid) ?? waitPid(pid);
}
