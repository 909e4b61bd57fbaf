/** What a bench found out, as it is written to docs/bench/bench.json. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import type { IdleResult } from "./idle.ts";
import type { Peer } from "./peers.ts";
import type { Spread } from "./statistics.ts";

export interface Machine {
  processor: string;
  cpus: number;
  memoryGiB: number;
  kernel: string;
  /** Of the mounts that the runtimes see. */
  cgroups: "v1" | "v2" | "hybrid";
  /** Runnable processes per CPU when the bench began: above 0.5 the machine had other work. */
  load: number;
  commit: string;
  runtimes: Record<string, string>;
}

export interface Result {
  date: string;
  machine: Machine;
  /** Milliseconds, by what was measured and runtime. */
  times: Record<string, Record<string, Spread>>;
  /** Milliseconds of processors; what `times` says is more to the point where the machine had nothing else to do. */
  cpu: Record<string, Record<string, Spread>>;
  idle?: Record<string, IdleResult>;
  /** KiB, by runtime; null where no limit suffices. */
  memoryLimitKiB?: Record<string, number | null>;
}

export function describeMachine(peers: readonly Peer[]): Machine {
  const cpus = os.cpus();
  return {
    processor: cpus[0]?.model ?? "unknown",
    cpus: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: os.release(),
    cgroups: cgroupMode(),
    load: Math.round(((os.loadavg()[0] ?? 0) / cpus.length) * 100) / 100,
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim(),
    runtimes: Object.fromEntries(peers.map(({ name, version }) => [name, version])),
  };
}

function cgroupMode(): Machine["cgroups"] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  const hasV1 = mounts.includes(" - cgroup ");
  return hasV1 ? (mounts.includes(" - cgroup2 ") ? "hybrid" : "v1") : "v2";
}

/** The median (or another quantile) of one by that of another; undefined if one of them was not measured. */
export function ratioOf(
  times: Result["times"],
  what: string,
  peer: string,
  { who = "cloche", quantile = "median" }: { who?: string; quantile?: "median" | "low" } = {},
): number | undefined {
  const [ours, theirs] = [times[what]?.[who], times[what]?.[peer]];
  return ours === undefined || theirs === undefined ? undefined : ours[quantile] / theirs[quantile];
}
