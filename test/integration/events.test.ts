/** `events`: what happens to a container when it happens, and its statistics at intervals, until it is deleted. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import path from "node:path";
import { kill } from "../../specutils/syscall.ts";
import { anyTime, expectSleep, type Following, follow, isWaiting } from "../helpers/follow.ts";
import { member, saved } from "../helpers/pod.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

/** runc knows statistics and OOM kills only. */
const it = requires("root", "busybox", "cloche");

const SIGKILL = 9;
const SIGCONT = 18;
const SIGSTOP = 19;

/** A container that only sleeps, and its events; no statistics within the time of a test. */
async function watched(runtime: Runtime): Promise<{ id: string; events: Following }> {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "600"];
  });
  const events = follow(runtime, ["events", "--interval", "1h", id]);
  await isWaiting(events.pid);
  return { id, events };
}

/** The events without what differs from time to time. */
function types(events: Following): string[] {
  return events.events().map(({ type }) => type);
}

it("events: tells of statistics and of running out of memory", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      const limit = 16n * 1024n * 1024n;
      spec.linux.resources.memory = { limit, swap: limit };
      // The child is what the kernel kills: it is the one that grows.
      spec.process.args = ["sh", "-c", "sleep 1; (a=$(head -c 60000000 /dev/zero | tr '\\0' x)); exec sleep 60"];
    });
    runtime.ok(["start", id]);
    const events = follow(runtime, ["events", "--interval", "200ms", id]);
    await waitFor(
      "statistics and an OOM kill are told of",
      () => types(events).includes("stats") && types(events).includes("oom"),
      30_000,
    );
    runtime.ok(["delete", "--force", id]);
    expect(await events.ended).toMatchObject({ exitCode: 0, stderr: "" });
    expect([...new Set(types(events).filter((type) => type !== "stats"))]).toEqual(["oom", "exit", "delete"]);
  }));

it("events: tells of each step of a container's life, with its time, to everybody who watches", () =>
  withRuntime(async (runtime) => {
    const { id, events } = await watched(runtime);
    const other = follow(runtime, ["events", "--interval", "1h", id]);
    await isWaiting(other.pid);
    for (const [command, count] of [
      ["start", 1],
      ["pause", 2],
      ["resume", 3],
      ["pause", 4],
    ] as const) {
      runtime.ok([command, id]);
      await waitFor(`${command} is told of`, () => types(events).length === count && types(other).length === count);
    }
    runtime.ok(["kill", id, "KILL"]);
    await waitFor("its end is told of", () => types(events).includes("exit"));
    await isWaiting(events.pid);
    await expectSleep(events.pid);
    runtime.ok(["delete", id]);
    expect(await events.ended).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await other.ended).toMatchObject({ exitCode: 0, stderr: "" });
    expect(events.events()).toEqual([
      { type: "start", id, at: anyTime },
      { type: "pause", id, at: anyTime },
      { type: "resume", id, at: anyTime },
      { type: "pause", id, at: anyTime },
      { type: "exit", id, at: anyTime, exit: { signal: SIGKILL, at: anyTime } },
      { type: "delete", id, at: anyTime },
    ]);
    expect(types(other)).toEqual(types(events));
    const times = events.events().map(({ at }) => at);
    expect(times).toEqual(times.toSorted());
  }));

it("events: tells of the end and the deletion that it has slept through", () =>
  withRuntime(async (runtime) => {
    const { id, events } = await watched(runtime);
    kill(events.pid, SIGSTOP);
    for (const args of [
      ["start", id],
      ["pause", id],
      ["resume", id],
      ["delete", "--force", id],
    ])
      runtime.ok(args);
    kill(events.pid, SIGCONT);
    expect(await events.ended).toMatchObject({ exitCode: 0, stderr: "" });
    // The record is gone by then: what only it knew is lost, what the kernel knows is not.
    expect(events.events()).toEqual([
      { type: "exit", id, at: anyTime, exit: { signal: SIGKILL, at: anyTime } },
      { type: "delete", id, at: anyTime },
    ]);
  }));

it("events: tells of a pause and a resume that it has slept through", () =>
  withRuntime(async (runtime) => {
    const { id, events } = await watched(runtime);
    kill(events.pid, SIGSTOP);
    for (const command of ["start", "pause", "resume"]) runtime.ok([command, id]);
    kill(events.pid, SIGCONT);
    await waitFor("all is told of", () => types(events).length === 3);
    expect(types(events)).toEqual(["start", "pause", "resume"]);
  }));

it("events: tells of the container process killed for want of memory, and then of its end", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      const limit = 16n * 1024n * 1024n;
      spec.linux.resources.memory = { limit, swap: limit };
      spec.process.args = ["sh", "-c", "a=$(head -c 60000000 /dev/zero | tr '\\0' x); exit 0"];
    });
    const events = follow(runtime, ["events", "--interval", "1h", id]);
    await isWaiting(events.pid);
    runtime.ok(["start", id]);
    await waitFor("its end is told of", () => types(events).includes("exit"), 30_000);
    const told = events.events();
    expect(told.shift()).toEqual({ type: "start", id, at: anyTime });
    const exit = { signal: SIGKILL, at: anyTime, reason: "oom-killed" };
    expect(told.pop()).toEqual({ type: "exit", id, at: anyTime, exit });
    // cgroup v1 tells again when the dying want memory.
    expect(new Set(told.map(({ type }) => type))).toEqual(new Set(["oom"]));
  }));

it("events: tells of the exit code", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sh", "-c", "sleep 0.1; exit 9"];
    });
    const events = follow(runtime, ["events", "--interval", "1h", id]);
    await isWaiting(events.pid);
    runtime.ok(["start", id]);
    await waitFor("its end is told of", () => types(events).includes("exit"));
    expect(events.events()[1]).toEqual({ type: "exit", id, at: anyTime, exit: { exitCode: 9, at: anyTime } });
  }));

for (const victim of ["process", "sandbox"] as const) {
  it(`events: tells of the end when somebody kills the ${victim}`, () =>
    withRuntime(async (runtime) => {
      const { id, events } = await watched(runtime);
      runtime.ok(["start", id]);
      const record = JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8"));
      kill(record[victim].pid, SIGKILL);
      await waitFor("its end is told of", () => types(events).includes("exit"));
      const reason = victim === "sandbox" ? { reason: "sandbox-ended" } : {};
      const exit = { signal: SIGKILL, at: anyTime, ...reason };
      expect(events.events()[1]).toEqual({ type: "exit", id, at: anyTime, exit });
    }));
}

it("events: sleeps until there is something to tell, whatever other containers do", () =>
  withRuntime(async (runtime) => {
    const { id, events } = await watched(runtime);
    const sleeping = expectSleep(events.pid);
    const other = runtime.create();
    runtime.ok(["start", other]);
    runtime.ok(["delete", "--force", other]);
    await sleeping;
    runtime.ok(["delete", "--force", id]);
    expect((await events.ended).exitCode).toBe(0);
  }));

it("events: is not misled by a container whose id begins with that of a deleted one, or is the same", () =>
  withRuntime(async (runtime) => {
    const { id, events } = await watched(runtime);
    const bundle = runtime.bundle();
    runtime.ok(["create", "--bundle", bundle, `${id}0`]);
    kill(events.pid, SIGSTOP);
    runtime.ok(["delete", "--force", id]);
    runtime.ok(["create", "--bundle", bundle, id]);
    kill(events.pid, SIGCONT);
    expect((await events.ended).exitCode).toBe(0);
    expect(types(events)).toEqual(["exit", "delete"]);
  }));

/** A running root container. */
function startRoot(runtime: Runtime): string {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "600"];
  });
  runtime.ok(["start", id]);
  return id;
}

function createMember(runtime: Runtime, root: string): string {
  return runtime.create((spec) => {
    spec.process.args = ["sleep", "600"];
    member(runtime, spec, root);
  });
}

/** The types of the events of one container. */
function typesOf(events: Following, id: string): string[] {
  return types({ ...events, events: () => events.events().filter((event) => event["id"] === id) });
}

it("events --sandbox: tells of every container of the sandbox, also of those that join it, and of no others", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const first = createMember(runtime, root);
    const events = follow(runtime, ["events", "--sandbox", "--interval", "1h", first]);
    await isWaiting(events.pid);
    const [stranger, second] = [startRoot(runtime), createMember(runtime, root)];
    for (const args of [
      ["start", first],
      ["start", second],
      ["pause", second],
      ["resume", second],
    ])
      runtime.ok(args);
    runtime.ok(["kill", second, "KILL"]);
    await waitFor("its end is told of", () => typesOf(events, second).includes("exit"));
    runtime.ok(["delete", second]);
    // The same id, another container.
    runtime.ok(["create", "--bundle", runtime.bundle((spec) => member(runtime, spec, root)), second]);
    runtime.ok(["delete", "--force", stranger]);
    runtime.ok(["delete", "--sandbox", "--force", root]);
    expect(await events.ended).toMatchObject({ exitCode: 0, stderr: "" });
    expect(typesOf(events, first)).toEqual(["start", "exit", "delete"]);
    expect(typesOf(events, root)).toEqual(["exit", "delete"]);
    const life = ["create", "start", "pause", "resume", "exit", "delete"];
    expect(typesOf(events, second)).toEqual([...life, "create", "exit", "delete"]);
    expect(typesOf(events, stranger)).toEqual([]);
  }));

it("events --sandbox: the sandbox process killed with SIGKILL ends a pod of eight, and every end is told of", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const members = Array.from({ length: 7 }, () => createMember(runtime, root));
    for (const id of members) runtime.ok(["start", id]);
    const waiting = follow(runtime, ["wait", ...members, root]);
    const events = follow(runtime, ["events", "--sandbox", "--interval", "1h", root]);
    await Promise.all([isWaiting(waiting.pid), isWaiting(events.pid)]);
    kill(saved(runtime, root, root).sandbox.pid, SIGKILL);
    expect(await waiting.ended).toEqual({ exitCode: 0, stdout: "137\n".repeat(8), stderr: "" });
    await waitFor("all ends are told of", () => types(events).length === 8);
    const exit = { signal: SIGKILL, at: anyTime, reason: "sandbox-ended" };
    expect(events.events()).toEqual(
      expect.arrayContaining([...members, root].map((id) => ({ type: "exit", id, at: anyTime, exit }))),
    );
    runtime.ok(["delete", "--sandbox", "--force", root]);
    expect(await events.ended).toMatchObject({ exitCode: 0, stderr: "" });
  }));

it("events --sandbox --stats: gives the statistics of each container", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const first = createMember(runtime, root);
    const lines = runtime.ok(["events", "--sandbox", "--stats", first]).trim().split("\n");
    const ids = lines.map((line) => JSON.parse(line)).map(({ type, id }) => `${type} ${id}`);
    expect(ids.toSorted()).toEqual([`stats ${first}`, `stats ${root}`].toSorted());
  }));
