/**
 * `docker run --rm IMAGE true` with cloche and with runc, interleaved, from the client's start to its end, on a dockerd of its
 * own. Part of `npm run bench`; by itself: bun test/bench/docker.ts [rounds] [--json FILE], which exits with 1 when cloche's
 * median is above runc's.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import os from "node:os";
import { parseArgs } from "node:util";
import { findProgram, withNest } from "../engines/daemon.ts";
import { Docker, IMAGE } from "../engines/docker.ts";
import { LEVEL_VARIABLE } from "../helpers/level.ts";
import { Samples } from "./statistics.ts";

const RUNTIMES = ["cloche", "runc"] as const;
const DEFAULT_ROUNDS = 20;

/** What is timed: arguments of `docker run` beside the runtime. The first is what the budget is about. */
const CASES: Record<string, string[]> = {
  "docker run": ["--rm", "--network=none", IMAGE, "true"],
  "docker run, bridge": ["--rm", IMAGE, "true"],
  "docker run, limits": ["--rm", "--init", "--memory=64m", "--network=none", IMAGE, "true"],
};

/** @returns milliseconds by case and runtime */
export function measureDocker(rounds = DEFAULT_ROUNDS): Promise<Samples> {
  // At which it does what runc does.
  process.env[LEVEL_VARIABLE] = "oci";
  return withNest(async (nest) => {
    const docker = await Docker.start(nest, "docker");
    const samples = new Samples();
    // A B, then B A, so that neither always comes after the other's cleaning up; the first two rounds do not count.
    for (let round = -2; round < rounds; round++) {
      for (const [name, args] of Object.entries(CASES)) {
        for (const runtime of round % 2 === 0 ? RUNTIMES : RUNTIMES.toReversed()) {
          const ms = timeMs(docker, ["run", `--runtime=${runtime}`, ...args]);
          if (round >= 0) samples.add(name, runtime, ms);
        }
      }
    }
    return samples;
  });
}

function timeMs(docker: Docker, args: string[]): number {
  const before = process.hrtime.bigint();
  const { status, stderr } = spawnSync(findProgram("docker"), docker.clientArgs(args), { encoding: "utf8" });
  const taken = Number(process.hrtime.bigint() - before) / 1e6;
  if (status !== 0) throw new Error(`docker ${args.join(" ")}: exit code ${status}: ${stderr}`);
  return taken;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: "string" } } });
  const rounds = Number(positionals[0] ?? DEFAULT_ROUNDS);
  const times = (await measureDocker(rounds)).spreads();
  console.log(`${rounds} interleaved rounds, Linux ${os.release()}, load ${os.loadavg()[0]}; ms: median (quartiles)\n`);
  let slower = 0;
  for (const [name, row] of Object.entries(times)) {
    const cells = Object.entries(row).map(([runtime, { median, low, high }]) =>
      `${runtime} ${median.toFixed(0)} (${low.toFixed(0)}–${high.toFixed(0)})`.padEnd(24),
    );
    const ratio = (row["cloche"]?.median ?? Number.NaN) / (row["runc"]?.median ?? Number.NaN);
    if (!(ratio <= 1)) slower++;
    console.log(`${name.padEnd(24)}${cells.join("")}ratio ${ratio.toFixed(2)}${ratio <= 1 ? "" : "  above 1"}`);
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ rounds, times }, null, 2)}\n`);
  return slower === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main();
