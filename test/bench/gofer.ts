/**
 * `npm run bench -- --files`: the same work on the host's files as they are, in a container to which they are donated, in one to which
 * a gofer serves them, and in one of runsc's, in turns, all on one processor: across two, the time that it takes to wake the other one up
 * is most of what is measured (docs/GOFER.md). Needs mount and PID namespaces of its own (scripts/bench).
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { mount, umount } from "../../specutils/syscall.ts";
import { waitFor } from "../helpers/runtime.ts";
import { distDirectory, projectDirectory } from "../helpers/runtime-path.ts";
import type { Verdict } from "./budgets.ts";
import { inGroup, makeGroup, removeGroup } from "./gofer-group.ts";
import { type Place, Shell } from "./gofer-shell.ts";
import { FLOOR, preparation, type Work, works } from "./gofer-work.ts";
import { findPeers } from "./peers.ts";
import { describeMachine, type Machine } from "./result.ts";
import { Samples, type Spread } from "./statistics.ts";
import { align, factsOf, milliseconds } from "./table.ts";

const MS_BIND = 4096;
const MNT_DETACH = 2;

/** What is native is 1.0; this much of it is noise. */
const SAME = 1.05;

export interface FilesResult {
  date: string;
  machine: Machine;
  /** Milliseconds, by work and place. */
  times: Record<string, Record<string, Spread>>;
}

/**
 * @param only leaves it at the work whose name contains this
 * @param isAudited measures a served container with an audit stream of everything, too
 */
export async function measureFiles(rounds: number, only: string, isAudited: boolean): Promise<FilesResult> {
  const top = mkdtempSync("/var/tmp/cloche-bench-files-");
  const root = path.join(top, "root");
  for (const name of ["root", "data", "work", FLOOR]) mkdirSync(path.join(top, name));
  if (statSync(top).dev !== statSync("/").dev)
    throw new Error("/var/tmp must be on the file system of the root directory");
  mount("/", root, null, MS_BIND, null);
  mount("tmpfs", path.join(top, "work"), "tmpfs", 0, null);
  makeGroup();
  try {
    const env = { ...process.env, D: path.join(top, "data"), FIXTURES: path.join(projectDirectory, "test/fixtures") };
    const prepared = spawnSync("bash", ["-euc", preparation], { env: { ...env, HOME: top }, encoding: "utf8" });
    if (prepared.status !== 0) throw new Error(`cannot prepare: ${prepared.stderr}`);
    const peers = findPeers(top, ["cloche", "runsc"]);
    const places = placesOf(top, peers.find(({ name }) => name === "runsc")?.command, isAudited);
    const machine = describeMachine(peers);
    const endFloor = await startFloor(top);
    const times = await measureAll(top, places, rounds, only).finally(endFloor);
    return { date: new Date().toISOString().slice(0, 16), machine, times };
  } finally {
    removeGroup();
    for (const name of ["root", "work"]) umount(path.join(top, name), MNT_DETACH);
    rmSync(top, { recursive: true });
  }
}

/** @returns what ends it. @throws Error if it is not mounted in time */
async function startFloor(top: string): Promise<() => Promise<void>> {
  const at = path.join(top, FLOOR);
  const before = statSync(at).dev;
  const [bash = "", ...args] = inGroup(lastCpu(), [path.join(top, "data/fuse-constants"), at]);
  const server = spawn(bash, args, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => server.on("close", () => resolve()));
  await waitFor("the server of constants is mounted", () => statSync(at).dev !== before);
  return () => {
    umount(at, MNT_DETACH);
    return ended;
  };
}

function placesOf(top: string, runsc: readonly string[] | undefined, isAudited: boolean): Place[] {
  const cloche = (access: string, ...more: string[]) => [
    ...[path.join(distDirectory, "cloche"), "--isolation", "sandboxed", "--file-access", access],
    ...more,
  ];
  return [
    { name: "native" },
    { name: "donated", runtime: cloche("donated") },
    { name: "served", runtime: cloche("served") },
    { name: FLOOR },
    ...(isAudited ? [{ name: "audited", runtime: cloche("served", "--gofer-audit", path.join(top, "audit")) }] : []),
    ...(runsc === undefined ? [] : [{ name: "runsc", runtime: runsc }]),
  ];
}

/** The last processor that this process may use: the first ones are given other work. */
function lastCpu(): number {
  const list = /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return Number(list.split(/[,-]/).at(-1));
}

async function measureAll(
  top: string,
  places: readonly Place[],
  rounds: number,
  only: string,
): Promise<FilesResult["times"]> {
  const samples = new Samples();
  for (const [name, work] of Object.entries(works)) {
    if (!name.includes(only)) continue;
    // New containers for each: runsc's keep files open that are gone.
    const shells = places.map((place) => new Shell(place, top, lastCpu()));
    try {
      await measureInTurns(shells, name, work, rounds, samples);
    } finally {
      for (const shell of shells) await shell.end();
    }
  }
  return samples.spreads();
}

async function measureInTurns(
  shells: Shell[],
  name: string,
  { prepare, measured, floor }: Work,
  rounds: number,
  samples: Samples,
): Promise<void> {
  const failed = new Set<Shell>();
  // The first round fills the caches of all. Each place begins another one: what one has written the next may have to wait for.
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < shells.length; turn++) {
      const shell = shells[(round + turn) % shells.length];
      if (shell === undefined || failed.has(shell)) continue;
      const command = shell.name === FLOOR ? floor : measured;
      if (command === undefined) continue;
      try {
        await shell.renew();
        if (prepare !== undefined) await shell.run(prepare);
        const ms = await shell.run(command);
        if (round > 0) samples.add(name, shell.name, ms);
      } catch (thrown) {
        // It may run out of descriptors; then it is not measured any more.
        if (shell.name !== "runsc") throw thrown;
        console.error(String(thrown));
        failed.add(shell);
      }
    }
  }
}

/** One place's median by another's. */
function ratio({ times }: FilesResult, what: string, place: string, base: string): number | undefined {
  const [over, under] = [times[what]?.[place], times[what]?.[base]];
  return over === undefined || under === undefined ? undefined : over.median / under.median;
}

export function filesVerdicts(result: FilesResult): Verdict[] {
  const verdict = (what: string, place: string, base: string, limit: number): Verdict => ({
    budget: `${what}: ${place} / ${base}`,
    value: ratio(result, what, place, base),
    limit,
    unit: "ratio",
  });
  return Object.entries(works).flatMap(([what, { served, request }]) => [
    verdict(what, "donated", "native", SAME),
    ...(served === undefined ? [] : [verdict(what, "served", "native", served)]),
    ...(request === undefined ? [] : [verdict(what, "served", FLOOR, request)]),
    verdict(what, "served", "runsc", 1),
  ]);
}

function cell(spread: Spread | undefined): string {
  if (spread === undefined) return "-";
  return `${milliseconds(spread.median)} [${milliseconds(spread.low)} ${milliseconds(spread.high)}]`;
}

/** Medians with quartiles, and ratios to the host's own. */
export function filesTable(result: FilesResult): string {
  const [first = {}] = Object.values(result.times);
  // A round begins with any of them.
  const places = ["native", ...Object.keys(first).filter((place) => place !== "native")];
  const rows = Object.entries(result.times).map(([what, row]) => [
    what,
    ...places.map((place) => cell(row[place])),
    ...places.slice(1).map((place) => ratio(result, what, place, "native")?.toFixed(2) ?? "-"),
  ]);
  const title = ["median [quartiles], ms", ...places, ...places.slice(1).map((place) => `${place} / native`)];
  return `${factsOf(result)}\n\n${align([title, ...rows]).join("\n")}\n`;
}
