/**
 * Names one process for good: pid plus start time, because the kernel hands out a pid again once its process is gone.
 *
 * Source: proc_pid_stat(5). Everything here is one small synchronous read of /proc.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { ClocheError } from "./errors.ts";

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
  /** The name of what it executes (comm), which may hold anything; kept by a zombie. */
  name: string;
  startTime: string;
  /** Whether it is on its way out, or has been killed and runs no code of its own any more. */
  isExiting: boolean;
  threads: number;
  /** How it ended, as waitpid(2) tells it (field 52). 0 before its end, and for who may not know. */
  waitStatus: number;
}

/** Fields of /proc/PID/stat, counted from the one behind the name: the third is 0. */
const STATE = 0;
const FLAGS = 6;
const THREADS = 17;
const START_TIME = 19;
const SIGNALS = 28;
const WAIT_STATUS = 49;

/** A flag of field 9, out of the kernel's include/linux/sched.h. */
const PF_EXITING = 0x4;

/** A bit of field 31: SIGKILL, which cannot be blocked. */
const PENDING_SIGKILL = 1 << 8;

/**
 * Reads /proc/PID/stat; undefined when there is no such process.
 *
 * @throws NodeJS.ErrnoException when it cannot be read for another reason, such as too many open files: a process that
 *   cannot be looked at must not be taken for one that is gone
 */
export function readProcessStat(pid: number | "self"): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    // ESRCH: it died between open and read.
    const { code = "" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
  return parseProcessStat(text);
}

/** Parses a line of /proc/PID/stat. The command name (field 2) may itself hold spaces and parentheses. */
export function parseProcessStat(text: string): ProcessStat | undefined {
  const nameEnd = text.lastIndexOf(")");
  const name = text.slice(text.indexOf("(") + 1, nameEnd);
  // By position: all fifty fields as strings would cost ten times as much as the six that count.
  const ends: number[] = [];
  for (let end = nameEnd + 1; ends.length <= WAIT_STATUS && end < text.length; ) {
    const next = text.indexOf(" ", end + 1);
    end = next === -1 ? text.length : next;
    ends.push(end);
  }
  const field = (index: number) => text.slice((ends[index - 1] ?? nameEnd + 1) + 1, ends[index]);
  if (ends.length <= START_TIME) return undefined;
  const isExiting = (Number(field(FLAGS)) & PF_EXITING) !== 0 || (Number(field(SIGNALS)) & PENDING_SIGKILL) !== 0;
  return {
    state: field(STATE),
    name,
    startTime: field(START_TIME),
    isExiting,
    threads: Number(field(THREADS)),
    waitStatus: Number(field(WAIT_STATUS)),
  };
}

/** A reference to a process that exists now; undefined when it does not. */
export function processRef(pid: number): ProcessRef | undefined {
  const stat = readProcessStat(pid);
  return stat && { pid, startTime: stat.startTime };
}

let ownRef: ProcessRef | undefined;

/** A reference to this process itself. @throws ClocheError where there is no /proc to tell */
export function ownProcessRef(): ProcessRef {
  if (ownRef === undefined) {
    const stat = readProcessStat("self");
    if (stat === undefined) throw new ClocheError("cannot read /proc/self/stat: is /proc mounted?");
    ownRef = { pid: process.pid, startTime: stat.startTime };
  }
  return ownRef;
}

/**
 * Whether that very process still runs. A zombie has ended, except while other threads go on after the main thread
 * has ended: then the process is shown as a zombie with more than one thread.
 */
export function isAlive(ref: ProcessRef): boolean {
  const stat = readProcessStat(ref.pid);
  return stat !== undefined && stat.startTime === ref.startTime && !hasEnded(stat);
}

/**
 * Whether that very process still runs code of its own. One that was killed may be there for a while without doing so: the
 * first process of a pid namespace waits in the kernel until all others in there are gone, zombies included.
 */
export function isExecuting(ref: ProcessRef): boolean {
  const stat = readProcessStat(ref.pid);
  return stat !== undefined && stat.startTime === ref.startTime && !stat.isExiting && !hasEnded(stat);
}

/** Whether that very process exists, be it as a zombie that its parent has not waited for. */
export function isPresent(ref: ProcessRef): boolean {
  return readProcessStat(ref.pid)?.startTime === ref.startTime;
}

/**
 * How that very process ended, as waitpid(2) tells it, while it is a zombie that its parent has not waited for.
 * Undefined when it is not, or when the kernel does not let us know.
 */
export function zombieStatus(ref: ProcessRef): number | undefined {
  const stat = readProcessStat(ref.pid);
  if (stat === undefined || stat.startTime !== ref.startTime || !hasEnded(stat)) return undefined;
  try {
    // The kernel shows 0, like that of a success, to who may not trace the process; this link tells us whether we may.
    readlinkSync(`/proc/${ref.pid}/ns/user`);
  } catch {
    return undefined;
  }
  return stat.waitStatus;
}

function hasEnded(stat: ProcessStat): boolean {
  return stat.state === "X" || (stat.state === "Z" && stat.threads <= 1);
}
