/**
 * One of the processes that issue commands at random, for model.test.ts.
 *
 * Usage: `worker.ts <JSON of Work>`. Prints one line, the JSON of an Entry, for each command into `Work.log`.
 *
 * Like an engine's monitor it is the parent of the containers that it creates, and waits for them. A command that takes long, such
 * as an `exec` into what was paused meanwhile, is helped on by `resume`.
 */
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { SyscallError } from "../../specutils/errors.ts";
import { POLLIN } from "../../specutils/syscall/constants.ts";
import { kill, type ProcessEnd, pidfdOpen, poll, spawnHelper, waitPid } from "../../specutils/syscall.ts";
import { adoptOrphans } from "../faults/orphans.ts";
import { now } from "./clock.ts";
import { COMMANDS, type Command, type Entry } from "./history.ts";
import { random } from "./random.ts";

/** What a worker is told. */
export interface Work {
  runtime: string;
  root: string;
  bundle: string;
  ids: string[];
  commands: number;
  seed: number;
  /** The share of commands that are killed on their way. */
  killed: number;
  log: string;
}

/** How often each command is chosen. */
const WEIGHTS: Record<Command, number> = {
  create: 24,
  start: 16,
  kill: 8,
  signal: 4,
  pause: 9,
  resume: 11,
  exec: 8,
  delete: 5,
  force: 6,
  state: 12,
  list: 3,
};

/** How many of the ids get most of the commands, so that commands meet. */
const BUSY_IDS = 4;

/** How long a command is waited for before the container is resumed beside it. */
const PATIENCE_MS = 1000;

/** The longest time after which a command is killed, about as long as the longest command takes. */
const KILL_WITHIN_MS = 25;

/** When all is resumed or deleted, no command may go on for longer. */
const END_MS = 30_000;

interface Running {
  pid: number;
  entry: Omit<Entry, "to" | "exitCode" | "stdout" | "stderr">;
  files: [string, string];
  killAt: number;
}

const work = JSON.parse(process.argv[2] ?? "") as Work;
const choose = random(work.seed);
const nobody = openSync("/dev/null", "r+");
const log = openSync(work.log, "w", 0o600);
const running = new Map<number, Running>();
let issued = 0;

adoptOrphans();
while (issued < work.commands) {
  const next = nextCommand();
  const pid = start(next);
  while (!waitUntil(() => !running.has(pid), PATIENCE_MS)) {
    // It may wait for a container that was paused on its way.
    const helper = start({ command: next.id === "" ? "list" : "resume", id: next.id });
    waitUntil(() => !running.has(helper), END_MS);
    if (issued > work.commands * 2) break;
  }
}
// Whatever waits for a paused container ends when the test has deleted it.
writeSync(log, "idle\n");
if (!waitUntil(() => running.size === 0, END_MS)) {
  for (const { entry } of running.values()) writeSync(log, `${JSON.stringify({ hangs: entry })}\n`);
}
writeSync(log, "end\n");

function nextCommand(): { command: Command; id: string } {
  const total = Object.values(WEIGHTS).reduce((sum, weight) => sum + weight, 0);
  let at = choose(total);
  const command = COMMANDS.find((name) => {
    at -= WEIGHTS[name];
    return at < 0;
  });
  const id = work.ids[choose(5) < 3 ? choose(BUSY_IDS) : choose(work.ids.length)];
  if (command === undefined || id === undefined) throw new Error("unreachable");
  return { command, id: command === "list" ? "" : id };
}

function argumentsOf(command: Command, id: string): string[] {
  switch (command) {
    case "create":
      return ["create", "--bundle", work.bundle, id];
    case "kill":
      return ["kill", id, "KILL"];
    case "signal":
      return ["kill", id, choose(2) === 0 ? "0" : "WINCH"];
    case "exec":
      return ["exec", id, "true"];
    case "force":
      return ["delete", "--force", id];
    case "list":
      return ["list", "--format", "json"];
    default:
      return [command, id];
  }
}

function start({ command, id }: { command: Command; id: string }): number {
  const base = `${work.log}.${issued++}`;
  const files: [string, string] = [`${base}.out`, `${base}.err`];
  const [out, err] = files.map((file) => openSync(file, "wx", 0o600));
  const wasKilled = choose(1000) < work.killed * 1000;
  const from = now();
  const argv = [work.runtime, "--root", work.root, ...argumentsOf(command, id)];
  const pid = spawnHelper(
    work.runtime,
    argv,
    ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    [
      [0, nobody],
      [1, out ?? -1],
      [2, err ?? -1],
    ],
  );
  for (const fd of [out, err]) closeSync(fd ?? -1);
  const killAt = wasKilled ? performance.now() + choose(KILL_WITHIN_MS * 10) / 10 : Number.POSITIVE_INFINITY;
  running.set(pid, { pid, entry: { command, id, from, wasKilled: false }, files, killAt });
  return pid;
}

/** Sees to the processes until `isOver`, for `limitMs` at most. Returns whether it is. */
function waitUntil(isOver: () => boolean, limitMs: number): boolean {
  const deadline = performance.now() + limitMs;
  for (;;) {
    for (const one of running.values()) killInTime(one);
    reap();
    if (isOver()) return true;
    const left = deadline - performance.now();
    if (left <= 0) return false;
    waitForAny(Math.min(left, 5));
  }
}

function killInTime(one: Running): void {
  if (one.killAt > performance.now()) return;
  one.killAt = Number.POSITIVE_INFINITY;
  kill(one.pid, 9);
  one.entry.wasKilled = true;
}

function waitForAny(limitMs: number): void {
  const nextKill = Math.min(...[...running.values()].map(({ killAt }) => killAt));
  const pidfds = [...running.keys()].map((pid) => pidfdOpen(pid));
  poll(
    pidfds.map((fd) => ({ fd, events: POLLIN })),
    Math.max(0, Math.min(limitMs, Math.ceil(nextKill - performance.now()))),
  );
  for (const fd of pidfds) closeSync(fd);
}

function reap(): void {
  try {
    for (let end = waitPid(-1, { noHang: true }); end !== undefined; end = waitPid(-1, { noHang: true })) note(end);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error; // ECHILD: there is none
  }
}

/** Writes down the end of a command; other processes are those of containers. */
function note(end: ProcessEnd): void {
  const found = running.get(end.pid);
  if (found === undefined) return;
  const to = now();
  running.delete(end.pid);
  const [stdout, stderr] = found.files.map((file) => readFileSync(file, "utf8"));
  for (const file of found.files) unlinkSync(file);
  const exitCode = end.exitCode ?? 128 + (end.signal ?? 0);
  // It may have been done before the signal came.
  const wasKilled = found.entry.wasKilled && end.signal === 9;
  const entry: Entry = { ...found.entry, to, exitCode, stdout: stdout ?? "", stderr: stderr ?? "", wasKilled };
  writeSync(log, `${JSON.stringify(entry)}\n`);
}
