/**
 * Follows a container until it is over, without looking again and again: the kernel tells when there is something to see.
 *
 *     the container process ends         pidfd of the process       while it is created, running or paused
 *     `create` is killed                 pidfd of the creator       while it is being created
 *     the record is saved or removed     inotify on the state file  when that matters, see `FollowMode`
 *     it is written down how it ended    inotify on the exit file   while it has stopped and that is not known
 *     nobody will write that down        pidfd of the sandbox       likewise
 *
 * The process's pidfd also tells how it ended after somebody else has reaped it and deleted the container.
 */

import { closeSync } from "node:fs";
import { NotFoundError } from "../specutils/errors.ts";
import { IN, Inotify } from "../specutils/inotify.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { reapedStatus } from "../specutils/reaped-status.ts";
import { POLLIN } from "../specutils/syscall/constants.ts";
import { poll } from "../specutils/syscall.ts";
import { exitPath, statePath } from "../statefile/names.ts";
import { exitOfStatus, exitOfZombie, explainExit } from "./exit-record.ts";
import type { ExitRecord, SavedContainer } from "./record.ts";
import { openPidfd } from "./signal-process.ts";
import { isSame, readRecord, withContainer } from "./store.ts";

/** What is to be noticed: only what leads to the end, or everything that is saved. */
export type FollowMode = "end" | "everything";

/** One container, followed. */
export class Follower {
  /** As last seen; of a container that is gone, as it was before. */
  record: SavedContainer;
  isDeleted = false;
  readonly #root: string;
  readonly #mode: FollowMode;
  readonly #pidfds = new Map<Role, number>();
  #files: Inotify | undefined;
  #seenExit: ExitRecord | undefined;
  #isUnknowable = false;

  private constructor(root: string, mode: FollowMode, record: SavedContainer) {
    this.#root = root;
    this.#mode = mode;
    this.record = record;
  }

  /**
   * Begins to follow a container, of which `record` is known; `close` ends it. It may be deleted by now.
   *
   * @throws StateFileError, SyscallError
   */
  static async open(root: string, record: SavedContainer, mode: FollowMode): Promise<Follower> {
    const follower = new Follower(root, mode, record);
    try {
      await follower.look();
      return follower;
    } catch (error) {
      follower.close();
      throw error;
    }
  }

  /** How the container ended; undefined while it has not, and as long as that is not known. */
  get exit(): ExitRecord | undefined {
    return this.record.exit ?? this.#seenExit;
  }

  /** Whether the container has ended, and no more will be known about that. */
  get isOver(): boolean {
    return this.isDeleted || this.exit !== undefined || this.#isUnknowable;
  }

  /** What tells, in the sense of poll(2), that it is time to look again. */
  descriptors(): number[] {
    if (this.isDeleted) return [];
    const role = this.isOver ? undefined : ROLE_IN[this.record.status];
    return [role && this.#pidfds.get(role), this.#files?.fd].filter((fd) => fd !== undefined);
  }

  /** Looks at the container again. @throws StateFileError, SyscallError */
  async look(): Promise<void> {
    if (this.isDeleted) return;
    this.#files?.take();
    for (;;) {
      const before = this.record;
      // First the watches, then the look: what changes in between is told.
      this.#watchFiles();
      this.#openProcess();
      // Asked before the exit file is read: what the sandbox process wrote before it ended is seen then.
      this.#isUnknowable = before.status === "stopped" && !(before.sandbox !== undefined && isAlive(before.sandbox));
      await this.#readRecord();
      this.#seenExit ??= this.#exitOfProcess();
      if (this.isDeleted) return;
      if (this.record.status === before.status && this.record.process?.pid === before.process?.pid) break;
    }
    if (this.record.status === "stopped" && this.record.exit === undefined) await this.#saveExit();
  }

  close(): void {
    for (const pidfd of this.#pidfds.values()) closeSync(pidfd);
    this.#pidfds.clear();
    this.#files?.close();
    this.#files = undefined;
  }

  /** Watches the files as they are now: a state file is a new file each time it is saved. */
  #watchFiles(): void {
    const { status, sandboxId, id } = this.record;
    const lacksExit = status === "stopped" && this.exit === undefined;
    if (this.#mode !== "everything" && status !== "creating" && !lacksExit) return;
    this.#files ??= new Inotify();
    this.#files.watch(statePath(this.#root, sandboxId, id), IN.ATTRIB | IN.DELETE_SELF);
    if (lacksExit) this.#files.watch(exitPath(this.#root, sandboxId, id), IN.MODIFY);
  }

  #openProcess(): void {
    const role = ROLE_IN[this.record.status];
    const ref = this.record[role];
    if (this.isOver || ref === undefined || this.#pidfds.has(role)) return;
    const pidfd = openPidfd(ref);
    if (pidfd !== undefined) this.#pidfds.set(role, pidfd);
  }

  async #readRecord(): Promise<void> {
    try {
      const record = await readRecord(this.#root, this.record.id, { exact: true });
      // Another container may have got the id meanwhile.
      if (isSame(record, this.record)) this.record = record;
      else this.isDeleted = true;
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      this.isDeleted = true;
    }
  }

  #exitOfProcess(): ExitRecord | undefined {
    const { process } = this.record;
    const pidfd = this.#pidfds.get("process");
    if (process === undefined || pidfd === undefined) return undefined;
    const exit = exitOfZombie(process);
    if (exit !== undefined) return exit;
    const status = reapedStatus(pidfd);
    return status === undefined ? undefined : exitOfStatus(status);
  }

  /** For those who come later: the sandbox process, which was to write it down, may have been killed. */
  async #saveExit(): Promise<void> {
    const exit = this.#seenExit;
    if (exit === undefined) return;
    const save = (record: SavedContainer) => {
      if (record.status !== "stopped") return;
      record.exit ??= explainExit(exit, record, exitPath(this.#root, record.sandboxId, record.id));
      this.record = record;
    };
    // What cannot be saved is known here all the same.
    const options = { exact: true, only: this.record };
    await withContainer(this.#root, this.record.id, save, options).catch(() => undefined);
  }
}

type Role = "creator" | "process" | "sandbox";

/** Whose end is the next thing to be told, in each status. */
const ROLE_IN: { readonly [status in SavedContainer["status"]]: Role } = {
  creating: "creator",
  created: "process",
  running: "process",
  paused: "process",
  stopped: "sandbox",
};

/**
 * Blocks until one of the descriptors tells something, or for `timeoutMs` (-1: for ever); returns those that do.
 *
 * Preconditions: with -1 there is one at least.
 */
export function waitForAny(fds: readonly number[], timeoutMs: number): Set<number> {
  const events = poll(
    fds.map((fd) => ({ fd, events: POLLIN })),
    timeoutMs,
  );
  return new Set(fds.filter((_, index) => events[index] !== 0));
}
