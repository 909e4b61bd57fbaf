/** `events`: statistics of a container and notices of its OOM kills, in runc's form. */

import { setTimeout as sleep } from "node:timers/promises";
import type { CgroupStats } from "../sandbox/cgroups/stats-types.ts";
import { UnsupportedError, UsageError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import { checkAllowed } from "./status.ts";
import { readRecord } from "./store.ts";

/** One line of `events`. */
export interface ContainerEvent {
  type: "stats" | "oom";
  id: string;
  data?: CgroupStats;
}

export interface WatchOptions {
  /** Time between two statistics, in ms. */
  intervalMs: number;
  /** Give the statistics once, at once, and end. */
  statsOnly: boolean;
}

/** How soon the end of the container is noticed, in ms. */
const LOOK_AGAIN_MS = 100;

/**
 * Gives statistics once per interval, and each OOM kill when it happens, until the container stops.
 *
 * @throws NotFoundError, StatusError (`container not running`), UnsupportedError for a container without cgroup
 */
export async function watchEvents(
  context: Context,
  id: string,
  { intervalMs, statsOnly }: WatchOptions,
  onEvent: (event: ContainerEvent) => void,
): Promise<void> {
  if (!(intervalMs > 0)) throw new UsageError("duration interval must be greater than 0");
  const record = await readRecord(context.root, id);
  checkAllowed("events", record);
  if (!hasCgroup(record)) {
    throw new UnsupportedError(`cannot watch container ${JSON.stringify(record.id)}: it has no cgroup`);
  }
  const { cgroup } = record;
  const { cgroupStats } = await import("../sandbox/cgroups/stats.ts");
  const giveStats = () => onEvent({ type: "stats", id: record.id, data: cgroupStats(cgroup) });
  if (statsOnly) {
    giveStats();
    return;
  }
  const { watchOom } = await import("../sandbox/cgroups/oom.ts");
  const stopWatching = watchOom(cgroup, () => onEvent({ type: "oom", id: record.id }));
  try {
    while (await livesFor(record, intervalMs)) giveStats();
  } finally {
    stopWatching();
  }
}

/** Lets `durationMs` pass, or less if the container stops. Returns whether it still runs. */
async function livesFor({ process }: SavedContainer, durationMs: number): Promise<boolean> {
  const deadline = performance.now() + durationMs;
  for (;;) {
    if (process === undefined || !isAlive(process)) return false;
    const remainingMs = deadline - performance.now();
    if (remainingMs <= 0) return true;
    await sleep(Math.min(remainingMs, LOOK_AGAIN_MS));
  }
}
