/**
 * `npm run bench`: cloche beside the runtimes that are installed, each in turn (A B C A B C …).
 *
 * In full it prints the table and which budgets hold, writes docs/bench/, and fails if a budget is missed. With `--short`, for
 * CI, it times single commands only, and fails if one has become slower against the peers by more than a quarter than
 * docs/bench/bench.json says; never because of absolute times. With `--files` it measures files instead (gofer.ts). scripts/bench starts it in namespaces of its own.
 */
import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Seccomp } from "../../specutils/spec.ts";
import { makeBundle } from "../helpers/bundle.ts";
import { dockerSeccomp } from "../helpers/docker-seccomp.ts";
import { missing } from "../helpers/requires.ts";
import { projectDirectory } from "../helpers/runtime-path.ts";
import { isMissed, verdictsOf } from "./budgets.ts";
import { measureDocker } from "./docker.ts";
import { filesTable, filesVerdicts, measureFiles } from "./gofer.ts";
import { measureIdle } from "./idle.ts";
import { type Bundles, measureLifecycle } from "./lifecycle.ts";
import { smallestMemoryLimit } from "./memory-limit.ts";
import { measureParallel } from "./parallel.ts";
import { findPeers, OURS, type Peer } from "./peers.ts";
import { plotOf } from "./plot.ts";
import { describeMachine, type Result, ratioOf } from "./result.ts";
import { tableOf, verdictTable } from "./table.ts";

/** How much slower a ratio to a peer may have become. */
const WORSE = 1.25;

/** How many idle containers of those who take many MiB for each. */
const FEW_IDLE: Readonly<Record<string, number>> = { runsc: 20, served: 20, sandboxed: 100 };

const { values: flags } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    files: { type: "boolean", default: false },
    work: { type: "string", default: "" },
    audited: { type: "boolean", default: false },
    rounds: { type: "string" },
    idle: { type: "string", default: "1000" },
    parallel: { type: "string", default: "100" },
    peers: { type: "string", default: "" },
    "no-write": { type: "boolean", default: false },
  },
});

const recordDirectory = path.join(projectDirectory, "docs/bench");
const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-bench-"));
// State is kept on a tmpfs, as in /run of most systems. The mount namespace is the bench's own.
const stateRoots = path.join(directory, "state");
mkdirSync(stateRoots);
execFileSync("mount", ["-t", "tmpfs", "tmpfs", stateRoots]);
try {
  process.exitCode = flags.short ? short() : flags.files ? await files() : await full();
} finally {
  execFileSync("umount", ["--lazy", stateRoots]);
  rmSync(directory, { recursive: true, force: true });
  removeCgroups();
}

/** Removes the cgroups that a peer has left (crun some of v1's), or that of a container whose command failed. */
function removeCgroups(): void {
  for (const hierarchy of readdirSync("/sys/fs/cgroup")) {
    const parent = path.join("/sys/fs/cgroup", hierarchy);
    const names = lstatSync(parent).isDirectory() ? readdirSync(parent) : [];
    for (const name of names.filter((name) => /^bench-[a-z]+-/.test(name))) {
      try {
        rmdirSync(path.join(parent, name));
      } catch {
        // In use: the kernel ends what runs there together with the bench's PID namespace.
      }
    }
  }
}

function wantedPeers(): string[] {
  return flags.peers.split(",").filter(Boolean);
}

/** `served` is for idle memory only. */
function lifecyclePeers(): Peer[] {
  return findPeers(stateRoots, wantedPeers()).filter(({ name }) => name !== "served");
}

function bundles(): Bundles {
  const bundle = (name: string, args: string[], seccomp?: Seccomp) =>
    makeBundle(path.join(directory, name), (spec) => {
      spec.process.args = args;
      if (seccomp !== undefined) spec.linux.seccomp = seccomp;
    });
  const seccomp = dockerSeccomp();
  return {
    true: bundle("true", ["/bin/true"]),
    ...(seccomp && { filtered: bundle("filtered", ["/bin/true"], seccomp) }),
    sleep: bundle("sleep", ["/bin/sleep", "100000"]),
  };
}

async function full(): Promise<number> {
  const all = findPeers(stateRoots, wantedPeers());
  const peers = lifecyclePeers();
  const programs = bundles();
  const { true: trueBundle, sleep } = programs;
  const machine = describeMachine(all);
  const single = measureLifecycle(peers, Number(flags.rounds ?? 40), programs);
  const parallel = (await measureParallel(peers, 3, Number(flags.parallel), trueBundle)).spreads();
  const docker = missing("docker").length === 0 ? (await measureDocker()).spreads() : {};
  const result: Result = {
    date: new Date().toISOString().slice(0, 16),
    machine,
    times: { ...single.times.spreads(), ...parallel, ...docker },
    cpu: single.cpu.spreads(),
    idle: measureIdle(all, (name) => Math.min(Number(flags.idle), FEW_IDLE[name] ?? Number.POSITIVE_INFINITY), sleep),
    memoryLimitKiB: Object.fromEntries(
      peers
        // runsc runs without cgroups here.
        .filter(({ name }) => name !== "runsc" && name !== "sandboxed")
        .map((peer) => [
          peer.name,
          smallestMemoryLimit(peer, path.join(directory, "limited"), path.join(trueBundle, "rootfs")) ?? null,
        ]),
    ),
  };
  const verdicts = verdictsOf(result);
  console.log(`${tableOf(result)}\n${verdictTable(verdicts)}`);
  if (!flags["no-write"]) {
    mkdirSync(recordDirectory, { recursive: true });
    writeFileSync(path.join(recordDirectory, "bench.json"), `${JSON.stringify(result, null, 2)}\n`);
    writeFileSync(path.join(recordDirectory, "bench.svg"), plotOf(result));
    console.log("written: docs/bench/bench.json, docs/bench/bench.svg");
  }
  return verdicts.some(isMissed) ? 1 : 0;
}

/** What files cost in containers, into a record of its own. */
async function files(): Promise<number> {
  const result = await measureFiles(Number(flags.rounds ?? 10), flags.work, flags.audited);
  const verdicts = filesVerdicts(result);
  console.log(`${filesTable(result)}\n${verdictTable(verdicts)}`);
  if (!flags["no-write"]) {
    mkdirSync(recordDirectory, { recursive: true });
    writeFileSync(path.join(recordDirectory, "gofer.json"), `${JSON.stringify(result, null, 2)}\n`);
    console.log("written: docs/bench/gofer.json");
  }
  return verdicts.some(isMissed) ? 1 : 0;
}

/** A first look, and a longer one if that finds something: what is slower in both is. */
function short(): number {
  const recorded = JSON.parse(readFileSync(path.join(recordDirectory, "bench.json"), "utf8")) as Result;
  // The same ones as in full: who is measured beside a runtime has a say in how warm it finds the caches, and the kernel's locks.
  const peers = lifecyclePeers();
  const programs = bundles();
  let worse: string[] | undefined;
  for (const rounds of [Number(flags.rounds ?? 10), 30]) {
    const machine = describeMachine(peers);
    const measured = measureLifecycle(peers, rounds, programs);
    const [times, cpu] = [measured.times.spreads(), measured.cpu.spreads()];
    const result: Result = { date: new Date().toISOString().slice(0, 16), machine, times, cpu };
    console.log(tableOf(result));
    const found = slower(result, recorded);
    worse = worse === undefined ? found : found.filter((line) => worse?.includes(line) === true);
    const unknown = Object.keys(times).filter((what) => !(what in recorded.times));
    if (unknown.length > 0)
      console.log(`not compared, as docs/bench/bench.json does not have it: ${unknown.join("; ")}`);
    if (worse.length === 0) return 0;
  }
  console.log(`slower against the peers than recorded, by more than a quarter:\n${worse?.join("\n")}\n`);
  return 1;
}

/**
 * What has become slower: in processor time, against a peer; by the clock, against all of them, as the kernel's locks let a peer wait for
 * a grace period in one run and not in another. Other work on the machine moves medians, and not lower quartiles.
 */
function slower(result: Result, recorded: Result): string[] {
  const isWorse = (what: string, peer: string, kind: "times" | "cpu") =>
    (["median", "low"] as const).every((quantile) => {
      const [now, then] = [result, recorded].map((each) => ratioOf(each[kind], what, peer, { quantile }));
      return now !== undefined && then !== undefined && now > then * WORSE;
    });
  const others = Object.keys(result.machine.runtimes).filter((peer) => !OURS.includes(peer));
  return Object.keys(result.times).flatMap((what) => [
    ...others
      .filter((peer) => isWorse(what, peer, "cpu"))
      .map(
        (peer) => `${what}: processor time of cloche / ${peer} (was ${ratioOf(recorded.cpu, what, peer)?.toFixed(2)})`,
      ),
    ...(others.every((peer) => isWorse(what, peer, "times")) ? [`${what}: wall clock`] : []),
  ]);
}
