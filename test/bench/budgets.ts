/** The budgets: which of them hold for a result. Ratios are those of medians of the same, interleaved run. */
import { FILTERED_RUN, LIFE } from "./lifecycle.ts";
import { type Result, ratioOf } from "./result.ts";

export interface Verdict {
  budget: string;
  /** What was measured, in the budget's unit; undefined if a peer is missing or it was not measured. */
  value: number | undefined;
  /** Largest value that holds. */
  limit: number;
  unit: "ratio" | "KiB";
}

/** The last containers' time by the first ones': noise of medians of a hundred values. */
const SAME_COST = 1.1;

export function verdictsOf(result: Result): Verdict[] {
  const ratio = (what: string, peer: string, limit: number, who = "cloche"): Verdict => ({
    budget: `${what}: ${who} / ${peer}`,
    value: ratioOf(result.times, what, peer, { who }),
    limit,
    unit: "ratio",
  });
  const served = result.idle?.["served"]?.memory.privateKiB;
  const runsc = result.idle?.["runsc"]?.memory.privateKiB;
  const idle = result.idle?.["cloche"];
  const limit = result.memoryLimitKiB?.["cloche"];
  return [
    ratio("run", "crun", 1),
    ratio("run", "runc", 0.5),
    ...(FILTERED_RUN in result.times ? [ratio(FILTERED_RUN, "crun", 1), ratio(FILTERED_RUN, "runc", 0.5)] : []),
    ...["create", "start", "state", "kill", "delete", "exec"].map((what) => ratio(what, "runc", 1)),
    ratio("life", "crun", 1.2),
    ...["run", ...LIFE, "exec", "life"].map((what) => ratio(what, "runsc", 0.2, "sandboxed")),
    ...("docker run" in result.times ? [ratio("docker run", "runc", 1)] : []),
    ...(result.idle === undefined
      ? []
      : [
          {
            budget: "idle, private memory besides the program",
            value: idle?.memory.privateKiB,
            limit: 300,
            unit: "KiB",
          } as const,
          { budget: "idle, with a gofer", value: served, limit: 4096, unit: "KiB" } as const,
          {
            budget: "idle: with a gofer / runsc",
            value: served === undefined || runsc === undefined ? undefined : served / runsc,
            limit: 1 / 3,
            unit: "ratio",
          } as const,
          {
            budget: `create + start: last tenth of ${idle?.containers} / first`,
            value: idle && idle.lastMs / idle.firstMs,
            limit: SAME_COST,
            unit: "ratio",
          } as const,
        ]),
    ...(result.memoryLimitKiB === undefined
      ? []
      : [
          {
            budget: "smallest memory limit for /bin/true",
            value: limit ?? undefined,
            limit: 1024,
            unit: "KiB",
          } as const,
        ]),
  ];
}

/** A budget that was measured and does not hold. */
export function isMissed({ value, limit }: Verdict): boolean {
  return value !== undefined && value > limit;
}
