/** The processes in a container's cgroup, and killing them. */

import { constants } from "node:os";
import { NR, sys, throwErrno } from "../../specutils/syscall.ts";
import { childCgroups, errorCode, readValue, sleepMs, writeValue } from "./files.ts";
import { freezeCgroup, isFrozen } from "./freeze.ts";
import type { CgroupRef } from "./types.ts";

const SIGKILL = 9;
/** How long processes may take to die of SIGKILL before we give up; one in uninterruptible sleep may never. */
const KILL_TIMEOUT_MS = 10_000;
/** How long what cgroup.kill has killed may take to be gone before we look for what it has missed: members of v1 alone. */
const KERNEL_KILL_MS = 200;
/** v1 hierarchies that list members, best first: what is sure to be there for freezing comes first. */
const V1_ORDER = ["freezer", "pids", "devices", "memory", "cpu", "name=systemd"];

/**
 * Host pids of all processes in the cgroup and below. Empty if the cgroup is gone.
 *
 * Processes that this pid namespace cannot see are listed as 0 by the kernel and left out.
 */
export function cgroupPids(ref: CgroupRef): number[] {
  const dir = memberDir(ref);
  return dir === undefined ? [] : [...new Set(pidsBelow(dir))].sort((a, b) => a - b);
}

/**
 * Sends a signal to every process in the cgroup and below; SIGKILL also waits until they are gone.
 *
 * A cgroup that forks faster than we kill is no escape: the kernel does it at once (cgroup.kill, Linux 5.14), or the
 * cgroup is frozen while its members are signalled. A paused cgroup stays paused, except for SIGKILL on v1, where frozen
 * processes cannot die.
 */
export function killCgroup(ref: CgroupRef, signal: number): void {
  if (signal !== SIGKILL) {
    signalFrozen(ref, signal, isFrozen(ref));
    return;
  }
  const begin = Date.now();
  // Whoever is killed while a cgroup is frozen leaves it so: what the kernel has killed at once is not frozen.
  const freezeAt = begin + (killInKernel(ref) ? KERNEL_KILL_MS : 0);
  for (let pauseMs = 0.2; cgroupPids(ref).length > 0; pauseMs = Math.min(pauseMs * 2, 50)) {
    if (Date.now() > begin + KILL_TIMEOUT_MS) return;
    if (Date.now() >= freezeAt) signalFrozen(ref, SIGKILL, false);
    sleepMs(pauseMs);
  }
}

/** Returns whether the kernel could do it. cgroup.kill exists in the unified hierarchy, on hybrid hosts as well, where frozen (v1) members have to thaw to die. */
function killInKernel(ref: CgroupRef): boolean {
  const dir = ref.dirs[""];
  if (dir === undefined) return false;
  try {
    writeValue(`${dir}/cgroup.kill`, "1");
  } catch (error) {
    if (!isGone(error)) throw error;
    return false;
  }
  if (ref.version === "v1" && isFrozen(ref)) freezeCgroup(ref, false);
  return true;
}

function signalFrozen(ref: CgroupRef, signal: number, stayFrozen: boolean): void {
  let froze = false;
  if (!stayFrozen) {
    try {
      freezeCgroup(ref, true);
      froze = true;
    } catch {
      // No freezer, or a member that cannot freeze: signalling without it may miss a fork, and the caller's loop sees it.
    }
  }
  try {
    for (const pid of cgroupPids(ref)) sendSignal(pid, signal);
  } finally {
    if (froze) freezeCgroup(ref, false);
  }
}

/** kill(2) itself, for node's takes no real-time signals. What is gone already is fine. @throws SyscallError */
export function sendSignal(pid: number, signal: number): void {
  const result = sys(NR.kill, pid, signal);
  if (result !== -constants.errno.ESRCH) throwErrno("kill", String(pid), result);
}

function memberDir({ dirs, version }: CgroupRef): string | undefined {
  if (version === "v2") return dirs[""];
  const name = V1_ORDER.find((controller) => dirs[controller] !== undefined);
  return name === undefined ? Object.values(dirs)[0] : dirs[name];
}

function pidsBelow(dir: string): number[] {
  const own = (readMembers(dir) ?? "").split("\n").map(Number);
  return [...own.filter((pid) => pid > 0), ...childCgroups(dir).flatMap(pidsBelow)];
}

/** A threaded v2 cgroup has no cgroup.procs of its own: its processes are listed by the domain above it. */
function readMembers(dir: string): string | undefined {
  try {
    return readValue(`${dir}/cgroup.procs`);
  } catch (error) {
    if (errorCode(error) === "ENODEV" || errorCode(error) === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOENT" || code === "ENODEV" || code === "EOPNOTSUPP";
}
