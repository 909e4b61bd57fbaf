/**
 * The lock of a container: held by one process at a time, free at once when its holder dies, however it dies.
 *
 * The lock is a symbolic link whose target names its owner (pid, start time, pid namespace, boot). symlink(2) makes the
 * lock and its owner's name in one step, so a lock without an owner never exists. Taking a free lock is that one call;
 * proper-lockfile and p-retry do the waiting (lock-wait.ts), on the same link through proper-lockfile's `fs` option, and are
 * loaded only then (together they cost more than a whole uncontended command).
 *
 * A dead owner's lock goes over to one of those who want it, see `takeFromDead`.
 */

import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import { dirname } from "node:path";
import { ClocheError } from "../specutils/errors.ts";
import { isAlive, ownProcessRef } from "../specutils/process-ref.ts";
import { removeFile } from "./atomic-file.ts";

/** How long to wait for a living holder. Nobody holds a lock while it waits for something outside, such as a hook. */
const WAIT_LIMIT_MS = 30_000;

/** Age from which the lock of an owner in another pid namespace, whom we cannot look up, counts as left behind. */
const FOREIGN_AGE_LIMIT_MS = 60_000;

/** A lock was held by somebody else for too long. */
export class LockError extends ClocheError {
  override name = "LockError";
  override code = "ERR_LOCKED";
}

/**
 * Takes the lock at `path`, waiting for it if need be, and returns the function that releases it.
 *
 * @throws LockError after `waitLimitMs`; the file system's error when the lock cannot be made.
 */
export async function acquireLock(path: string, waitLimitMs: number = WAIT_LIMIT_MS): Promise<() => void> {
  const owner = ownerName();
  try {
    take(path, owner);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    const { waitForLock } = await import("./lock-wait.ts");
    return waitForLock(path, owner, waitLimitMs);
  }
  return () => releaseLock(path, owner);
}

/**
 * What was done under a lock is done, so a lock that cannot be removed is no failure: it is free for others when this
 * process has ended, and for this process at once.
 */
function releaseLock(path: string, owner: string): void {
  try {
    // Not ours any more only if somebody emptied the state root meanwhile: then it is not ours to remove.
    if (readOwner(path) === owner) unlinkSync(path);
  } catch {
    unreleased.add(path);
  }
}

const unreleased = new Set<string>();

/** Takes the lock at `path` if it is free or its owner is dead. @throws the file system's error, EEXIST if it is held */
export function take(path: string, owner: string): void {
  try {
    symlinkSync(owner, path);
  } catch (error) {
    const isFree = codeOf(error) === "EEXIST" && (unreleased.delete(path) || takeFromDead(path, owner));
    if (!isFree) throw error;
  }
}

/**
 * Takes over the lock at `path` if its owner is dead, so that one of many who try gets it, and nobody takes a lock from
 * a living owner who got it meanwhile.
 *
 * Only who holds the claim `<path>.break.<dead owner>` may replace that owner's lock, and looks again while holding it.
 * A dead owner never comes back, so what is seen then stays so until the claim itself is renamed to be the lock. A claim
 * is a lock in the same form, and a dead claimant's is taken over in the same way.
 */
function takeFromDead(path: string, owner: string): boolean {
  const deadOwner = readOwner(path);
  if (deadOwner === undefined || isOwnerAlive(deadOwner, path)) return false;
  const [pid, startTime] = deadOwner.split(" ");
  const claim = `${path.replace(/\.break\..*$/, "")}.break.${pid}.${startTime}`;
  try {
    take(claim, owner);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    return false;
  }
  if (readOwner(path) !== deadOwner) {
    unlinkSync(claim);
    return false;
  }
  renameSync(claim, path);
  return true;
}

/** Removes claims to the lock at `path` whose claimants were killed before they had it. */
export function removeDeadClaims(path: string): void {
  const directory = dirname(path);
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    const claim = `${directory}/${name}`;
    if (!claim.startsWith(`${path}.break.`)) continue;
    const claimant = readOwner(claim);
    if (claimant !== undefined && !isOwnerAlive(claimant, claim)) removeFile(claim);
  }
}

let ownName: string | undefined;

/** `<pid> <start time> <pid namespace> <boot id>`, the name of this process as an owner. */
function ownerName(): string {
  if (ownName === undefined) {
    const { pid, startTime } = ownProcessRef();
    ownName = `${pid} ${startTime} ${ownPidNamespace()} ${ownBootId()}`;
  }
  return ownName;
}

function isOwnerAlive(name: string, path: string): boolean {
  const [pid, startTime, pidNamespace, bootId] = name.split(" ");
  if (startTime === undefined || bootId !== ownBootId()) return false;
  if (pidNamespace !== ownPidNamespace()) return ageMs(path) < FOREIGN_AGE_LIMIT_MS;
  return isAlive({ pid: Number(pid), startTime });
}

function ownBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function ownPidNamespace(): string {
  return readlinkSync("/proc/self/ns/pid");
}

/** The name of who holds the lock at `path`; undefined if nobody does. */
export function readOwner(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function ageMs(path: string): number {
  try {
    return Date.now() - lstatSync(path).mtimeMs;
  } catch {
    // Released meanwhile: the next attempt to take it decides.
    return 0;
  }
}

export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
