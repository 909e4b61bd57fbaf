/**
 * Waiting for requests: one thread, which takes them one at a time from the connections of all trees.
 *
 * A read that finds nothing is repeated for some microseconds with sched_yield(2) between, on the connection that had the last
 * request and the one that was busy before it, and only then ppoll(2) puts the process to sleep, for all connections. Waking up
 * on another processor costs more than the whole request; the time is cut when it does not pay.
 */
import { POLLIN } from "../specutils/syscall/constants.ts";
import { NR, sys } from "../specutils/syscall.ts";
import { AT, MAX_TRANSFER } from "./arena.ts";
import type { Gofer } from "./gofer.ts";
import { EAGAIN, EINTR, ENOENT } from "./host.ts";
import { closeTree } from "./tree.ts";

/** Milliseconds; the longest time that is spent looking for the next request before sleeping. */
const MAX_SPIN_MS = 0.05;
/** After so many milliseconds without a request there is nothing to do. */
const IDLE_MS = 500;
/** After so many requests of a busy connection the others have their turn. */
const TURNS = 64;
const REQUEST_BYTES = MAX_TRANSFER + 4096;

/** What is done while nothing else is. */
export interface Pauses {
  /** Called before each sleep. */
  onRest(): void;
  /** Called once when nothing has happened for half a second, until something does. */
  onIdle(): void;
}

export class Connections {
  readonly #request: number;
  readonly #pauses: Pauses;
  readonly #controlFd: number;
  #trees: readonly Gofer[] = [];
  /** Which had the last request, and which before it. */
  #active: Gofer | undefined;
  #before: Gofer | undefined;
  /** struct pollfd, in words: a descriptor, then events and what happened. The control socket is the last. */
  #polled = new Int32Array(0);
  #polledBytes = new Uint8Array(0);
  readonly #idleTimeout = timespec(IDLE_MS);
  readonly #noTimeout = timespec(0);
  #spinMs = MAX_SPIN_MS;
  #isIdle = false;
  #turns = 0;

  /** @param controlFd not watched if it is -1 (poll(2)) */
  constructor(trees: readonly Gofer[], controlFd: number, pauses: Pauses) {
    const [first] = trees;
    this.#request = (first?.arena.base ?? 0) + AT.request;
    this.#controlFd = controlFd;
    this.#pauses = pauses;
    this.#watch(trees);
  }

  /** Waits for the next request, puts it in the arena, and returns whose it is; undefined when there will be none any more. */
  next(): Gofer | undefined {
    for (;;) {
      if (this.#before !== undefined) this.#takeTurns();
      const tree = this.#active;
      if (tree === undefined) return undefined;
      let length = sys(NR.read, tree.fuseFd, this.#request, REQUEST_BYTES);
      if (length === -EAGAIN && this.#spinMs > 0) length = this.#spin();
      if (length > 0) {
        this.#isIdle = false;
        return this.#active;
      }
      if (length === -EAGAIN) {
        if (!this.#sleep()) return undefined;
      } else if (length !== -EINTR && length !== -ENOENT) {
        // ENODEV: its last mount is gone, or somebody ended the connection.
        this.#drop(this.#active);
      }
    }
  }

  #watch(trees: readonly Gofer[]): void {
    this.#trees = trees;
    [this.#active, this.#before] = trees;
    this.#polled = new Int32Array(new ArrayBuffer((trees.length + 1) * 8));
    this.#polledBytes = new Uint8Array(this.#polled.buffer);
    for (const [index, fd] of [...trees.map(({ fuseFd }) => fuseFd), this.#controlFd].entries()) {
      this.#polled.set([fd, POLLIN], index * 2);
    }
  }

  #drop(gone: Gofer | undefined): void {
    if (gone !== undefined) closeTree(gone);
    this.#watch(this.#trees.filter((tree) => tree !== gone));
  }

  /** Looks for the next request for a while, and returns what the last read did. */
  #spin(): number {
    const [request, before] = [this.#request, this.#before];
    const fuseFd = this.#active?.fuseFd ?? -1;
    const until = performance.now() + this.#spinMs;
    let length: number;
    do {
      sys(NR.sched_yield);
      length = sys(NR.read, fuseFd, request, REQUEST_BYTES);
      if (length === -EAGAIN && before !== undefined) {
        length = sys(NR.read, before.fuseFd, request, REQUEST_BYTES);
        if (length !== -EAGAIN) this.#activate(before);
      }
    } while (length === -EAGAIN && performance.now() < until);
    this.#spinMs = length === -EAGAIN ? this.#spinMs / 2 : Math.min(MAX_SPIN_MS, this.#spinMs * 2);
    // Looking is given up after it was in vain often enough.
    if (this.#spinMs < MAX_SPIN_MS / 64) this.#spinMs = 0;
    return length;
  }

  /** Returns false if nobody holds the other end of the control socket any more. */
  #sleep(): boolean {
    this.#pauses.onRest();
    const ready = this.#poll(this.#isIdle ? null : this.#idleTimeout);
    // Nothing is ever sent to a gofer: whatever happens on the control socket is its end.
    if (ready > 0 && this.#happened(this.#trees.length)) return false;
    if (ready === 0) {
      this.#pauses.onIdle();
      this.#isIdle = true;
    } else if (ready > 0) {
      this.#activateNext();
      // Slept for nothing much: perhaps the next one comes at once.
      if (this.#spinMs === 0) this.#spinMs = MAX_SPIN_MS / 16;
    }
    return true;
  }

  /** Without this, two connections that are always busy would let no other come to its turn. */
  #takeTurns(): void {
    this.#turns += 1;
    if (this.#turns < TURNS) return;
    this.#turns = 0;
    if (this.#poll(this.#noTimeout) > 0) this.#activateNext();
  }

  #poll(timeout: Uint8Array | null): number {
    const count = this.#polled.length / 2;
    return sys(NR.ppoll, this.#polledBytes, count, timeout, null, 8);
  }

  #happened(index: number): boolean {
    return (this.#polled[index * 2 + 1] ?? 0) >>> 16 !== 0;
  }

  /** Of those that are ready, the first behind the one that is active now, which comes last. */
  #activateNext(): void {
    const trees = this.#trees;
    const from = this.#active === undefined ? 0 : trees.indexOf(this.#active) + 1;
    for (let offset = 0; offset < trees.length; offset++) {
      const index = (from + offset) % trees.length;
      const tree = trees[index];
      if (tree === undefined || !this.#happened(index)) continue;
      this.#activate(tree);
      return;
    }
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
