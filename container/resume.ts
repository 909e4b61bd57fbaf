/** `resume`: lets a paused container go on. */

import type { Context } from "./context.ts";
import { timestamp } from "./exit-record.ts";
import { hasCgroup } from "./record.ts";
import { isAllowed, refusal } from "./status.ts";
import { withContainer } from "./store.ts";

/**
 * Thaws a paused container. One that is frozen without being saved as paused counts, too: a `pause` that was killed
 * between the two leaves it so, and nothing else gets it out of there.
 *
 * @throws NotFoundError, StatusError (`container not paused`)
 */
export async function resumeContainer(context: Context, id: string): Promise<void> {
  const { freezeCgroup, isFrozen } = await import("../sandbox/cgroups/freeze.ts");
  await withContainer(context.root, id, (record) => {
    const isPaused = isAllowed("resume", record.status);
    if (!hasCgroup(record) || !(isPaused || isFrozen(record.cgroup))) throw refusal("resume", record);
    freezeCgroup(record.cgroup, false);
    if (isPaused) record.status = record.pausedFrom ?? "running";
    delete record.pausedFrom;
    record.resumedAt = timestamp();
  });
}
