/** A command of the runtime under test that goes on while the test does other things, and what it has printed so far. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { NR } from "../../specutils/syscall.ts";
import { type Runtime, waitFor } from "./runtime.ts";

/** RFC 3339 with nanoseconds, UTC. */
export const anyTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);

/** How it ended. */
export interface Ended {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** A running command. */
export interface Following {
  pid: number;
  stdout: () => string;
  /** Each complete line of stdout, which is JSON. */
  events: () => { type: string; [field: string]: unknown }[];
  ended: Promise<Ended>;
}

/** Starts a command whose output is collected. */
export function follow(runtime: Runtime, args: string[]): Following {
  const child = runtime.spawn(args);
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (data) => {
    stdout += data;
  });
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    events: () =>
      stdout
        .slice(0, stdout.lastIndexOf("\n") + 1)
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
    ended: new Promise((resolve) => child.on("close", (exitCode) => resolve({ exitCode, stdout, stderr }))),
  };
}

/** Waits until a process sleeps in poll(2), as `wait` and `events` do when they have nothing to do. */
export async function isWaiting(pid: number): Promise<void> {
  await waitFor("it waits", () => readFileSync(`/proc/${pid}/syscall`, "latin1").startsWith(`${NR.ppoll} `));
}

/** Expects that a process which waits is not woken up by anything for a while. */
export async function expectSleep(pid: number): Promise<void> {
  const before = sleeps(pid);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(sleeps(pid)).toBe(before);
}

/** How often the main thread of a process has gone to sleep. */
function sleeps(pid: number): string | undefined {
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, "latin1");
  return /^voluntary_ctxt_switches:\t(\d+)$/m.exec(status)?.[1];
}
