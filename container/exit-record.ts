/**
 * How a container's process ended, as the sandbox process writes it down: one line, because it is written by C.
 *
 *     (an empty line: the space of what follows, taken by `create`, so that a disk that is full later does not matter)
 *     exited <code> <nanoseconds since 1970>
 *     signaled <signal> <nanoseconds since 1970>
 *
 *     gofer 9 <nanoseconds since 1970>      the process that served it its files had ended, and so it was killed
 *
 * Another first word means that the kernel (Linux before 6.15) did not let it know.
 *
 * Twin: `sandbox/init/sandbox.c`, which writes it.
 */

import { statSync } from "node:fs";
import { oomKillCount } from "../sandbox/cgroups/oom-kills.ts";
import type { ProcessRef } from "../specutils/process-ref.ts";
import { isExecuting, zombieStatus } from "../specutils/process-ref.ts";
import { readText } from "../statefile/document.ts";
import { type ExitRecord, hasCgroup, type SavedContainer } from "./record.ts";

/** signal(7). Not out of node:os, which takes 0.3 ms to load, in commands that need nothing else of it. */
const SIGKILL = 9;

/** Reads the exit file at `path`; undefined when nothing, or only a part of a line, has been written yet. */
export function readExitRecord(path: string): ExitRecord | undefined {
  try {
    return parseExitRecord(readText(path) ?? "");
  } catch {
    // Something else is in its place: then it is not known how the process ended.
    return undefined;
  }
}

/** What `create` writes into the exit file: the file system then has the block or page into which the line goes. */
export const EXIT_FILE_START = "\n";

/** Parses the text of an exit file; undefined when it is not complete or not in the form above. */
export function parseExitRecord(text: string): ExitRecord | undefined {
  const match = /^\n?(exited|signaled|gofer) (\d{1,3}) (\d{1,20})\n/.exec(text);
  if (match?.[2] === undefined || match[3] === undefined) return undefined;
  const at = formatTime(BigInt(match[3]));
  if (match[1] === "exited") return { exitCode: Number(match[2]), at };
  return { signal: Number(match[2]), at, ...(match[1] === "gofer" && { reason: "gofer-ended" as const }) };
}

/**
 * How a container process ended that its parent, our caller, has not waited for: until that is done the kernel tells the
 * sandbox process nothing, which may be for ever. The time is when it was found out.
 */
export function exitOfZombie(ref: ProcessRef): ExitRecord | undefined {
  const status = zombieStatus(ref);
  return status === undefined ? undefined : exitOfStatus(status);
}

/** How a process ended of which waitpid(2) tells `status`, as found out now. */
export function exitOfStatus(status: number): ExitRecord {
  const at = timestamp();
  const signal = status & 0x7f;
  return signal === 0 ? { exitCode: (status >> 8) & 0xff, at } : { signal, at };
}

/**
 * How the container ended, with the reason if the process died of SIGKILL and it is known who sent it: the kernel, since the
 * sandbox process had been killed; or the OOM killer, which has struck in its cgroup since `noteOomKills`. Must be asked while
 * there is the cgroup; a systemd scope goes with its last process.
 *
 * @param exitFile path of the container's exit file
 */
export function explainExit(exit: ExitRecord, record: SavedContainer, exitFile: string): ExitRecord {
  if (exit.signal !== SIGKILL || exit.reason !== undefined) return exit;
  if (wasSandboxKilled(record, exitFile)) return { ...exit, reason: "sandbox-ended" };
  return oomKills(record) > (record.oomKillsBefore ?? 0) ? { ...exit, reason: "oom-killed" } : exit;
}

/**
 * Whether the kernel has ended the container with its sandbox process, the first of the pid namespace that holds the container's.
 * One that has ended by itself has written something: the look at the file has to come second.
 */
function wasSandboxKilled({ sandbox, ownPidNamespace }: SavedContainer, exitFile: string): boolean {
  if (!ownPidNamespace || sandbox === undefined || isExecuting(sandbox)) return false;
  return statSync(exitFile, { throwIfNoEntry: false })?.size === EXIT_FILE_START.length;
}

/**
 * Notes in the record that what follows is not the OOM killer's doing, for who is about to send SIGKILL. Returns whether there
 * was anything to note: the caller saves that before it kills, for whoever sees the end first.
 */
export function noteOomKills(record: SavedContainer): boolean {
  // It is dead already, which may have been the OOM killer's doing, and nobody may know yet how it ended.
  if (record.status === "stopped") return false;
  const count = oomKills(record);
  if (count === (record.oomKillsBefore ?? 0)) return false;
  record.oomKillsBefore = count;
  return true;
}

function oomKills(record: SavedContainer): number {
  try {
    return hasCgroup(record) ? oomKillCount(record.cgroup) : 0;
  } catch {
    // A reason that cannot be found out keeps nobody from learning that the container has ended.
    return 0;
  }
}

/** The exit code that shells and engines report: the process's own, or 128 plus the signal that killed it. */
export function exitCodeOf(exit: ExitRecord): number {
  return exit.exitCode ?? 128 + (exit.signal ?? 0);
}

/** Now, in the form of all times in a record; exact to the millisecond. */
export function timestamp(): string {
  return formatTime(BigInt(Date.now()) * 1_000_000n);
}

/** RFC 3339 with nanoseconds, UTC, from nanoseconds since 1970. */
export function formatTime(nanoseconds: bigint): string {
  const milliseconds = nanoseconds / 1_000_000n;
  const seconds = new Date(Number(milliseconds)).toISOString().slice(0, 19);
  const fraction = String(nanoseconds % 1_000_000_000n).padStart(9, "0");
  return `${seconds}.${fraction}Z`;
}
