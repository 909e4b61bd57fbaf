/**
 * Our children: the helper's processes. The short-lived ones must be waited for, because PID 1 of the sandbox cannot end
 * while a zombie of its pid namespace is left (pid_namespaces(7)).
 */
import { constants } from "node:os";
import { SyscallError } from "../specutils/errors.ts";
import { NR, type ProcessEnd, sys, waitPid } from "../specutils/syscall.ts";
import { sleepMs } from "./cgroups/files.ts";

const SIGKILL = 9;
/** Between two looks at children that take their time to die. */
const MAX_PAUSE_MS = 10;

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

/**
 * Kills children and waits for them. Not for others: whoever executed us may have left us children of theirs, which end when they like; but
 * whoever else has ended is waited for, too, as it may be what one of these waits for (see above). A child that was waited for already is
 * left alone, since its pid may be somebody else's by now.
 */
export function endChildren(pids: readonly number[]): void {
  const left = new Set(pids.filter((pid) => !ended.has(pid)));
  for (const pid of left) sys(NR.kill, pid, SIGKILL);
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    reapEnded();
    for (const pid of left) if (ended.has(pid) || !isChild(pid)) left.delete(pid);
    if (left.size === 0) return;
    sleepMs(pauseMs);
  }
}

/** Whether it is a child that has not ended. */
function isChild(pid: number): boolean {
  try {
    return waitPid(pid, { noHang: true }) === undefined;
  } catch (error) {
    ignoreNoChild(error);
    return false;
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
