/** Times `run` and every command of a container's life, each runtime in turn at each step. */
import { type Peer, timeMs } from "./peers.ts";
import { Samples } from "./statistics.ts";

export interface Bundles {
  /** `/bin/true`. */
  true: string;
  /** A program that waits. */
  sleep: string;
}

type Step = readonly [name: string, args: (id: string, bundles: Bundles) => string[]];

/** In the order of a life. `run` stands for itself. */
const STEPS: readonly Step[] = [
  ["run", (id, bundles) => ["run", "--bundle", bundles.true, `${id}-run`]],
  ["create", (id, bundles) => ["create", "--bundle", bundles.sleep, id]],
  ["start", (id) => ["start", id]],
  ["state", (id) => ["state", id]],
  ["exec", (id) => ["exec", id, "/bin/true"]],
  ["ps", (id) => ["ps", "--format=json", id]],
  ["list", () => ["list"]],
  ["pause", (id) => ["pause", id]],
  ["resume", (id) => ["resume", id]],
  ["kill", (id) => ["kill", id, "KILL"]],
  ["delete", (id) => ["delete", "--force", id]],
];

/** The commands that the budgets sum up. */
export const LIFE = ["create", "start", "state", "kill", "delete"] as const;

/** Rounds whose times do not count: caches are filled in them. */
const WARM_UP_ROUNDS = 2;

/** Milliseconds of each command by runtime, and their sum for a life. */
export function measureLifecycle(peers: readonly Peer[], rounds: number, bundles: Bundles): Samples {
  const samples = new Samples();
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const lives = new Map<string, number>();
    for (const [name, args] of STEPS) {
      for (const index of peers.keys()) {
        // Who comes first changes, as it may find caches colder than those after it.
        const peer = peers[(index + Math.max(round, 0)) % peers.length];
        if (peer === undefined) continue;
        const ms = timeMs(peer, args(`bench-${peer.name}-${round + WARM_UP_ROUNDS}`, bundles));
        if (round < 0) continue;
        samples.add(name, peer.name, ms);
        if ((LIFE as readonly string[]).includes(name)) lives.set(peer.name, (lives.get(peer.name) ?? 0) + ms);
      }
    }
    for (const [who, ms] of lives) samples.add("life", who, ms);
  }
  return samples;
}
