/** Waiting for a lock (lock.ts), by proper-lockfile and p-retry: apart, since no command loads it that finds its lock free. */

import { lstatSync, lutimesSync, unlinkSync } from "node:fs";
import pRetry from "p-retry";
import lockfile from "proper-lockfile";
import { codeOf, LockError, readOwner, take } from "./lock.ts";

/**
 * Waits for a lock that somebody holds, and returns the function that releases it.
 *
 * @throws LockError after `waitLimitMs`; the file system's error when the lock cannot be made
 */
export async function waitForLock(path: string, owner: string, waitLimitMs: number): Promise<() => void> {
  const options = { lockfilePath: path, realpath: false, fs: linkFileSystem(owner), ...NO_TIMESTAMPS };
  try {
    return await pRetry(() => lockfile.lockSync(path, options), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 1,
      maxTimeout: 10,
      randomize: true,
      maxRetryTime: waitLimitMs,
      shouldRetry: ({ error }) => codeOf(error) === "ELOCKED",
    });
  } catch (error) {
    if (codeOf(error) !== "ELOCKED") throw error;
    const holder = readOwner(path)?.split(" ")[0] ?? "unknown";
    throw new LockError(`locked by process ${holder} for more than ${waitLimitMs / 1000} seconds`, { cause: error });
  }
}

/**
 * proper-lockfile tells a dead holder by the age of its lock. We ask the kernel instead, so its limit and the renewal
 * that goes with it are put as far away as a timer reaches (in ms).
 */
const NO_TIMESTAMPS = { stale: 2 ** 31, update: 2 ** 30 };

/** The five calls that proper-lockfile makes on its lock directory, made on a link that names the owner instead. */
function linkFileSystem(owner: string): object {
  return {
    mkdirSync: (path: string) => take(path, owner),
    rmdirSync: unlinkSync,
    statSync: lstatSync,
    utimesSync: lutimesSync,
    realpathSync: (path: string) => path,
  };
}
