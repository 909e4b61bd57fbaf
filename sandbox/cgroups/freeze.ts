/** Freezing and thawing a container: v1's freezer controller or v2's cgroup.freeze. */

import { UnsupportedError } from "../../specutils/errors.ts";
import { errorCode, readValue, sleepMs, writeValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/** A process in uninterruptible sleep (a dead NFS server) freezes only when it wakes. */
const FREEZE_TIMEOUT_MS = 5000;

/**
 * Freezes or thaws every process in the cgroup and returns when that has happened. A cgroup that is gone, as a scope is as
 * soon as its last process has ended, counts as thawed.
 *
 * @throws UnsupportedError if the host has no freezer, there is no such cgroup to freeze, or a process did not freeze in
 *   five seconds; then, as after any failure to freeze, all are thawed again
 */
export function freezeCgroup(ref: CgroupRef, frozen: boolean): void {
  const { dir, file, freeze, thaw } = freezer(ref);
  const what = `cannot ${frozen ? "freeze" : "thaw"} cgroup "${ref.path}"`;
  if (dir === undefined) throw new UnsupportedError(`${what}: this host has no cgroup freezer`);
  try {
    settle(ref, `${dir}/${file}`, frozen ? freeze : thaw, frozen, what);
  } catch (error) {
    // Whoever is told that it is not frozen must not find it frozen, or on its way there.
    if (frozen) order(`${dir}/${file}`, thaw);
    throw error;
  }
}

function settle(ref: CgroupRef, file: string, state: string, frozen: boolean, what: string): void {
  const deadline = Date.now() + FREEZE_TIMEOUT_MS;
  let isThere = order(file, state);
  for (let pauseMs = 0.1; isThere && isSettled(ref) !== frozen; pauseMs = Math.min(pauseMs * 2, 20)) {
    if (Date.now() > deadline)
      throw new UnsupportedError(`${what}: processes did not change state in ${FREEZE_TIMEOUT_MS} ms`);
    sleepMs(pauseMs);
    // v1 may stay in FREEZING when a process forked meanwhile; writing the state again makes it look once more.
    if (frozen) isThere = order(file, state);
  }
  if (frozen && !isThere) throw new UnsupportedError(`${what}: it does not exist`);
}

/** Writes the state that is wanted. False if there is no such cgroup any more. */
function order(file: string, state: string): boolean {
  try {
    writeValue(file, state);
    return true;
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENODEV") return false;
    throw error;
  }
}

/** True if the cgroup is frozen, or on its way there. False if it is gone or the host has no freezer. */
export function isFrozen(ref: CgroupRef): boolean {
  const { dir, file, thaw } = freezer(ref);
  if (dir === undefined) return false;
  const state = readValue(`${dir}/${file}`);
  return state !== undefined && state !== thaw;
}

function isSettled(ref: CgroupRef): boolean | undefined {
  const { dir, file, freeze, thaw } = freezer(ref);
  if (ref.version === "v1") {
    const state = readValue(`${dir}/${file}`);
    return state === freeze ? true : state === thaw || state === undefined ? false : undefined;
  }
  // cgroup.freeze is the order, cgroup.events says when it has been carried out.
  return /^frozen 1$/m.test(readValue(`${dir}/cgroup.events`) ?? "");
}

function freezer(ref: CgroupRef): { dir: string | undefined; file: string; freeze: string; thaw: string } {
  return ref.version === "v2"
    ? { dir: ref.dirs[""], file: "cgroup.freeze", freeze: "1", thaw: "0" }
    : { dir: ref.dirs["freezer"], file: "freezer.state", freeze: "FROZEN", thaw: "THAWED" };
}
