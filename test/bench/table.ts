/** A result as text. */
import { isMissed, type Verdict } from "./budgets.ts";
import { OURS } from "./peers.ts";
import { type Result, ratioOf } from "./result.ts";

/** The table that the bench prints: medians, quartiles in brackets, ratios to the peers. */
export function tableOf(result: Result): string {
  const { machine, times, cpu, idle, memoryLimitKiB } = result;
  const peers = Object.keys(machine.runtimes);
  const others = peers.filter((name) => !OURS.includes(name));
  const tableOfTimes = (title: string, values: Result["times"]) => {
    const rows = Object.entries(values).map(([what, row]) => [
      what,
      ...peers.map((peer) => {
        const spread = row[peer];
        return spread === undefined
          ? "-"
          : `${milliseconds(spread.median)} [${milliseconds(spread.low)} ${milliseconds(spread.high)}]`;
      }),
      ...others.map((peer) => ratioOf(values, what, peer)?.toFixed(2) ?? "-"),
    ]);
    return align([[title, ...peers, ...others.map((peer) => `/ ${peer}`)], ...rows]);
  };
  const lines = [`${factsOf(result)}\n`, ...tableOfTimes("median [quartiles], ms", times)];
  lines.push("", ...tableOfTimes("processor time, ms", cpu));
  if (idle !== undefined) {
    const titles = ["idle containers", "count", "first, ms", "last, ms", "processes", "PSS, KiB", "private, KiB"];
    const cells = Object.entries(idle).map(([name, { containers, firstMs, lastMs, memory }]) => [
      name,
      String(containers),
      milliseconds(firstMs),
      milliseconds(lastMs),
      memory.processes.toFixed(1),
      memory.pssKiB.toFixed(0),
      memory.privateKiB.toFixed(0),
    ]);
    lines.push("", ...align([titles, ...cells]));
  }
  if (memoryLimitKiB !== undefined) {
    const cells = Object.entries(memoryLimitKiB).map(([name, limit]) => [
      name,
      limit === null ? "none" : String(limit),
    ]);
    lines.push("", ...align([["smallest memory limit", "KiB"], ...cells]));
  }
  return `${lines.join("\n")}\n`;
}

/** One line for each budget. */
export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map((verdict) => {
    const digits = verdict.unit === "ratio" ? 2 : 0;
    const { budget, value, limit } = verdict;
    const word = value === undefined ? "not measured" : isMissed(verdict) ? "MISSED" : "holds";
    return [budget, value?.toFixed(digits) ?? "-", `<= ${limit.toFixed(digits)}`, word];
  });
  return `${align([["budget", "measured", "limit", ""], ...rows]).join("\n")}\n`;
}

/** The machine, in a line or two. */
export function factsOf({ date, machine }: Pick<Result, "date" | "machine">): string {
  const { processor, cpus, memoryGiB, kernel, cgroups, load, commit, runtimes } = machine;
  return [
    `${date}, commit ${commit}: ${cpus} x ${processor}, ${memoryGiB} GiB, Linux ${kernel}, cgroup ${cgroups}, load per CPU ${load}`,
    Object.values(runtimes).join("; "),
  ].join("\n");
}

export function milliseconds(value: number): string {
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}

/** Columns, of which all but the first are flush right. */
export function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
