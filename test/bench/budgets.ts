/** The budgets: which of them hold for a result. Ratios are those of medians of the same, interleaved run. */
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
  const ratio = (what: string, peer: string, limit: number): Verdict => ({
    budget: `${what}: cloche / ${peer}`,
    value: ratioOf(result.times, what, peer),
    limit,
    unit: "ratio",
  });
  const idle = result.idle?.["cloche"];
  const limit = result.memoryLimitKiB?.["cloche"];
  return [
    ratio("run", "crun", 1),
    ratio("run", "runc", 0.5),
    ...["create", "start", "state", "kill", "delete", "exec"].map((what) => ratio(what, "runc", 1)),
    ratio("life", "crun", 1.2),
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
