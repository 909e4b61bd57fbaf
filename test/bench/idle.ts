/**
 * Many idle containers: what the n-th costs in time, and what each keeps in memory besides the program that it runs.
 *
 * The bench is alone in its PID namespace, so that every process that comes up belongs to the container just started.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { measure, type Peer } from "./peers.ts";
import { spreadOf } from "./statistics.ts";

/** What a runtime keeps running for one container. */
export interface IdleMemory {
  /** Processes besides the program. */
  processes: number;
  /** Proportional set size, KiB. */
  pssKiB: number;
  /** Memory that no other process shares, KiB. */
  privateKiB: number;
}

export interface IdleResult {
  containers: number;
  /** Median milliseconds of create and start of the first and of the last tenth. */
  firstMs: number;
  lastMs: number;
  /** Mean of all containers, once all are there. */
  memory: IdleMemory;
}

/** @param counts how many containers by runtime: runsc's would not fit into memory */
export function measureIdle(
  peers: readonly Peer[],
  counts: (name: string) => number,
  bundle: string,
): Record<string, IdleResult> {
  const times = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  const processes = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  const ids: [Peer, string][] = [];
  const most = Math.max(...peers.map(({ name }) => counts(name)));
  let known = new Set(pids());
  try {
    for (let index = 0; index < most; index++) {
      for (const peer of peers.filter(({ name }) => index < counts(name))) {
        // No id is the beginning of another: runsc takes that for ambiguous.
        const id = `bench-${peer.name}-i${index}z`;
        ids.push([peer, id]);
        const ms = measure(peer, ["create", "--bundle", bundle, id]).ms + measure(peer, ["start", id]).ms;
        times.get(peer.name)?.push(ms);
        const now = pids();
        processes.get(peer.name)?.push(...now.filter((pid) => !known.has(pid)));
        known = new Set(now);
      }
    }
    return Object.fromEntries(
      peers.map(({ name }) => {
        const taken = times.get(name) ?? [];
        const tenth = Math.ceil(taken.length / 10);
        return [
          name,
          {
            containers: taken.length,
            firstMs: spreadOf(taken.slice(0, tenth)).median,
            lastMs: spreadOf(taken.slice(-tenth)).median,
            memory: memoryOf(processes.get(name) ?? [], taken.length),
          },
        ];
      }),
    );
  } finally {
    for (const [peer, id] of ids) measure(peer, ["delete", "--force", id]);
  }
}

function pids(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

function memoryOf(all: readonly number[], containers: number): IdleMemory {
  let [processes, pss, own] = [0, 0, 0];
  for (const pid of all) {
    try {
      if (readlinkSync(`/proc/${pid}/exe`).endsWith("/busybox")) continue;
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      const field = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
      processes++;
      pss += field("Pss");
      own += field("Private_Clean") + field("Private_Dirty");
    } catch {
      // It has ended: what create needed and start does not.
    }
  }
  return { processes: processes / containers, pssKiB: pss / containers, privateKiB: own / containers };
}
