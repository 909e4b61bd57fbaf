/**
 * Giving memory back when there is nothing to do. What an idle gofer keeps of its own is budgeted (test/gofer/memory.test.ts).
 *
 * The engine collects when 8 MiB of garbage have come together (specutils/syscall/engine.c), and after enough was done it is made to; a
 * gofer that has done little would only be larger after that. Of many files the kernel is asked to forget those that nobody uses.
 * And the engine's code, which was mapped at the start, is unmapped: it stays in the page cache, from where what is
 * needed is mapped again, at the price of some 50 µs for the first request.
 */
import { readFileSync } from "node:fs";
import { addressOf, NR, sys, sysRow } from "../specutils/syscall.ts";
import { AT } from "./arena.ts";
import type { Descriptors } from "./descriptors.ts";
import type { Gofer } from "./gofer.ts";
import { NOTIFY_PRUNE, OUT } from "./protocol.ts";

const MADV_DONTNEED = 4;
/** How many requests make it worth while to look for what they have left. */
const MANY_REQUESTS = 2000;
/** How many files of a tree are kept in mind however long nobody uses them. */
const FEW_NODES = 512;
/** Milliseconds without a request after which the others are to be forgotten. */
const FORGET_MS = 2500;
/** How many files the kernel is asked to forget at once. */
const PRUNED_AT_ONCE = 512;

/** What is given back, and when. */
export class Memory {
  readonly #gofers: readonly Gofer[];
  readonly #descriptors: Descriptors;
  /** Where the code and the constants of the executable are. */
  readonly #code = unchangedRanges(readFileSync("/proc/self/maps", "utf8"));
  /** Requests since the last collection. */
  requests = 0;
  /** How many of them there were when nothing was to be done the last time. */
  #requestsSeen = -1;

  constructor(gofers: readonly Gofer[], descriptors: Descriptors) {
    this.#gofers = gofers;
    this.#descriptors = descriptors;
  }

  /** Called when nothing has happened for a while. @returns after how many milliseconds of the same again; -1 for never */
  giveBack(): number {
    const isFirst = this.requests !== this.#requestsSeen;
    if (isFirst) {
      if (this.requests >= MANY_REQUESTS) this.#collect();
      this.#requestsSeen = this.requests;
      return this.#gofers.some(({ nodes }) => nodes.size > FEW_NODES) ? FORGET_MS : -1;
    }
    for (const gofer of this.#gofers) {
      // What it forgets comes as requests; when no more of them come, there is something to collect.
      if (gofer.nodes.size > FEW_NODES && askToForget(gofer)) this.requests = MANY_REQUESTS;
    }
    return -1;
  }

  #collect(): void {
    this.requests = 0;
    this.#descriptors.letGoOfAll();
    for (const { nodes } of this.#gofers) nodes.compact();
    const engine = (globalThis as { Bun?: { gc(isSynchronous: boolean): void } }).Bun;
    // The second finds what the first has only just let go of.
    engine?.gc(true);
    engine?.gc(true);
  }

  /** ppoll(2) without an end. Nothing of the engine is run, and so mapped again, between the unmapping and the sleep. */
  sleep(polled: Uint8Array, count: number): number {
    const calls = this.#code.map(([from, to]) => [NR.madvise, from, to - from, MADV_DONTNEED, 0, 0, 0]);
    calls.push([NR.ppoll, Number(addressOf(polled)), count, 0, 0, 8, 0]);
    return sysRow(new BigInt64Array(calls.flat().map(BigInt)));
  }
}

/** Asks the kernel to forget all files of a tree that nobody uses. @returns whether it can be asked */
function askToForget({ arena, fuseFd, nodes }: Gofer): boolean {
  const { u32, base } = arena;
  const start = AT.reply >> 2;
  const first = (AT.reply + OUT.BYTES + NOTIFY_PRUNE.BYTES) >> 2;
  let isPossible = true;
  let count = 0;
  const send = () => {
    const length = OUT.BYTES + NOTIFY_PRUNE.BYTES + count * 8;
    u32.fill(0, start, first);
    u32[start] = length;
    u32[start + 1] = NOTIFY_PRUNE.CODE;
    u32[start + 4] = count;
    isPossible = sys(NR.write, fuseFd, base + AT.reply, length) >= 0;
    count = 0;
  };
  // Directories after what is in them, which was mostly seen later.
  for (const node of nodes.all()) {
    u32[first + count * 2] = node;
    u32[first + count * 2 + 1] = 0;
    count += 1;
    if (count === PRUNED_AT_ONCE) send();
    if (!isPossible) return false;
  }
  if (count > 0) send();
  return isPossible;
}

/**
 * The mappings of the executable that nothing was ever written to: its code, and what lies before it in the file. What comes
 * later was changed at the start (relocations), or can be written to.
 *
 * @param maps /proc/self/maps (proc_pid_maps(5))
 */
export function unchangedRanges(maps: string): [from: number, to: number][] {
  const lines = maps.split("\n").map((line) => /^(\w+)-(\w+) (\S+) (\w+) \S+ ([1-9]\d*) /.exec(line));
  const inode = lines.find((line) => line !== null)?.[5];
  return lines.flatMap((line) => {
    const [, from = "", to = "", rights, offset = "", file] = line ?? [];
    const isFirst = rights === "r--p" && Number.parseInt(offset, 16) === 0;
    const isUnchanged = file === inode && inode !== undefined && (rights === "r-xp" || isFirst);
    return isUnchanged ? [[Number.parseInt(from, 16), Number.parseInt(to, 16)]] : [];
  });
}
