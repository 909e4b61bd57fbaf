/** `wait` and how a container ended: whoever asks, whenever, whatever ended it. */
import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { kill } from "../../specutils/syscall.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { lines } from "../helpers/container.ts";
import { anyTime, expectSleep, follow, isWaiting } from "../helpers/follow.ts";
import { member } from "../helpers/pod.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");

const MIB = 1024n * 1024n;
const SIGKILL = 9;

/** A container that has started and runs `script`. */
function started(runtime: Runtime, script: string, change: (spec: BundleSpec) => void = () => {}): string {
  const id = runtime.create((spec) => {
    spec.process.args = ["sh", "-c", script];
    change(spec);
  });
  runtime.ok(["start", id]);
  return id;
}

function stateOf(runtime: Runtime, id: string): { status: string; exit?: Record<string, unknown> } {
  return JSON.parse(runtime.ok(["state", id]));
}

/** The saved record, for what `state` does not tell. */
function recordOf(runtime: Runtime, id: string): { sandbox: { pid: number }; process: { pid: number } } {
  return JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8"));
}

it("wait: one line for each container, in their order, whichever ends first", () =>
  withRuntime((runtime) => {
    const slow = started(runtime, "sleep 0.6; exit 3");
    const quick = started(runtime, "exit 4");
    const killed = started(runtime, "sleep 600");
    runtime.ok(["kill", killed, "KILL"]);
    expect(runtime.ok(["wait", slow, quick, killed, quick])).toBe("3\n4\n137\n4\n");
  }));

it("wait: everybody who waits is told, and who comes later", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sh", "-c", "sleep 0.3; exit 42"];
    });
    const waiters = Array.from({ length: 12 }, () => follow(runtime, ["wait", id]));
    await Promise.all(waiters.map(({ pid }) => isWaiting(pid)));
    runtime.ok(["start", id]);
    const ends = await Promise.all(waiters.map(({ ended }) => ended));
    expect(ends).toEqual(waiters.map(() => ({ exitCode: 0, stdout: "42\n", stderr: "" })));
    expect(runtime.ok(["wait", id])).toBe("42\n");
  }));

it("wait: sleeps until there is something to tell", () =>
  withRuntime(async (runtime) => {
    const id = started(runtime, "sleep 600");
    const { pid, ended } = follow(runtime, ["wait", id]);
    await isWaiting(pid);
    await expectSleep(pid);
    runtime.ok(["kill", id, "TERM"]);
    runtime.ok(["kill", id, "KILL"]);
    expect(await ended).toEqual({ exitCode: 0, stdout: "137\n", stderr: "" });
  }));

it("wait: a container that does not exist is said so at once, and nothing is printed of the others", () =>
  withRuntime((runtime) => {
    const id = started(runtime, "sleep 600");
    const { exitCode, stdout, stderr } = runtime.run(["wait", id, "nope"]);
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: 'container "nope" does not exist\n',
    });
  }));

for (const status of ["created", "running", "paused"]) {
  it(`wait: who waits for a ${status} container learns how it ended also when it is deleted`, () =>
    withRuntime(async (runtime) => {
      const id = runtime.create((spec) => {
        spec.process.args = ["sleep", "600"];
      });
      // What the id of the deleted one is the beginning of is another container.
      const other = `${id}0`;
      runtime.ok(["create", "--bundle", runtime.bundle(), other]);
      if (status !== "created") runtime.ok(["start", id]);
      if (status === "paused") runtime.ok(["pause", id]);
      const waiters = Array.from({ length: 4 }, () => follow(runtime, ["wait", id]));
      await Promise.all(waiters.map(({ pid }) => isWaiting(pid)));
      runtime.ok(["delete", "--force", id]);
      for (const { ended } of waiters) expect(await ended).toEqual({ exitCode: 0, stdout: "137\n", stderr: "" });
      expect(stateOf(runtime, other).status).toBe("created");
    }));
}

it("wait: a container that is deleted while it is being created has no exit code", () =>
  withRuntime(async (runtime) => {
    const gate = path.join(runtime.directory, "gate");
    const bundle = runtime.bundle((spec) => {
      const script = `until [ -e ${gate} ]; do sleep 0.02; done`;
      spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
    });
    const id = runtime.id();
    const creating = follow(runtime, ["create", "--bundle", bundle, id]);
    await runtime.reaches(id, "creating");
    const ended = started(runtime, "exit 5");
    const waiting = follow(runtime, ["wait", id, ended]);
    await isWaiting(waiting.pid);
    await expectSleep(waiting.pid);
    runtime.ok(["delete", "--force", id]);
    expect(await waiting.ended).toEqual({
      exitCode: 1,
      stdout: "5\n",
      stderr: `container "${id}" does not exist: it was deleted while it was waited for\n`,
    });
    writeFileSync(gate, "");
    await creating.ended;
  }));

it("wait: a container whose create is killed has no exit code", () =>
  withRuntime(async (runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.hooks = { createRuntime: [{ path: "/bin/sleep", args: ["sleep", "1"] }] };
    });
    const id = runtime.id();
    const creating = follow(runtime, ["create", "--bundle", bundle, id]);
    await runtime.reaches(id, "creating");
    await waitFor("its process is there", () => stateOf(runtime, id).status === "creating");
    const waiting = follow(runtime, ["wait", id]);
    await isWaiting(waiting.pid);
    kill(creating.pid, SIGKILL);
    const { exitCode, stderr } = await waiting.ended;
    expect({ exitCode, stderr: stderr.replace(id, "ID") }).toEqual({
      exitCode: 1,
      stderr: 'cannot wait for container "ID": its creation was cut short\n',
    });
    await creating.ended;
    runtime.ok(["delete", "--force", id]);
    // The hook outlives `create`, as with runc.
    await waitFor("the hook has ended", () => runtime.leftovers().length === 0);
  }));

it("wait: the sandbox process killed with SIGKILL takes the container with it, and everybody learns of it", () =>
  withRuntime(async (runtime) => {
    const id = started(runtime, "sleep 600 & sleep 600 & wait");
    const waiters = Array.from({ length: 4 }, () => follow(runtime, ["wait", id]));
    await Promise.all(waiters.map(({ pid }) => isWaiting(pid)));
    kill(recordOf(runtime, id).sandbox.pid, SIGKILL);
    for (const { ended } of waiters) expect(await ended).toEqual({ exitCode: 0, stdout: "137\n", stderr: "" });
    expect(runtime.ok(["wait", id])).toBe("137\n");
    expect(stateOf(runtime, id)).toMatchObject({
      status: "stopped",
      exit: { signal: SIGKILL, reason: "sandbox-ended" },
    });
  }));

it("state: names the sandbox, the exit code and the time", () =>
  withRuntime((runtime) => {
    const before = new Date().toISOString();
    const id = started(runtime, "exit 7");
    expect(runtime.ok(["wait", id])).toBe("7\n");
    const state = stateOf(runtime, id);
    const at = String(state.exit?.["at"]);
    expect(state).toMatchObject({ sandboxId: id, status: "stopped" });
    expect(state.exit).toEqual({ exitCode: 7, at });
    expect([before, at, new Date().toISOString()].toSorted()[1]).toBe(at);
  }));

it("list: names the sandbox, and how a container ended", () =>
  withRuntime((runtime) => {
    const [code, signal, running] = [
      started(runtime, "exit 7"),
      started(runtime, "sleep 600"),
      started(runtime, "sleep 600"),
    ];
    runtime.ok(["kill", signal, "KILL"]);
    runtime.ok(["wait", code, signal]);
    const columns = lines(runtime.ok(["list"])).map((line) => line.split(/ {2,}/).filter(Boolean));
    expect(columns[0]).toEqual(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "SANDBOX", "EXIT"]);
    const shown = columns.slice(1).map(([id, , , , , , ...rest]) => [id, ...rest]);
    expect(shown.toSorted()).toEqual(
      [
        [code, code, "7"],
        [running, running],
        [signal, signal, "SIGKILL"],
      ].toSorted(),
    );
    const listed: { id: string; sandboxId: string; exit?: object }[] = JSON.parse(runtime.ok(["list", "-f", "json"]));
    expect(listed.find(({ id }) => id === signal)).toMatchObject({ sandboxId: signal, exit: { signal: SIGKILL } });
    expect(listed.find(({ id }) => id === running)).not.toHaveProperty("exit");
  }));

/** Limits the memory of a container to what a shell can use up at once. */
function limitMemory(spec: BundleSpec): void {
  spec.linux.resources.memory = { limit: 16n * MIB, swap: 16n * MIB };
}

/** Uses up the memory, in the shell itself. */
const GROW = "a=$(head -c 60000000 /dev/zero | tr '\\0' x)";

it("state: says that the container process was killed for want of memory", () =>
  withRuntime((runtime) => {
    const id = started(runtime, `${GROW}; exit 0`, limitMemory);
    expect(runtime.ok(["wait", id])).toBe("137\n");
    expect(stateOf(runtime, id).exit).toMatchObject({ signal: SIGKILL, reason: "oom-killed" });
    // What was found out then stays, whatever becomes of the cgroup.
    runtime.ok(["kill", "--all", id, "KILL"]);
    expect(stateOf(runtime, id).exit).toMatchObject({ signal: SIGKILL, reason: "oom-killed" });
    expect(runtime.ok(["list"])).toContain("SIGKILL (oom-killed)");
  }));

it("state: says so also when nobody has looked before others killed what was left", () =>
  withRuntime(async (runtime) => {
    const id = started(runtime, `${GROW}; exit 0`, limitMemory);
    const { process } = recordOf(runtime, id);
    await waitFor("it has ended", () => {
      try {
        return / [ZX] /.test(readFileSync(`/proc/${process.pid}/stat`, "latin1"));
      } catch {
        return true;
      }
    });
    runtime.ok(["kill", "--all", id, "KILL"]);
    expect(stateOf(runtime, id).exit).toMatchObject({ signal: SIGKILL, reason: "oom-killed" });
  }));

/** A container in which the OOM killer has struck, but not at the container process. */
async function withDeadChild(runtime: Runtime, change: (spec: BundleSpec) => void = () => {}): Promise<string> {
  const id = started(runtime, `(${GROW}); echo gone > /dev/shm/gone; sleep 600`, (spec) => {
    limitMemory(spec);
    change(spec);
  });
  const look = () => runtime.run(["exec", id, "test", "-e", "/dev/shm/gone"]);
  await waitFor("a child is killed", () => look().exitCode === 0, 30_000).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify([look(), stateOf(runtime, id)])}`);
  });
  return id;
}

it("state: does not take kill for the OOM killer, which had struck before", () =>
  withRuntime(async (runtime) => {
    const id = await withDeadChild(runtime);
    runtime.ok(["kill", id, "KILL"]);
    expect(runtime.ok(["wait", id])).toBe("137\n");
    expect(Object.keys(stateOf(runtime, id).exit ?? {})).toEqual(["signal", "at"]);
  }));

it("state: does not take the deletion of the root container for the OOM killer, which had struck before", () =>
  withRuntime(async (runtime) => {
    const root = started(runtime, "sleep 600");
    const id = await withDeadChild(runtime, (spec) => member(runtime, spec, root));
    const waiting = follow(runtime, ["wait", id]);
    await isWaiting(waiting.pid);
    runtime.ok(["delete", "--force", root]);
    expect((await waiting.ended).stdout).toBe("137\n");
    expect(stateOf(runtime, id).exit?.["reason"]).not.toBe("oom-killed");
  }));

it("events: do not take delete --force for the OOM killer, which had struck before", () =>
  withRuntime(async (runtime) => {
    const id = await withDeadChild(runtime);
    const events = follow(runtime, ["events", id]);
    await isWaiting(events.pid);
    runtime.ok(["delete", "--force", id]);
    expect((await events.ended).exitCode).toBe(0);
    expect(events.events()).toEqual([
      { type: "exit", id, at: anyTime, exit: { signal: SIGKILL, at: anyTime } },
      { type: "delete", id, at: anyTime },
    ]);
  }));

it("state: says why start could not run the program", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["/bin/not-a-program"];
    });
    writeFileSync(path.join(bundle, "rootfs/bin/not-a-program"), "\0", { mode: 0o755 });
    const id = runtime.id();
    runtime.ok(["create", "--bundle", bundle, id]);
    const { exitCode, stderr } = runtime.run(["start", id]);
    expect(exitCode).not.toBe(0);
    expect(runtime.run(["wait", id]).exitCode).toBe(0);
    const exit = stateOf(runtime, id).exit as { reason: string; message: string };
    expect(exit.reason).toBe("start-failed");
    expect(stderr).toBe(`cannot start container "${id}": ${exit.message}\n`);
  }));
