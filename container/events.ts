/** `events`: statistics of a container and notices of its OOM kills, in runc's form. */

import { closeSync } from "node:fs";
import type { OomWatch } from "../sandbox/cgroups/oom.ts";
import type { CgroupStats } from "../sandbox/cgroups/stats-types.ts";
import { UnsupportedError, UsageError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { POLLIN } from "../specutils/syscall/constants.ts";
import { pidfdOpen, poll } from "../specutils/syscall.ts";
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

/** Ten days: what poll(2) takes is about twice that. */
const MAX_TIMEOUT_MS = 864_000_000;

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
  const oom = watchOom(cgroup);
  try {
    untilItEnds(record, intervalMs, oom, giveStats, () => onEvent({ type: "oom", id: record.id }));
  } finally {
    oom?.close();
  }
}

/** Calls `onInterval` and `onOom` until the container process has ended. Blocks: sleeps while there is nothing to tell. */
function untilItEnds(
  { process }: SavedContainer,
  intervalMs: number,
  oom: OomWatch | undefined,
  onInterval: () => void,
  onOom: () => void,
): void {
  if (process === undefined || !isAlive(process)) return;
  const pidfd = pidfdOpen(process.pid);
  try {
    let next = performance.now() + intervalMs;
    // A pid that another process has got meanwhile is noticed here.
    while (isAlive(process)) {
      const entries = [pidfd, oom?.fd ?? -1].map((fd) => ({ fd, events: POLLIN }));
      const [hasEnded, hasOom] = poll(entries, Math.min(Math.max(0, next - performance.now()), MAX_TIMEOUT_MS));
      if (hasOom !== 0 && oom?.take() === true) onOom();
      if (hasEnded !== 0) return;
      if (performance.now() < next) continue;
      onInterval();
      next += intervalMs;
    }
  } finally {
    closeSync(pidfd);
  }
}
