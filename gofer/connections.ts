/**
 * Waiting for requests: one thread, which takes them one at a time from the connections of all trees.
 *
 * A read that finds nothing is repeated for some microseconds with sched_yield(2) between, on the connection that had the last
 * request and the one that was busy before it, and only then ppoll(2) puts the process to sleep, for all connections. Waking up
 * on another processor costs more than the whole request; the time is cut when it does not pay.
 */
import { POLLIN } from "../specutils/syscall/constants.ts";
import { NR, READ_LATER, READ_OTHER, readSoon, sys } from "../specutils/syscall.ts";
import { AT, MAX_TRANSFER } from "./arena.ts";
import type { Gofer } from "./gofer.ts";
import { EAGAIN, EINTR, ENOENT } from "./host.ts";
import { closeTree } from "./tree.ts";

/** Milliseconds; the longest time that is spent looking for the next request before sleeping. */
const MAX_SPIN_MS = 0.05;
/** Sleeps between two tries to look for requests, at most. */
const MAX_SLEEPS = 64;
/** After so many milliseconds without a request there is nothing to do. */
const IDLE_MS = 500;
/** After so many requests of a busy connection the others have their turn. */
const TURNS = 64;
const REQUEST_BYTES = MAX_TRANSFER + 4096;

/** What is done while nothing else is. */
export interface Pauses {
  /** Called before each sleep, with how many requests there were since the last one. */
  onRest(served: number): void;
  /**
   * Called when nothing has happened for half a second.
   *
   * @returns after how many milliseconds of the same it is to be called again; -1: not before something has happened
   */
  onIdle(): number;
  /** ppoll(2) without an end, after that. @param polled `count` struct pollfd */
  sleep(polled: Uint8Array, count: number): number;
}

/** The connections of all trees, and which of them is waited for first. */
export class Connections {
  readonly #request: number;
  readonly #pauses: Pauses;
  #trees: readonly Gofer[] = [];
  /** Which had the last request, and which before it. */
  #active: Gofer | undefined;
  #before: Gofer | undefined;
  /** struct pollfd, in words: a descriptor, then events and what happened. */
  #polled = new Int32Array(0);
  #polledBytes = new Uint8Array(0);
  readonly #usualTimeout = timespec(IDLE_MS);
  readonly #noTimeout = timespec(0);
  /** After how many milliseconds of sleep there is something to be done; -1 for never. */
  #idleMs = IDLE_MS;

  constructor(trees: readonly Gofer[], pauses: Pauses) {
    const [first] = trees;
    this.#request = (first?.arena.base ?? 0) + AT.request;
    this.#pauses = pauses;
    this.#watch(trees);
  }

  /**
   * Has requests served, one after the other, until there will be none any more. What happens with each is in local variables: this is the
   * path of which every microsecond counts.
   *
   * @param serve called with whose request it is, which is in the arena
   */
  run(serve: (gofer: Gofer) => void): void {
    const request = this.#request;
    let spinMs = MAX_SPIN_MS;
    let served = 0;
    // Sleeps until it is tried again to look for requests, and how many it will be after the next time that it was in vain.
    let sleepsLeft = 0;
    let sleepsAfter = 1;
    // Requests since others were let in, of whichever connection: two that are busy in turns let nobody else in by themselves.
    let turns = 0;
    connection: for (;;) {
      const tree = this.#active;
      if (tree === undefined) return;
      const { fuseFd } = tree;
      const other = this.#before;
      const otherFd = other?.fuseFd ?? -1;
      for (;;) {
        if (other !== undefined && ++turns > TURNS) {
          turns = 0;
          this.#letOthersIn();
          continue connection;
        }
        const got =
          spinMs > 0
            ? readSoon(fuseFd, otherFd, request, REQUEST_BYTES, spinMs * 1e6)
            : sys(NR.read, fuseFd, request, REQUEST_BYTES);
        if (got > 0) {
          served += 1;
          if (spinMs > 0) sleepsAfter = 1;
          if (got >= READ_LATER) spinMs = Math.min(MAX_SPIN_MS, spinMs * 2);
          if (got % READ_LATER >= READ_OTHER && other !== undefined) {
            this.#activate(other);
            serve(other);
            continue connection;
          }
          serve(tree);
        } else if (got === -EAGAIN) {
          // Looked in vain: it is tried again after a sleep, after two the next time, and so on. Where whoever asks is in another group
          // of the scheduler and has the same processor, sched_yield(2) lets everybody run but them.
          if (spinMs > 0) {
            spinMs /= 2;
            if (spinMs < MAX_SPIN_MS / 64) {
              spinMs = 0;
              sleepsLeft = sleepsAfter;
              sleepsAfter = Math.min(MAX_SLEEPS, sleepsAfter * 2);
            }
          }
          this.#sleep(served);
          served = 0;
          sleepsLeft -= 1;
          // Slept for nothing much: perhaps the next one comes at once.
          if (spinMs === 0 && sleepsLeft <= 0 && this.#idleMs === IDLE_MS) spinMs = MAX_SPIN_MS / 16;
          continue connection;
        } else if (got !== -EINTR && got !== -ENOENT) {
          // ENODEV: its last mount is gone, or somebody ended the connection.
          this.#drop(tree);
          continue connection;
        }
      }
    }
  }

  #watch(trees: readonly Gofer[]): void {
    this.#trees = trees;
    [this.#active, this.#before] = trees;
    this.#polled = new Int32Array(new ArrayBuffer(trees.length * 8));
    this.#polledBytes = new Uint8Array(this.#polled.buffer);
    for (const [index, { fuseFd }] of trees.entries()) this.#polled.set([fuseFd, POLLIN], index * 2);
  }

  #drop(gone: Gofer): void {
    closeTree(gone);
    this.#watch(this.#trees.filter((tree) => tree !== gone));
  }

  #sleep(served: number): void {
    this.#pauses.onRest(served);
    const ready =
      this.#idleMs < 0
        ? this.#pauses.sleep(this.#polledBytes, this.#trees.length)
        : this.#poll(this.#idleMs === IDLE_MS ? this.#usualTimeout : timespec(this.#idleMs));
    if (ready === 0) {
      this.#idleMs = this.#pauses.onIdle();
    } else if (ready > 0) {
      this.#idleMs = IDLE_MS;
      this.#activateNext();
    }
  }

  /** Without this, two connections that are always busy would let no other come to its turn, nor the busier of the two the other. */
  #letOthersIn(): void {
    if (this.#poll(this.#noTimeout) <= 0) return;
    if (!this.#activateNext([this.#active, this.#before])) this.#activateNext([this.#active]);
  }

  #poll(timeout: Uint8Array): number {
    return sys(NR.ppoll, this.#polledBytes, this.#trees.length, timeout, null, 8);
  }

  #happened(index: number): boolean {
    return (this.#polled[index * 2 + 1] ?? 0) >>> 16 !== 0;
  }

  /**
   * Of those that are ready, the first behind the one that is active now, which comes last.
   *
   * @param without these
   * @returns whether there is one
   */
  #activateNext(without: readonly (Gofer | undefined)[] = []): boolean {
    const trees = this.#trees;
    const from = this.#active === undefined ? 0 : trees.indexOf(this.#active) + 1;
    for (let offset = 0; offset < trees.length; offset++) {
      const index = (from + offset) % trees.length;
      const tree = trees[index];
      if (tree === undefined || !this.#happened(index) || without.includes(tree)) continue;
      this.#activate(tree);
      return true;
    }
    return false;
  }

  #activate(tree: Gofer): void {
    if (tree === this.#active) return;
    this.#before = this.#active;
    this.#active = tree;
  }
}

function timespec(ms: number): Uint8Array {
  const words = new BigInt64Array(new ArrayBuffer(16));
  words[0] = BigInt(Math.trunc(ms / 1000));
  words[1] = BigInt((ms % 1000) * 1e6);
  return new Uint8Array(words.buffer);
}
