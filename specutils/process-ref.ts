/**
 * Names one process for good: pid plus start time, because the kernel hands out a pid again once its process is gone.
 *
 * Source: proc_pid_stat(5). Everything here is one small synchronous read of /proc.
 */

import { readFileSync } from "node:fs";

/** One process of this boot, in the pid namespace of whoever wrote the reference down. */
export interface ProcessRef {
  pid: number;
  /** Clock ticks since boot (field 22 of /proc/PID/stat), exact, in decimal. */
  startTime: string;
}

/** What /proc/PID/stat says that liveness depends on. */
export interface ProcessStat {
  /** One letter: `R`, `S`, `D`, `T`, `Z`, … */
  state: string;
  startTime: string;
  threads: number;
}

/** Reads /proc/PID/stat; undefined when there is no such process. */
export function readProcessStat(pid: number | "self"): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    // ENOENT, or ESRCH when it dies between open and read: either way it is gone.
    return undefined;
  }
  return parseProcessStat(text);
}

/** Parses a line of /proc/PID/stat. The command name (field 2) may itself hold spaces and parentheses. */
export function parseProcessStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, startTime, threads] = [fields[0], fields[19], fields[17]];
  if (state === undefined || startTime === undefined || threads === undefined) return undefined;
  return { state, startTime, threads: Number(threads) };
}

/** A reference to a process that exists now; undefined when it does not. */
export function processRef(pid: number): ProcessRef | undefined {
  const stat = readProcessStat(pid);
  return stat && { pid, startTime: stat.startTime };
}

/** A reference to this process itself. */
export function ownProcessRef(): ProcessRef {
  return { pid: process.pid, startTime: readProcessStat("self")?.startTime ?? "0" };
}

/**
 * Whether that very process still runs. A zombie has ended, except while other threads go on after the main thread
 * has ended: then the process is shown as a zombie with more than one thread.
 */
export function isAlive(ref: ProcessRef): boolean {
  const stat = readProcessStat(ref.pid);
  return stat !== undefined && stat.startTime === ref.startTime && !hasEnded(stat);
}

/** Whether that very process exists, be it as a zombie that its parent has not waited for. */
export function isPresent(ref: ProcessRef): boolean {
  return readProcessStat(ref.pid)?.startTime === ref.startTime;
}

function hasEnded(stat: ProcessStat): boolean {
  return stat.state === "X" || (stat.state === "Z" && stat.threads <= 1);
}
