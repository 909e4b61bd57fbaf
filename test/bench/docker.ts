/**
 * Times `docker run --rm IMAGE true` with cloche and with runc, interleaved, from the client's start to its end.
 *
 * Ratios are what counts: absolute times are those of this machine at this moment. Exits with 1 when cloche's median is above
 * runc's. Usage: bun test/bench/docker.ts [rounds] [--json FILE]
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import os from "node:os";
import { parseArgs } from "node:util";
import { findProgram, withNest } from "../engines/daemon.ts";
import { Docker, IMAGE } from "../engines/docker.ts";

const RUNTIMES = ["cloche", "runc"] as const;
const DEFAULT_ROUNDS = 20;

/** What is timed: arguments of `docker run` beside the runtime, and of the container. */
const CASES: Record<string, string[]> = {
  "run --rm --network=none true": ["--rm", "--network=none", IMAGE, "true"],
  "run --rm true": ["--rm", IMAGE, "true"],
  "run --rm --init --memory true": ["--rm", "--init", "--memory=64m", "--network=none", IMAGE, "true"],
};

interface Row {
  name: string;
  /** Milliseconds: median and quartiles, by runtime. */
  times: Record<string, { median: number; quartiles: [number, number] }>;
  ratio: number;
}

function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

function timeMs(docker: Docker, args: string[]): number {
  const before = process.hrtime.bigint();
  const { status, stderr } = spawnSync(findProgram("docker"), docker.clientArgs(args), { encoding: "utf8" });
  const taken = Number(process.hrtime.bigint() - before) / 1e6;
  if (status !== 0) throw new Error(`docker ${args.join(" ")}: exit code ${status}: ${stderr}`);
  return taken;
}

/** Rounds of A B, then B A, so that neither always comes after the other's cleaning up; the first two do not count. */
function measure(docker: Docker, name: string, args: string[], rounds: number): Row {
  const times: Record<string, number[]> = { cloche: [], runc: [] };
  for (let round = -2; round < rounds; round++) {
    for (const runtime of round % 2 === 0 ? RUNTIMES : RUNTIMES.toReversed()) {
      const ms = timeMs(docker, ["run", `--runtime=${runtime}`, ...args]);
      if (round >= 0) times[runtime]?.push(ms);
    }
  }
  const summary = Object.fromEntries(
    RUNTIMES.map((runtime) => {
      const sorted = times[runtime]?.toSorted((a, b) => a - b) ?? [];
      const quartiles: [number, number] = [quantile(sorted, 0.25), quantile(sorted, 0.75)];
      return [runtime, { median: quantile(sorted, 0.5), quartiles }];
    }),
  );
  return { name, times: summary, ratio: (summary["cloche"]?.median ?? Number.NaN) / (summary["runc"]?.median ?? 1) };
}

function print(rows: Row[], rounds: number): void {
  const cpu = os.cpus()[0]?.model ?? "unknown processor";
  console.log(
    `${rounds} interleaved rounds, ${os.cpus().length} x ${cpu}, Linux ${os.release()}; ms: median (quartiles)\n`,
  );
  for (const { name, times, ratio } of rows) {
    const cells = RUNTIMES.map((runtime) => {
      const { median = Number.NaN, quartiles = [] } = times[runtime] ?? {};
      return `${runtime} ${median.toFixed(0)} (${quartiles.map((ms) => ms.toFixed(0)).join("–")})`.padEnd(24);
    });
    console.log(`docker ${name.padEnd(32)}${cells.join("")}ratio ${ratio.toFixed(2)}${ratio > 1 ? "  above 1" : ""}`);
  }
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: "string" } } });
const rounds = Number(positionals[0] ?? DEFAULT_ROUNDS);
const rows = await withNest(async (nest) => {
  const docker = await Docker.start(nest, "docker");
  return Object.entries(CASES).map(([name, args]) => measure(docker, name, args, rounds));
});
print(rows, rounds);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ rounds, rows }, null, 2)}\n`);
process.exitCode = rows.every(({ ratio }) => ratio <= 1) ? 0 : 1;
