/** The JavaScript engine of a command interprets: it starts no threads for compilers, and has no memory to put code into. */
import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche", "root", "busybox");

/** Threads and memory of a cloche that waits for its container to end. */
async function whileRunning<T>(runtime: Runtime, env: Record<string, string>, look: (pid: number) => T): Promise<T> {
  const id = runtime.id();
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sleep", "1000"];
  });
  const child = runtime.spawn(["run", "--bundle", bundle, id], { env });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const pid = child.pid ?? 0;
  try {
    await waitFor("the container runs", () => runtime.run(["state", id]).stdout.includes('"running"'));
    return look(pid);
  } finally {
    runtime.run(["kill", id, "KILL"]);
    await ended;
  }
}

const threadsOf = (pid: number) => readdirSync(`/proc/${pid}/task`).length;
const hasWritableCode = (pid: number) => / rwx/.test(readFileSync(`/proc/${pid}/maps`, "utf8"));

it("a command has one thread, and no memory that is writable and executable, whatever the environment says", () =>
  withRuntime(async (runtime) => {
    const seen = await whileRunning(runtime, { BUN_JSC_useJIT: "1" }, (pid) => [threadsOf(pid), hasWritableCode(pid)]);
    expect(seen).toEqual([1, false]);
  }));
