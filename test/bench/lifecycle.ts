/** Times `run` and every command of a container's life, each runtime in turn at each step. */
import { measure, type Peer, type Taken } from "./peers.ts";
import { Samples } from "./statistics.ts";

export interface Bundles {
  /** `/bin/true`. */
  true: string;
  /** The same with docker's seccomp profile, which nearly every container has; missing where it cannot be had. */
  filtered?: string;
  /** A program that waits. */
  sleep: string;
}

type Step = readonly [name: string, args: (id: string, bundles: Bundles) => string[]];

export const FILTERED_RUN = "run, docker's filter";

/** In the order of a life. `run` stands for itself. */
const STEPS: readonly Step[] = [
  ["run", (id, bundles) => ["run", "--bundle", bundles.true, `${id}-run`]],
  [FILTERED_RUN, (id, bundles) => ["run", "--bundle", bundles.filtered ?? "", `${id}-filtered`]],
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

/** Of each command by runtime, and their sum for a life. */
export interface LifecycleTimes {
  /** Milliseconds until it had ended. */
  times: Samples;
  /** Milliseconds of processors: of use where the machine is busy. */
  cpu: Samples;
}

export function measureLifecycle(peers: readonly Peer[], rounds: number, bundles: Bundles): LifecycleTimes {
  const [times, cpu] = [new Samples(), new Samples()];
  const note = (what: string, who: string, taken: Taken) => {
    times.add(what, who, taken.ms);
    cpu.add(what, who, taken.cpuMs);
  };
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const lives = new Map<string, Taken>();
    for (const [name, args] of STEPS) {
      if (name === FILTERED_RUN && bundles.filtered === undefined) continue;
      // In any order: who comes after one that is alike finds caches warm, and after a large one cold.
      for (const peer of shuffled(peers)) {
        const taken = measure(peer, args(`bench-${peer.name}-${round + WARM_UP_ROUNDS}`, bundles));
        if (round < 0) continue;
        note(name, peer.name, taken);
        if ((LIFE as readonly string[]).includes(name)) {
          const { ms, cpuMs } = lives.get(peer.name) ?? { ms: 0, cpuMs: 0 };
          lives.set(peer.name, { ms: ms + taken.ms, cpuMs: cpuMs + taken.cpuMs });
        }
      }
    }
    for (const [who, taken] of lives) note("life", who, taken);
  }
  return { times, cpu };
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((one, other) => one.at - other.at)
    .map(({ item }) => item);
}
