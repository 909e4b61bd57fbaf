/** `events`: what happens to a container, or to all of a sandbox, in runc's form where it has one, and their statistics. */

import { UnsupportedError, UsageError } from "../specutils/errors.ts";
import { IN, Inotify } from "../specutils/inotify.ts";
import type { Context } from "./context.ts";
import { type ContainerEvent, EventSource } from "./event-source.ts";
import { waitForAny } from "./follow.ts";
import { membersOf } from "./members.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import { checkAllowed, isAllowed } from "./status.ts";
import { readRecord } from "./store.ts";

export type { ContainerEvent } from "./event-source.ts";

export interface WatchOptions {
  /** Time between two statistics, in ms. */
  intervalMs: number;
  /** Give the statistics once, at once, and end. */
  statsOnly: boolean;
  /** Watch every container of the sandbox that the container is in, also those that join it later. */
  isForSandbox: boolean;
}

/** Ten days: what poll(2) takes is about twice that. */
const MAX_TIMEOUT_MS = 864_000_000;

/**
 * Gives what happens to the container, or containers, until they are deleted, and their statistics once per interval.
 *
 * @throws NotFoundError, StatusError (`container not running`, with a sandbox: none of them); UnsupportedError for the
 *   statistics alone of a container without cgroup
 */
export async function watchEvents(
  context: Context,
  idOrPrefix: string,
  { intervalMs, statsOnly, isForSandbox }: WatchOptions,
  onEvent: (event: ContainerEvent) => void,
): Promise<void> {
  if (!(intervalMs > 0)) throw new UsageError("duration interval must be greater than 0");
  const record = await readRecord(context.root, idOrPrefix);
  const members = isForSandbox ? membersOf(context, record.sandboxId) : [record];
  if (!members.some(({ status }) => isAllowed("events", status))) checkAllowed("events", record);
  if (!isForSandbox && statsOnly && !hasCgroup(record)) {
    throw new UnsupportedError(`cannot watch container ${JSON.stringify(record.id)}: it has no cgroup`);
  }
  const { cgroupStats } = await import("../sandbox/cgroups/stats.ts");
  const giveStats = (of: SavedContainer): void => {
    if (hasCgroup(of)) onEvent({ type: "stats", id: of.id, data: cgroupStats(of.cgroup) });
  };
  if (statsOnly) {
    members.filter(({ status }) => isAllowed("events", status)).forEach(giveStats);
    return;
  }
  const watch = new Watch(context, isForSandbox ? record.sandboxId : undefined);
  try {
    await watch.add(members, false);
    await watch.run(intervalMs, onEvent, giveStats);
  } finally {
    watch.close();
  }
}

/** The containers that are watched. */
class Watch {
  readonly #context: Context;
  readonly #sandboxId: string | undefined;
  /** Tells that a state file has been saved, which for a new container is the first sign of it. */
  readonly #arrivals: Inotify | undefined;
  readonly #sources: EventSource[] = [];
  /** Every container that there was, by its id and when it was created. */
  readonly #known = new Set<string>();

  constructor(context: Context, sandboxId: string | undefined) {
    this.#context = context;
    this.#sandboxId = sandboxId;
    if (sandboxId === undefined) return;
    this.#arrivals = new Inotify();
    this.#arrivals.watch(context.root, IN.MOVED_TO);
  }

  /** Watches those of `members` that it does not watch yet. */
  async add(members: readonly SavedContainer[], areNew: boolean): Promise<void> {
    for (const member of members) {
      const key = `${member.id} ${member.created}`;
      if (this.#known.has(key)) continue;
      this.#known.add(key);
      this.#sources.push(await EventSource.open(this.#context.root, member, areNew || member.status === "creating"));
    }
  }

  /** Tells until all are deleted. Blocks: sleeps while there is nothing to tell. */
  async run(
    intervalMs: number,
    onEvent: (event: ContainerEvent) => void,
    onInterval: (record: SavedContainer) => void,
  ): Promise<void> {
    let next = performance.now() + intervalMs;
    let changed: ReadonlySet<number> = new Set();
    for (;;) {
      await this.#addArrivals();
      for (const source of this.#sources) {
        if (source.mustLook(changed)) (await source.take()).forEach(onEvent);
      }
      this.#dropDeleted();
      if (this.#sources.length === 0) return;
      if (performance.now() >= next) {
        for (const { isAlive, record } of this.#sources) if (isAlive) onInterval(record);
        while (next <= performance.now()) next += intervalMs;
      }
      const isAnyAlive = this.#sources.some(({ isAlive }) => isAlive);
      const untilNextMs = Math.min(Math.max(0, next - performance.now()), MAX_TIMEOUT_MS);
      changed = waitForAny(this.#descriptors(), isAnyAlive ? untilNextMs : -1);
    }
  }

  close(): void {
    for (const source of this.#sources) source.close();
    this.#arrivals?.close();
  }

  async #addArrivals(): Promise<void> {
    if (this.#sandboxId === undefined || this.#arrivals?.take() !== true) return;
    await this.add(membersOf(this.#context, this.#sandboxId), true);
  }

  #dropDeleted(): void {
    for (const source of this.#sources.filter(({ isDeleted }) => isDeleted)) {
      source.close();
      this.#sources.splice(this.#sources.indexOf(source), 1);
    }
  }

  #descriptors(): number[] {
    const fds = this.#sources.flatMap((source) => source.descriptors());
    return this.#arrivals === undefined ? fds : [this.#arrivals.fd, ...fds];
  }
}
