/**
 * Times every command of a container's life against runc, interleaved (A B A B …), and prints medians and their ratio.
 *
 * Ratios are what counts: absolute times are those of this machine at this moment. Exits with 1 when a command is slower
 * than runc's by more than LIMIT. Usage: bun test/bench/lifecycle.ts [rounds]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { makeBundle } from "../helpers/bundle.ts";

const LIMIT = 2;
const DEFAULT_ROUNDS = 20;

interface Runtime {
  name: string;
  path: string;
  root: string;
}

/** One round of a life: each command once, with its arguments. `run` stands for itself. */
const STEPS: readonly [string, (id: string, bundle: string) => string[]][] = [
  ["create", (id, bundle) => ["create", "--bundle", bundle, id]],
  ["start", (id) => ["start", id]],
  ["state", (id) => ["state", id]],
  ["exec", (id) => ["exec", id, "/bin/true"]],
  ["pause", (id) => ["pause", id]],
  ["resume", (id) => ["resume", id]],
  ["ps", (id) => ["ps", "--format", "json", id]],
  ["list", () => ["list", "--quiet"]],
  ["kill", (id) => ["kill", id, "KILL"]],
  ["delete", (id) => ["delete", "--force", id]],
];

function timeMs(runtime: Runtime, args: string[]): number {
  const before = process.hrtime.bigint();
  const { status } = spawnSync(runtime.path, ["--root", runtime.root, ...args], {
    // No pipes: the container process keeps its streams, and spawnSync reads a pipe to its end.
    stdio: "ignore",
  });
  const taken = Number(process.hrtime.bigint() - before) / 1e6;
  if (status !== 0) throw new Error(`${runtime.name} ${args.join(" ")}: exit code ${status}`);
  return taken;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function measure(runtimes: readonly Runtime[], rounds: number, bundles: { sleep: string; true: string }) {
  const times = new Map<string, number[]>();
  const note = (step: string, name: string, ms: number) => {
    const key = `${step} ${name}`;
    times.set(key, [...(times.get(key) ?? []), ms]);
  };
  // The first round warms caches up and does not count.
  for (let round = 0; round <= rounds; round++) {
    for (const runtime of runtimes) {
      const id = `bench-${runtime.name}-${round}`;
      const ms = timeMs(runtime, ["run", "--bundle", bundles.true, id]);
      if (round > 0) note("run true", runtime.name, ms);
      for (const [step, args] of STEPS) {
        const taken = timeMs(runtime, args(id, bundles.sleep));
        if (round > 0) note(step, runtime.name, taken);
      }
    }
  }
  return times;
}

const rounds = Number(process.argv[2] ?? DEFAULT_ROUNDS);
const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-bench-"));
try {
  const bundle = (name: string, args: string[]) =>
    makeBundle(path.join(directory, name), (spec) => {
      spec.process.args = args;
    });
  const bundles = { sleep: bundle("sleep", ["/bin/sleep", "1000"]), true: bundle("true", ["/bin/true"]) };
  const cloche = path.join(import.meta.dirname, "..", "..", "dist", "cloche");
  const runtimes: Runtime[] = [
    { name: "cloche", path: cloche, root: path.join(directory, "cloche") },
    { name: "runc", path: "runc", root: path.join(directory, "runc") },
  ];
  const times = measure(runtimes, rounds, bundles);
  const cpu = os.cpus()[0]?.model ?? "unknown processor";
  console.log(`${rounds} interleaved rounds, ${os.cpus().length} x ${cpu}, Linux ${os.release()}; medians in ms\n`);
  console.log(`${"command".padEnd(10)}${"cloche".padStart(9)}${"runc".padStart(9)}${"ratio".padStart(9)}`);
  let slower = 0;
  for (const step of ["run true", ...STEPS.map(([name]) => name)]) {
    const [ours, theirs] = runtimes.map(({ name }) => median(times.get(`${step} ${name}`) ?? []));
    if (ours === undefined || theirs === undefined) continue;
    const ratio = ours / theirs;
    if (ratio > LIMIT) slower++;
    const cells = [ours.toFixed(1), theirs.toFixed(1), ratio.toFixed(2)].map((cell) => cell.padStart(9));
    console.log(`${step.padEnd(10)}${cells.join("")}${ratio > LIMIT ? `  above ${LIMIT}` : ""}`);
  }
  process.exitCode = slower === 0 ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
