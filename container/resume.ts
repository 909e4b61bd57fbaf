/** `resume`: lets a paused container go on. */

import type { Context } from "./context.ts";
import { timestamp } from "./exit-record.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import type { Save } from "./save.ts";
import { isAllowed, refusal } from "./status.ts";
import { withContainer } from "./store.ts";

/**
 * Thaws a paused container. One that is frozen without being saved as paused counts, too: it may have been frozen by hand,
 * or have frozen itself, and nothing else gets it out of there.
 *
 * @throws NotFoundError, StatusError (`container not paused`)
 */
export async function resumeContainer(context: Context, id: string): Promise<void> {
  const { freezeCgroup, isFrozen } = await import("../sandbox/cgroups/freeze.ts");
  const resume = (record: SavedContainer, save: Save) => {
    const isPaused = isAllowed("resume", record.status);
    if (!hasCgroup(record) || !(isPaused || isFrozen(record.cgroup))) throw refusal("resume", record);
    freezeCgroup(record.cgroup, false);
    if (isPaused) record.status = record.pausedFrom ?? "running";
    delete record.pausedFrom;
    record.resumedAt = timestamp();
    save.ifPossible();
  };
  // A paused container that is not frozen counts as running, so nothing has to be saved.
  await withContainer(context.root, id, resume, { evenIfFull: true });
}
