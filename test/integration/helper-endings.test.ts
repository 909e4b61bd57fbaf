/**
 * How a container's process ended, as two parties see it: its parent (the engine's monitor; here, the test) by wait(2), and
 * the sandbox process, which writes the exit record. Without the commands around it, so that all cases take seconds.
 */
import { afterAll, expect } from "bun:test";
import { closeSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { readExitRecord } from "../../container/exit-record.ts";
import { SYNC } from "../../sandbox/protocol.ts";
import { kill } from "../../specutils/syscall.ts";
import { type StartedProgram, startProgram, waitForAll } from "../helpers/helper-run.ts";
import { requires } from "../helpers/requires.ts";
import { waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "cloche");
const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-endings-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let count = 0;

function recordPath(): string {
  count += 1;
  return path.join(directory, `exit-${count}`);
}

/** signal(7): what a process without handlers does not end by. */
const SURVIVED = new Set([17, 18, 20, 21, 22, 23, 28]);
const SIGKILL = 9;
const SIGSTOP = 19;
const SIGNALS = Array.from({ length: 64 }, (_, index) => index + 1);
const DEADLY = SIGNALS.filter((signal) => !SURVIVED.has(signal) && signal !== SIGSTOP);

/** The end that the parent sees and the one written down, once all processes of the sandbox are gone. */
function endOf({ pid, sandboxPid }: StartedProgram, record: string) {
  const ends = waitForAll();
  const parent = ends.find((end) => end.pid === pid);
  expect(ends.find((end) => end.pid === sandboxPid)).toEqual({ pid: sandboxPid, exitCode: 0 });
  const written = readExitRecord(record);
  return {
    parent: { exitCode: parent?.exitCode, signal: parent?.signal },
    record: { exitCode: written?.exitCode, signal: written?.signal },
  };
}

function both(end: { exitCode?: number; signal?: number }) {
  const full = { exitCode: end.exitCode, signal: end.signal };
  return { parent: full, record: full };
}

for (const isNested of [true, false]) {
  const where = isNested ? "in a pid namespace of its own" : "in the pid namespace of the host";

  it(`all 256 exit codes reach the parent and the exit record ${where}`, async () => {
    for (let exitCode = 0; exitCode < 256; exitCode++) {
      const record = recordPath();
      const args = ["sh", "-c", `exit ${exitCode}`];
      const program = await startProgram({ isNested, record, args }, undefined);
      closeSync(program.launched.conversation.socket);
      expect(endOf(program, record)).toEqual(both({ exitCode }));
    }
  });

  it(`a signal on a created container ends it with 128 and the signal ${where}`, async () => {
    for (const signal of DEADLY) {
      const record = recordPath();
      const program = await startProgram({ isNested, record, args: ["true"] }, SYNC.CREATED);
      program.launched.conversation.go();
      kill(program.pid, signal);
      expect(endOf(program, record)).toEqual(both(signal === SIGKILL ? { signal } : { exitCode: 128 + signal }));
      closeSync(program.launched.conversation.socket);
    }
  });

  it(`a signal that harms nobody leaves a created container waiting ${where}`, async () => {
    const record = recordPath();
    const program = await startProgram({ isNested, record, args: ["sh", "-c", "exit 7"] }, SYNC.CREATED);
    const { conversation } = program.launched;
    conversation.go();
    for (const signal of SURVIVED) kill(program.pid, signal);
    await waitFor("the signals are taken", () => pendingSignals(program.pid) === 0n);
    conversation.go();
    await conversation.answer({}, undefined);
    closeSync(conversation.socket);
    expect(endOf(program, record)).toEqual(both({ exitCode: 7 }));
  });
}

/** SigPnd and ShdPnd of proc(5). */
function pendingSignals(pid: number): bigint {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return [...status.matchAll(/^(?:SigPnd|ShdPnd):\t(\w+)$/gm)].reduce((all, [, mask]) => all | BigInt(`0x${mask}`), 0n);
}

it("all signals that end a program reach the parent and the exit record", async () => {
  for (const signal of DEADLY) {
    const record = recordPath();
    const program = await startProgram({ isNested: false, record, args: ["sleep", "60"] }, undefined);
    closeSync(program.launched.conversation.socket);
    kill(program.pid, signal);
    expect(endOf(program, record)).toEqual(both({ signal }));
  }
});

it("PID 1 of a container ends by SIGKILL, and is spared signals that it has no handler for", async () => {
  const record = recordPath();
  const program = await startProgram({ isNested: true, record, args: ["sleep", "60"] }, undefined);
  closeSync(program.launched.conversation.socket);
  for (const signal of DEADLY) if (signal !== SIGKILL) kill(program.pid, signal);
  expect(readExitRecord(record)).toBeUndefined();
  kill(program.pid, SIGKILL);
  expect(endOf(program, record)).toEqual(both({ signal: SIGKILL }));
});

it("a program starts with no signal blocked, ignored or pending", async () => {
  const record = recordPath();
  const program = await startProgram({ isNested: true, record, args: ["sleep", "60"] }, undefined);
  closeSync(program.launched.conversation.socket);
  const status = readFileSync(`/proc/${program.pid}/status`, "utf8");
  for (const set of ["SigPnd", "ShdPnd", "SigBlk", "SigIgn"]) expect(status).toContain(`${set}:\t${"0".repeat(16)}\n`);
  kill(program.pid, SIGKILL);
  endOf(program, record);
});

it("a sandbox process that is killed takes the container process with it", async () => {
  const record = recordPath();
  const program = await startProgram({ isNested: true, record, args: ["sleep", "60"] }, undefined);
  closeSync(program.launched.conversation.socket);
  kill(program.sandboxPid, SIGKILL);
  const ends = waitForAll();
  expect(ends.find(({ pid }) => pid === program.pid)?.signal).toBe(SIGKILL);
  expect(ends.find(({ pid }) => pid === program.sandboxPid)?.signal).toBe(SIGKILL);
});

requires(
  "root",
  "cloche",
  "busybox",
)("kill: ends a created container by any signal's name or number; wait tells which", () =>
  withRuntime((runtime) => {
    const signals: Record<string, number> = { TERM: 15, SIGRTMIN: 34, "SIGRTMIN+3": 37, 64: 64, 33: 33, KILL: 9 };
    for (const [name, number] of Object.entries(signals)) {
      const id = runtime.create();
      runtime.ok(["kill", id, "0"]);
      runtime.ok(["kill", id, "WINCH"]);
      expect(runtime.state(id).status).toBe("created");
      runtime.ok(["kill", id, name]);
      expect([name, runtime.ok(["wait", id])]).toEqual([name, `${128 + number}\n`]);
      runtime.ok(["delete", id]);
    }
  }),
);
