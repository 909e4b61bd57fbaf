/**
 * One group of the scheduler for all that the bench of files runs, with nearly all of the processor: a container and its gofer are in
 * different groups, and other work of the machine would come in between at every request. Only where there is a v1 hierarchy for it; elsewhere
 * the machine has to be quiet.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const ROOT = "/sys/fs/cgroup";
export const GROUP = "cloche-bench-files";
const HIERARCHY = path.join(ROOT, "cpu");
/** Where a process writes 0 to join, if there is such a group. */
const JOIN_FILE = path.join(HIERARCHY, GROUP, "cgroup.procs");
/** 256 times what is usual, as much as the kernel allows. */
const SHARES = 262_144;

/** What executes a command in the group and on one processor. */
export function inGroup(cpu: number, command: readonly string[]): string[] {
  const start = `if [ -e ${JOIN_FILE} ]; then echo 0 > ${JOIN_FILE}; fi; exec taskset -c ${cpu} "$@"`;
  return ["bash", "-c", start, "bash", ...command];
}

export function makeGroup(): void {
  if (!existsSync(path.join(HIERARCHY, "cpu.shares"))) return;
  mkdirSync(path.join(HIERARCHY, GROUP), { recursive: true });
  writeFileSync(path.join(HIERARCHY, GROUP, "cpu.shares"), String(SHARES));
}

/** Removes it in all hierarchies: runtimes make the containers' own below it in each. */
export function removeGroup(): void {
  for (const hierarchy of readdirSync(ROOT)) removeTree(path.join(ROOT, hierarchy, GROUP));
  removeTree(path.join(ROOT, GROUP));
}

function removeTree(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(path.join(directory, entry.name));
  }
  rmdirSync(directory);
}
