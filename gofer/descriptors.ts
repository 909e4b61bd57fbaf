/**
 * How many descriptors of files and directories a gofer keeps, of all trees together: the oldest are closed when there are too
 * many, between two requests.
 */
import { NR, sys } from "../specutils/syscall.ts";
import { type Arena, AT } from "./arena.ts";

/** Descriptors that are not for nodes: streams of directories, files that are open without passthrough, connections, the engine's. */
const OTHER_FDS = 1024;
const RLIMIT_NOFILE = 7;

/** Entries at the front that were taken before the list is cut. */
const CUT_AT = 4096;

/** Whose descriptors they are. */
export interface Holder {
  /** Closes a node's descriptor, unless it has none any more or needs it. */
  letGo(node: number): void;
}

/** Counts the descriptors of nodes, and closes the oldest. */
export class Descriptors {
  readonly #max: number;
  #pinned = 0;
  /** Who opened descriptors for which of their nodes, oldest first; those of nodes that are gone or pinned are passed over. */
  #holders: Holder[] = [];
  #nodes: number[] = [];
  #from = 0;

  /** @param max how many may be open at once, pinned ones not counted; at least 1 */
  constructor(max: number) {
    this.#max = max;
  }

  opened(holder: Holder, node: number): void {
    this.#holders.push(holder);
    this.#nodes.push(node);
  }

  /** Counts one that is not closed whatever else is open; false if there are too many of those, three times the others. */
  pin(): boolean {
    if (this.#pinned >= 3 * this.#max) return false;
    this.#pinned += 1;
    return true;
  }

  unpin(): void {
    this.#pinned -= 1;
  }

  /** Closes what was opened first until there are few enough: names find it again. */
  trim(): void {
    while (this.#nodes.length - this.#from > this.#max) {
      const holder = this.#holders[this.#from];
      const node = this.#nodes[this.#from];
      this.#from += 1;
      if (this.#from === CUT_AT) this.#cut();
      if (node !== undefined) holder?.letGo(node);
    }
  }

  #cut(): void {
    this.#holders.splice(0, this.#from);
    this.#nodes.splice(0, this.#from);
    this.#from = 0;
  }

  /** Closes all that can be found again, and needs no memory for the list of them. */
  letGoOfAll(): void {
    const [holders, nodes] = [this.#holders, this.#nodes];
    for (let index = this.#from; index < nodes.length; index++) holders[index]?.letGo(nodes[index] ?? 0);
    [this.#holders, this.#nodes, this.#from] = [[], [], 0];
  }
}

/** Raises the limit of descriptors as far as it goes, and returns it. */
export function raiseLimit(arena: Arena): number {
  const at = AT.scratch;
  const limit = arena.base + at;
  sys(NR.prlimit64, 0, RLIMIT_NOFILE, null, limit);
  const hard = Number(arena.u64(at + 8));
  arena.setU64(at, hard);
  sys(NR.prlimit64, 0, RLIMIT_NOFILE, limit, null);
  return hard;
}

/**
 * How many of `limit` descriptors are for nodes.
 *
 * @param wanted 0 for as many as possible
 */
export function maxNodeFds(limit: number, wanted: number): number {
  // A quarter each: in use, and pinned at most three times as many.
  const most = Math.max(64, Math.floor((Math.min(limit, 16_384) - OTHER_FDS) / 4));
  return wanted === 0 ? most : Math.min(most, wanted);
}
