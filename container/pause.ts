/** `pause`: stops every process of a container where it is. */

import { messageOf, UnsupportedError } from "../specutils/errors.ts";
import type { Context } from "./context.ts";
import { timestamp } from "./exit-record.ts";
import { hasCgroup } from "./record.ts";
import { checkAllowed, isForEnded } from "./status.ts";
import { withContainer } from "./store.ts";

/**
 * Freezes the containers of a sandbox, or none: what was frozen before one fails is to go on. One that has ended meanwhile needs
 * no freezing, unless it is the only one.
 *
 * @throws as `pauseContainer`
 */
export async function pauseAll(context: Context, ids: readonly string[]): Promise<void> {
  const paused: string[] = [];
  try {
    for (const id of ids) {
      try {
        await pauseContainer(context, id);
        paused.push(id);
      } catch (error) {
        if (ids.length === 1 || !isForEnded(error)) throw error;
      }
    }
  } catch (error) {
    const { resumeContainer } = await import("./resume.ts");
    for (const id of paused) await resumeContainer(context, id).catch((failure) => context.warn(messageOf(failure)));
    throw error;
  }
}

/**
 * Freezes a container that was created or runs.
 *
 * @throws NotFoundError, StatusError (`container not running`), UnsupportedError without a cgroup freezer
 */
export async function pauseContainer(context: Context, id: string): Promise<void> {
  const { freezeCgroup } = await import("../sandbox/cgroups/freeze.ts");
  await withContainer(context.root, id, (record, save) => {
    checkAllowed("pause", record);
    if (!hasCgroup(record)) {
      throw new UnsupportedError(`cannot pause container ${JSON.stringify(record.id)}: it has no cgroup to freeze`);
    }
    const before = { ...record };
    record.pausedFrom = record.status === "created" ? "created" : "running";
    record.status = "paused";
    record.pausedAt = timestamp();
    // Saved before it is true: who loads it looks whether it is frozen (store.ts), and so nobody is ever misled.
    save();
    try {
      freezeCgroup(record.cgroup, true);
    } catch (error) {
      for (const field of ["pausedFrom", "pausedAt"] as const) delete record[field];
      Object.assign(record, before);
      save.ifPossible();
      throw error;
    }
  });
}
