/**
 * `events`: what happens to containers, in runc's form where it has one: statistics, and notices of OOM kills.
 *
 * There is no daemon to ask: an event is a difference between what was saved about a container and what is saved now.
 */

import type { OomWatch } from "../sandbox/cgroups/oom.ts";
import type { CgroupStats } from "../sandbox/cgroups/stats-types.ts";
import { UnsupportedError, UsageError } from "../specutils/errors.ts";
import type { Context } from "./context.ts";
import { timestamp } from "./exit-record.ts";
import { Follower, waitForAny } from "./follow.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import { type ContainerExit, describeExit } from "./state.ts";
import { checkAllowed } from "./status.ts";
import { readRecord } from "./store.ts";

/** One line of `events`. `at` is RFC 3339, UTC. */
export type ContainerEvent =
  | { type: "stats"; id: string; data: CgroupStats }
  | { type: "start" | "pause" | "resume" | "oom" | "delete"; id: string; at: string }
  /** Without `exit` when nobody has seen how the container process ended. */
  | { type: "exit"; id: string; at: string; exit?: ContainerExit };

export interface WatchOptions {
  /** Time between two statistics, in ms. */
  intervalMs: number;
  /** Give the statistics once, at once, and end. */
  statsOnly: boolean;
}

/** Ten days: what poll(2) takes is about twice that. */
const MAX_TIMEOUT_MS = 864_000_000;

/**
 * Gives what happens to each of the containers until all of them are deleted, and their statistics once per interval.
 *
 * @throws NotFoundError, StatusError (`container not running`); UnsupportedError for the statistics alone of a container
 *   without cgroup
 */
export async function watchEvents(
  context: Context,
  ids: readonly string[],
  { intervalMs, statsOnly }: WatchOptions,
  onEvent: (event: ContainerEvent) => void,
): Promise<void> {
  if (!(intervalMs > 0)) throw new UsageError("duration interval must be greater than 0");
  const { cgroupStats } = await import("../sandbox/cgroups/stats.ts");
  const statsOf = (record: SavedContainer): void => {
    if (hasCgroup(record)) onEvent({ type: "stats", id: record.id, data: cgroupStats(record.cgroup) });
  };
  if (statsOnly) {
    for (const id of ids) statsOf(await recordWithStats(context, id));
    return;
  }
  const watched: WatchedContainer[] = [];
  try {
    for (const id of ids) watched.push(await WatchedContainer.open(context, id));
    await untilAllAreDeleted(watched, intervalMs, onEvent, statsOf);
  } finally {
    for (const container of watched) container.close();
  }
}

async function recordWithStats(context: Context, id: string): Promise<SavedContainer> {
  const record = await readRecord(context.root, id);
  checkAllowed("events", record);
  if (hasCgroup(record)) return record;
  throw new UnsupportedError(`cannot watch container ${JSON.stringify(record.id)}: it has no cgroup`);
}

/** Blocks: sleeps while there is nothing to tell. */
async function untilAllAreDeleted(
  watched: readonly WatchedContainer[],
  intervalMs: number,
  onEvent: (event: ContainerEvent) => void,
  statsOf: (record: SavedContainer) => void,
): Promise<void> {
  let next = performance.now() + intervalMs;
  for (;;) {
    const left = watched.filter(({ follower }) => !follower.isDeleted);
    if (left.length === 0) return;
    const untilNextMs = Math.min(Math.max(0, next - performance.now()), MAX_TIMEOUT_MS);
    const changed = waitForAny(
      left.flatMap((container) => container.descriptors()),
      left.every(hasStopped) ? -1 : untilNextMs,
    );
    for (const container of left) {
      if (container.descriptors().some((fd) => changed.has(fd))) (await container.takeEvents()).forEach(onEvent);
    }
    if (performance.now() < next) continue;
    for (const container of left) if (!hasStopped(container)) statsOf(container.follower.record);
    while (next <= performance.now()) next += intervalMs;
  }
}

function hasStopped({ follower }: WatchedContainer): boolean {
  return follower.isDeleted || follower.record.status === "stopped";
}

/** A container and what was told of it. */
class WatchedContainer {
  readonly follower: Follower;
  readonly #oom: OomWatch | undefined;
  /** As of what was told last. */
  #told: Pick<SavedContainer, Moment>;
  #hasToldExit = false;

  private constructor(follower: Follower, oom: OomWatch | undefined) {
    this.follower = follower;
    this.#oom = oom;
    this.#told = follower.record;
  }

  static async open(context: Context, id: string): Promise<WatchedContainer> {
    const follower = await Follower.open(context.root, id, "everything");
    try {
      checkAllowed("events", follower.record);
      if (!hasCgroup(follower.record)) return new WatchedContainer(follower, undefined);
      const { watchOom } = await import("../sandbox/cgroups/oom.ts");
      return new WatchedContainer(follower, watchOom(follower.record.cgroup));
    } catch (error) {
      follower.close();
      throw error;
    }
  }

  descriptors(): number[] {
    return this.#oom === undefined ? this.follower.descriptors() : [...this.follower.descriptors(), this.#oom.fd];
  }

  /** What has happened since the last time, in its order. */
  async takeEvents(): Promise<ContainerEvent[]> {
    const { follower } = this;
    await follower.look();
    const { id } = follower.record;
    const events: ContainerEvent[] = moments(this.#told, follower.record).map(([type, at]) => ({ type, id, at }));
    this.#told = follower.record;
    // A process that was killed for want of memory is told of before its end: the kernel counts before it kills.
    if (this.#oom?.take() === true) events.push({ type: "oom", id, at: timestamp() });
    if (follower.isOver && !this.#hasToldExit) {
      this.#hasToldExit = true;
      events.push(this.#exitEvent());
    }
    if (follower.isDeleted) events.push({ type: "delete", id, at: timestamp() });
    return events;
  }

  close(): void {
    this.follower.close();
    this.#oom?.close();
  }

  #exitEvent(): ContainerEvent {
    const { record, exit } = this.follower;
    if (exit === undefined) return { type: "exit", id: record.id, at: timestamp() };
    return { type: "exit", id: record.id, at: exit.at, exit: describeExit(record, exit) };
  }
}

type Moment = "startedAt" | "pausedAt" | "resumedAt";

const TYPES = { startedAt: "start", pausedAt: "pause", resumedAt: "resume" } as const;

/**
 * What has happened between two records of a container, in its order. Of what happened again and again in between, which takes
 * several commands, the last time is told.
 */
export function moments(
  before: Pick<SavedContainer, Moment>,
  now: Pick<SavedContainer, Moment>,
): ["start" | "pause" | "resume", string][] {
  return (["startedAt", "pausedAt", "resumedAt"] as const)
    .flatMap((moment): ["start" | "pause" | "resume", string][] => {
      const at = now[moment];
      return at === undefined || at === before[moment] ? [] : [[TYPES[moment], at]];
    })
    .sort(([, a], [, b]) => (a < b ? -1 : 1));
}
