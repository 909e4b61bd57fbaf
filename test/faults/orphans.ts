/**
 * Makes this process the parent of everything that its commands leave behind, as an engine's monitor is: so nothing that was
 * started can hide, and what has ended is waited for (not every machine's PID 1 does so).
 */
import { readdirSync, readFileSync } from "node:fs";
import { waitPid } from "../../specutils/syscall.ts";
import { prctl } from "./host-calls.ts";

const PR_SET_CHILD_SUBREAPER = 36;

export function adoptOrphans(): void {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/** Waits for children that have ended, and returns a line for each one that has not. */
export function reapOrphans(): string[] {
  try {
    while (waitPid(-1, { noHang: true }) !== undefined);
  } catch {
    return []; // ECHILD: there is none
  }
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const stat = readStat(pid);
      const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
      return Number(parent) === process.pid ? [`process ${stat.slice(0, 40)}`] : [];
    });
}

function readStat(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return ""; // ended meanwhile
  }
}
