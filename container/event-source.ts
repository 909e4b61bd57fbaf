/**
 * What happens to one container, as events. There is no daemon to ask: an event is a difference between what was saved about
 * the container and what is saved now, or something that the kernel tells.
 */

import type { OomWatch } from "../sandbox/cgroups/oom.ts";
import type { CgroupStats } from "../sandbox/cgroups/stats-types.ts";
import { timestamp } from "./exit-record.ts";
import { Follower } from "./follow.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import { type ContainerExit, describeExit } from "./state.ts";

/** One line of `events`. `at` is RFC 3339, UTC. */
export type ContainerEvent =
  | { type: "stats"; id: string; data: CgroupStats }
  | { type: "create" | "start" | "pause" | "resume" | "oom" | "delete"; id: string; at: string }
  /** Without `exit` when nobody has seen how the container process ended. */
  | { type: "exit"; id: string; at: string; exit?: ContainerExit };

/** A container and what was told of it. */
export class EventSource {
  readonly #follower: Follower;
  #oom: OomWatch | undefined;
  #isCreated: boolean;
  #told: Moments;
  #hasToldExit: boolean;
  #hasLooked = false;

  private constructor(follower: Follower, known: SavedContainer, isNew: boolean) {
    this.#follower = follower;
    this.#isCreated = !isNew;
    this.#told = isNew ? {} : known;
    this.#hasToldExit = !isNew && known.status === "stopped";
  }

  /**
   * Begins to watch a container.
   *
   * @param known what is known of it by whoever is to be told of what comes after that
   * @param isNew whether nothing is known of it, its creation included
   * @throws StateFileError, SyscallError
   */
  static async open(root: string, known: SavedContainer, isNew: boolean): Promise<EventSource> {
    const source = new EventSource(await Follower.open(root, known, "everything"), known, isNew);
    try {
      await source.#watchOom();
      return source;
    } catch (error) {
      source.close();
      throw error;
    }
  }

  get record(): SavedContainer {
    return this.#follower.record;
  }

  get isDeleted(): boolean {
    return this.#follower.isDeleted;
  }

  /** Whether there are processes, and so something to measure. */
  get isAlive(): boolean {
    return !this.isDeleted && this.record.status !== "stopped" && this.record.status !== "creating";
  }

  /** What tells, in the sense of poll(2), that there may be events to take. */
  descriptors(): number[] {
    const fds = this.#follower.descriptors();
    return this.#oom === undefined ? fds : [...fds, this.#oom.fd];
  }

  /** Whether it is worth while to take events, when `changed` is what poll(2) has told of, or at the first time. */
  mustLook(changed: ReadonlySet<number>): boolean {
    return !this.#hasLooked || this.descriptors().some((fd) => changed.has(fd));
  }

  /** What has happened since the last time, in its order. */
  async take(): Promise<ContainerEvent[]> {
    this.#hasLooked = true;
    await this.#follower.look();
    const { record, isDeleted } = this;
    const { id } = record;
    const events: ContainerEvent[] = [];
    if (!this.#isCreated) {
      // What never came to be has not ended either.
      if (isDeleted || record.status === "creating" || record.process === undefined) return [];
      this.#isCreated = true;
      events.push({ type: "create", id, at: record.created });
    }
    events.push(...moments(this.#told, record).map(([type, at]) => ({ type, id, at })));
    this.#told = record;
    await this.#watchOom();
    // A process that was killed for want of memory is told of before its end: the kernel counts before it kills.
    if (this.#oom?.take() === true) events.push({ type: "oom", id, at: timestamp() });
    if (this.#follower.isOver && !this.#hasToldExit) {
      this.#hasToldExit = true;
      events.push(this.#exitEvent());
    }
    if (isDeleted) events.push({ type: "delete", id, at: timestamp() });
    return events;
  }

  close(): void {
    this.#follower.close();
    this.#oom?.close();
  }

  #exitEvent(): ContainerEvent {
    const { exit } = this.#follower;
    if (exit === undefined) return { type: "exit", id: this.record.id, at: timestamp() };
    return { type: "exit", id: this.record.id, at: exit.at, exit: describeExit(this.record, exit) };
  }

  async #watchOom(): Promise<void> {
    if (this.#oom !== undefined || !this.isAlive || !hasCgroup(this.record)) return;
    const { watchOom } = await import("../sandbox/cgroups/oom.ts");
    this.#oom = watchOom(this.record.cgroup);
  }
}

type Moments = Pick<SavedContainer, "startedAt" | "pausedAt" | "resumedAt">;

const TYPES = [
  ["startedAt", "start"],
  ["pausedAt", "pause"],
  ["resumedAt", "resume"],
] as const;

/**
 * What has happened between two records of a container, in its order. Of what happened again and again in between, which takes
 * several commands, the last time is told.
 */
export function moments(before: Moments, now: Moments): [type: (typeof TYPES)[number][1], at: string][] {
  return TYPES.flatMap(([moment, type]): [typeof type, string][] => {
    const at = now[moment];
    return at === undefined || at === before[moment] ? [] : [[type, at]];
  }).sort(([, a], [, b]) => (a < b ? -1 : 1));
}
