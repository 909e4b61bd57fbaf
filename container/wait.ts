/** `wait`: the exit codes of containers, whoever their parent is. */

import { ClocheError, NotFoundError } from "../specutils/errors.ts";
import type { Context } from "./context.ts";
import { exitCodeOf } from "./exit-record.ts";
import { Follower, waitForAny } from "./follow.ts";
import { readRecord } from "./store.ts";

/**
 * Waits until the containers have ended, and gives their exit codes in the order of `ids`, each as soon as those before it
 * are there: the program's own, or 128 plus the signal that killed it. Each container may be waited for as often as wanted
 * until it is deleted; who waits already learns how it ended even if it is deleted at once. Blocks the thread.
 *
 * @throws NotFoundError before any waiting when one of them does not exist, or after it when one was deleted before it was
 *   created; ClocheError when nobody has seen how one of them ended. The codes of the others are given all the same
 */
export async function waitContainers(
  context: Context,
  ids: readonly string[],
  onExit: (exitCode: number) => void,
): Promise<void> {
  const followers: Follower[] = [];
  const failures: ClocheError[] = [];
  try {
    for (const id of ids) {
      followers.push(await Follower.open(context.root, await readRecord(context.root, id), "end"));
    }
    for (const next of followers) {
      while (!next.isOver) await lookAtChanged(followers);
      if (next.exit === undefined) failures.push(failureOf(next));
      else onExit(exitCodeOf(next.exit));
    }
  } finally {
    for (const follower of followers) follower.close();
  }
  const [first, ...others] = failures;
  if (first === undefined) return;
  throw others.length === 0 ? first : new ClocheError(failures.map(({ message }) => message).join("; "));
}

/** Waits for what happens next to any of them, so that each is looked at in time, also while another one is waited for. */
async function lookAtChanged(followers: readonly Follower[]): Promise<void> {
  const waiting = followers.filter(({ isOver }) => !isOver);
  const changed = waitForAny(
    waiting.flatMap((follower) => follower.descriptors()),
    -1,
  );
  for (const follower of waiting) {
    if (follower.descriptors().some((fd) => changed.has(fd))) await follower.look();
  }
}

function failureOf({ record: { id, process }, isDeleted }: Follower): ClocheError {
  const container = `container ${JSON.stringify(id)}`;
  if (isDeleted) return new NotFoundError(`${container} does not exist: it was deleted while it was waited for`);
  if (process === undefined) return new ClocheError(`cannot wait for ${container}: its creation was cut short`);
  return new ClocheError(`cannot tell how ${container} ended: its sandbox process ended before it could record it`);
}
