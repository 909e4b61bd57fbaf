/**
 * What a thousand containers under one state root cost: `list`, and `state` and `create` beside a root that has one container,
 * interleaved (A B A B …). Prints medians and ratios.
 *
 * The containers are real, created and not started. Exits with 1 when `list` takes longer than LIST_MS or a command more than
 * LIMIT times as long as with one. Usage: bun test/bench/many.ts [containers] [rounds]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { makeBundle } from "../helpers/bundle.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const LIST_MS = 100;
const LIMIT = 1.2;

const count = Number(process.argv[2] ?? 1000);
const rounds = Number(process.argv[3] ?? 30);
const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-many-"));
const bundle = makeBundle(path.join(directory, "bundle"), (spec) => {
  spec.process.args = ["sleep", "6000"];
});
const roots = { one: path.join(directory, "one"), many: path.join(directory, "many") };
const times = new Map<string, number[]>();

/** Runs a command, and notes how long it took if it has a name. @throws Error when it fails */
function run(root: string, args: string[], name?: string): void {
  const before = performance.now();
  const { status } = spawnSync(runtimePath(), ["--root", root, ...args], { stdio: "ignore" });
  const ms = performance.now() - before;
  if (status !== 0) throw new Error(`${args.join(" ")}: exit code ${status}`);
  if (name !== undefined) times.set(name, [...(times.get(name) ?? []), ms]);
}

function median(name: string): number {
  const sorted = [...(times.get(name) ?? [])].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function ratio(command: string): number {
  const [one, many] = [median(`${command} one`), median(`${command} many`)];
  console.log(
    `${command.padEnd(8)}${one.toFixed(1).padStart(8)}${many.toFixed(1).padStart(8)}${(many / one).toFixed(2).padStart(8)}`,
  );
  return many / one;
}

function deleteAll(root: string): void {
  const { stdout } = spawnSync(runtimePath(), ["--root", root, "list", "--quiet"], { encoding: "utf8" });
  const ids = stdout.split("\n").filter(Boolean);
  while (ids.length > 0) run(root, ["delete", "--force", ...ids.splice(0, 50)]);
}

try {
  run(roots.one, ["create", "--bundle", bundle, "c1"]);
  for (let index = 1; index <= count; index++) run(roots.many, ["create", "--bundle", bundle, `c${index}`]);
  for (let round = 0; round < rounds; round++) {
    for (const [name, root] of Object.entries(roots)) {
      // c1 is also what c10 and c100 begin with.
      run(root, ["state", "c1"], `state ${name}`);
      run(root, ["list"], `list ${name}`);
      run(root, ["create", "--bundle", bundle, "another"], `create ${name}`);
      run(root, ["delete", "another"], `delete ${name}`);
    }
  }
  console.log(`${count} containers, ${rounds} interleaved rounds; medians in ms, and the ratio\n`);
  console.log(`${"command".padEnd(8)}${"1".padStart(8)}${String(count).padStart(8)}${"ratio".padStart(8)}`);
  const slow = ["state", "create", "delete"].filter((command) => ratio(command) > LIMIT);
  ratio("list");
  if (median("list many") > LIST_MS) slow.push("list");
  if (slow.length > 0) console.log(`\ntoo slow: ${slow.join(", ")}`);
  process.exitCode = slow.length === 0 ? 0 : 1;
} finally {
  for (const root of Object.values(roots)) deleteAll(root);
  rmSync(directory, { recursive: true, force: true });
}
