/**
 * How a container's process ended, as the sandbox process writes it down: one line, because it is written by C.
 *
 *     exited <code> <nanoseconds since 1970>
 *     signaled <signal> <nanoseconds since 1970>
 *
 * Another first word means that the kernel (Linux before 6.15) did not let it know.
 *
 * Twin: `sandbox/init/sandbox.c`, which writes it.
 */

import { readFileSync } from "node:fs";
import type { ProcessRef } from "../specutils/process-ref.ts";
import { zombieStatus } from "../specutils/process-ref.ts";
import type { ExitRecord } from "./record.ts";

/** Reads the exit file at `path`; undefined when nothing, or only a part of a line, has been written yet. */
export function readExitRecord(path: string): ExitRecord | undefined {
  let text: string;
  try {
    text = readFileSync(path, "latin1");
  } catch {
    // Not there: the sandbox process was killed before it could write, or has not got to it.
    return undefined;
  }
  return parseExitRecord(text);
}

/** Parses the first line of an exit file; undefined when it is not complete or not in the form above. */
export function parseExitRecord(text: string): ExitRecord | undefined {
  const match = /^(exited|signaled) (\d{1,3}) (\d{1,20})\n/.exec(text);
  if (match?.[2] === undefined || match[3] === undefined) return undefined;
  const at = formatTime(BigInt(match[3]));
  return match[1] === "exited" ? { exitCode: Number(match[2]), at } : { signal: Number(match[2]), at };
}

/**
 * How a container process ended that its parent, our caller, has not waited for: until that is done the kernel tells the
 * sandbox process nothing, which may be for ever. The time is when it was found out.
 */
export function exitOfZombie(ref: ProcessRef): ExitRecord | undefined {
  const status = zombieStatus(ref);
  if (status === undefined) return undefined;
  const at = formatTime(BigInt(Date.now()) * 1_000_000n);
  const signal = status & 0x7f;
  return signal === 0 ? { exitCode: (status >> 8) & 0xff, at } : { signal, at };
}

/** The exit code that shells and engines report: the process's own, or 128 plus the signal that killed it. */
export function exitCodeOf(exit: ExitRecord): number {
  return exit.exitCode ?? 128 + (exit.signal ?? 0);
}

/** RFC 3339 with nanoseconds, UTC, from nanoseconds since 1970. */
export function formatTime(nanoseconds: bigint): string {
  const milliseconds = nanoseconds / 1_000_000n;
  const seconds = new Date(Number(milliseconds)).toISOString().slice(0, 19);
  const fraction = String(nanoseconds % 1_000_000_000n).padStart(9, "0");
  return `${seconds}.${fraction}Z`;
}
