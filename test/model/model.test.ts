/**
 * Eight processes issue random commands on twenty ids under one state root; a model checks each answer (check.ts says how), and
 * afterwards what is on the machine has to agree with it. In the second half of the commands some are killed on their way.
 *
 * `CLOCHE_MODEL=10000` is how many commands there are in all; without it some, as many as fit into two minutes.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseRecord, type SavedContainer } from "../../container/record.ts";
import { isFrozen } from "../../sandbox/cgroups/freeze.ts";
import { cgroupPids } from "../../sandbox/cgroups/members.ts";
import { isAlive } from "../../specutils/process-ref.ts";
import type { Status } from "../../specutils/spec.ts";
import { kill, spawnHelper } from "../../specutils/syscall.ts";
import { statePath } from "../../statefile/names.ts";
import { adoptOrphans, reapOrphans } from "../faults/orphans.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";
import { contradictionIn } from "./check.ts";
import { now } from "./clock.ts";
import { COMMANDS as COMMAND_NAMES, type Entry, type Event, eventsOf, seenIn } from "./history.ts";
import type { State } from "./model.ts";
import type { Work } from "./worker.ts";

const it = requires("root", "busybox", "cgroup1", "cloche");

const COMMANDS = Math.ceil(Number(process.env["CLOCHE_MODEL"] ?? 3000) / 2);
const SEED = Number(process.env["CLOCHE_MODEL_SEED"] ?? Date.now() % 1_000_000);
const PROCESSES = 8;
const IDS = 20;
/** Time for each command, ten times what it takes on an idle machine. */
const TIMEOUT_MS = COMMANDS * 120 + 60_000;

beforeAll(() => adoptOrphans());
afterAll(() => reapOrphans());

for (const killed of [0, 0.05]) {
  const what = killed === 0 ? "" : ", of which some are killed on their way";
  it(
    `eight processes, ${COMMANDS} commands${what}, seed ${SEED}: every answer was true`,
    () =>
      withRuntime(async (runtime) => {
        const ids = Array.from({ length: IDS }, (_, index) => `${runtime.word}-${String(index + 10)}`);
        const entries = await run(runtime, ids, killed);
        const ends = checkAnswers(entries, ids);
        checkPids(entries);
        checkVariety(entries);
        expect(checkMachine(runtime, ends)).toEqual([]);
        runtime.ok(["delete", "--force", ...ids]);
        reapOrphans();
        await waitFor("nothing is left", () => {
          reapOrphans();
          return runtime.leftovers().length === 0;
        });
        // Filters are kept for the next container.
        expect(readdirSync(runtime.root).filter((file) => file !== ".seccomp")).toEqual([]);
      }),
    TIMEOUT_MS,
  );
}

/** Lets the workers do their work, and returns what they have seen, with what it took to let everything end. */
async function run(runtime: Runtime, ids: string[], killed: number): Promise<Entry[]> {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sleep", "6000"];
  });
  const nobody = openSync("/dev/null", "r+");
  const works = Array.from({ length: PROCESSES }, (_, index): Work => {
    const log = path.join(runtime.directory, `worker-${index}`);
    const commands = Math.ceil(COMMANDS / PROCESSES);
    return { runtime: runtimePath(), root: runtime.root, bundle, ids, commands, seed: SEED + index, killed, log };
  });
  const workers = works.map((work) =>
    spawnHelper(
      process.execPath,
      [process.execPath, path.join(import.meta.dirname, "worker.ts"), JSON.stringify(work)],
      [`HOME=${runtime.directory}`, `PATH=${process.env["PATH"]}`],
      [
        [0, nobody],
        [1, 1],
        [2, 2],
      ],
    ),
  );
  const says = (word: string) => () =>
    works.every(({ log }, index) => {
      if (existsSync(log) && readFileSync(log, "utf8").includes(`\n${word}\n`)) return true;
      if (!existsSync(`/proc/${workers[index]}/task`)) throw new Error(`worker ${index} has ended`);
      return false;
    });
  try {
    await waitFor("all commands are issued", says("idle"), TIMEOUT_MS);
    const resumed = ids.map((id) => observe(runtime, "resume", id));
    await waitFor("all commands have ended", says("end"), 60_000);
    const lines = works.flatMap(({ log }) => readFileSync(log, "utf8").split("\n"));
    const entries = lines.filter((line) => line.startsWith("{")).map((line): Entry => JSON.parse(line));
    expect(entries.filter((entry) => "hangs" in entry)).toEqual([]);
    return [...entries, ...resumed, observe(runtime, "list", "")];
  } finally {
    for (const worker of workers) kill(worker, 9);
    closeSync(nobody);
  }
}

function observe(runtime: Runtime, command: "resume" | "list", id: string): Entry {
  const from = now();
  const { exitCode, stdout, stderr } = runtime.run(command === "list" ? ["list", "--format", "json"] : [command, id]);
  const to = now();
  return { command, id, from, to, exitCode: exitCode ?? -1, wasKilled: false, stdout, stderr };
}

/** Checks each id's history. Returns in which states each can be at the end. */
function checkAnswers(entries: readonly Entry[], ids: readonly string[]): Map<string, State[]> {
  const events = new Map(ids.map((id): [string, Event[]] => [id, []]));
  for (const entry of entries) for (const event of eventsOf(entry, ids)) events.get(event.id)?.push(event);
  const ends = new Map<string, State[]>();
  const contradictions = [...events].flatMap(([id, history]) => {
    return contradictionIn(history, (states) => ends.set(id, states)) ?? [];
  });
  expect(contradictions.map(tell)).toEqual([]);
  return ends;
}

/** A contradiction as text, times in ms before the end of the event that cannot be. */
function tell({ event, before, states }: NonNullable<ReturnType<typeof contradictionIn>>): string {
  const lines = before.map(({ command, from, to, answer }) => {
    const [begin, end] = [from, to].map((time) => ((time - event.to) / 1e6).toFixed(1));
    return `  ${begin} to ${end}: ${command}: ${JSON.stringify(answer)}`;
  });
  return [`${event.id}: ${event.command} ${JSON.stringify(event.answer)} after ${states.join(" | ")}`, ...lines].join(
    "\n",
  );
}

/** One container has one pid, whoever looks and when; only what has a process has one. */
function checkPids(entries: readonly Entry[]): void {
  const pids = new Map<string, number>();
  for (const { id, status, pid, created } of entries.flatMap(seenIn)) {
    if (status === "stopped" || status === "creating") continue;
    const key = `${id} ${created}`;
    expect([key, status, pid]).toEqual([key, status, pids.get(key) ?? pid]);
    expect(pid).toBeGreaterThan(1);
    pids.set(key, pid);
  }
}

/** Every command has been done and refused often enough, or all of this has shown nothing. */
function checkVariety(entries: readonly Entry[]): void {
  for (const command of COMMAND_NAMES) {
    const ofThis = entries.filter((entry) => entry.command === command && !entry.wasKilled);
    const counts = [ofThis.filter(({ exitCode }) => exitCode === 0).length, ofThis.length];
    expect([command, counts, (counts[0] ?? 0) > COMMANDS / 200]).toEqual([command, counts, true]);
  }
}

/** What on the machine is not as the model has it. */
function checkMachine(runtime: Runtime, ends: ReadonlyMap<string, State[]>): string[] {
  const problems: string[] = [];
  const files = new Set(readdirSync(runtime.root));
  const expected = new Set([".seccomp"]);
  for (const [id, states] of ends) {
    const text = existsSync(statePath(runtime.root, id, id))
      ? readFileSync(statePath(runtime.root, id, id), "utf8")
      : undefined;
    const status = text === undefined ? "absent" : runtime.state(id).status;
    if (!states.some((state) => (state?.status ?? "absent") === status)) {
      problems.push(`${id} is ${status}, and can be ${states.map((state) => state?.status ?? "absent").join(", ")}`);
    }
    if (text === undefined) {
      if (runtime.leftovers().some((line) => line.includes(id))) problems.push(`${id} is absent and has leftovers`);
      continue;
    }
    const record = parseRecord(statePath(runtime.root, id, id), text);
    problems.push(...checkContainer(record, status as Status).map((problem) => `${id} is ${status}: ${problem}`));
    for (const name of [`${id}_${id}.state`, `${id}_${id}.exit`]) expected.add(name);
    if (record.startSocket !== undefined) expected.add(path.basename(record.startSocket));
  }
  for (const file of files) if (!expected.has(file)) problems.push(`there is ${file}`);
  problems.push(...runtime.leftovers().filter((line) => line.startsWith("mount ")));
  return problems;
}

function checkContainer({ process, sandbox, cgroup }: SavedContainer, status: Status): string[] {
  const problems: string[] = [];
  const lives = status !== "stopped";
  if (process !== undefined && isAlive(process) !== lives) problems.push(`its process is ${lives ? "gone" : "there"}`);
  if (lives && (sandbox === undefined || !isAlive(sandbox))) problems.push("its sandbox process is gone");
  if (cgroup === undefined) return lives ? [...problems, "it has no cgroup"] : problems;
  const pids = cgroupPids(cgroup);
  if (JSON.stringify(pids) !== JSON.stringify(lives ? [process?.pid] : [])) problems.push(`in its cgroup are ${pids}`);
  if (lives && isFrozen(cgroup) !== (status === "paused")) problems.push("its cgroup is frozen or not as it should be");
  return problems;
}
