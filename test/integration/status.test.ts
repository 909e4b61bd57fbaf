/**
 * Every operation in every status: what is allowed works, what is not is refused with the words that engines look for
 * (container/status.ts), changes nothing and leaves nothing.
 */
import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isAllowed, type Operation, RULES } from "../../container/status.ts";
import type { Status } from "../../specutils/spec.ts";
import { requires } from "../helpers/requires.ts";
import { type Result, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { snapshot } from "../helpers/snapshot.ts";

const it = requires("root", "busybox", "cgroup1");
const itIsOurs = requires("root", "busybox", "cgroup1", "cloche");

/** What is done to a container by its id alone; pod.test.ts shows how one joins its sandbox. */
type Called = Exclude<Operation, "join">;
const operations = Object.keys(RULES).filter((operation): operation is Called => operation !== "join");

/** One way to call each operation, before the id and after it. */
const CALLS: Record<Called, [before: string[], after: string[]]> = {
  start: [["start"], []],
  kill: [["kill"], ["0"]],
  delete: [["delete"], []],
  exec: [["exec"], ["true"]],
  pause: [["pause"], []],
  resume: [["resume"], []],
  update: [["update", "--pids-limit", "200"], []],
  events: [["events", "--stats"], []],
};

/** The words of a refusal. runc says some of it differently; what engines look for is the same. */
const WORDS: Record<Called, RegExp> = {
  start: /^cannot start .*must be "created"|cannot start a/,
  kill: /container not running/,
  delete: /container not stopped, use --force|is not stopped/,
  exec: /^cannot exec in container .* must be "created" or "running"|container paused|cannot exec/,
  pause: /container not running/,
  resume: /container not paused/,
  update: /container not running/,
  events: /container not running|is not running/,
};

/** What the status is after an operation that was allowed, where it changes. */
const AFTER: Partial<Record<Called, Status>> = { start: "running", pause: "paused", resume: "running" };

function call(runtime: Runtime, operation: Called, id: string): Result {
  const [before, after] = CALLS[operation];
  return runtime.run([...before, id, ...after]);
}

/** A container that has got as far as `status`. */
async function containerThatIs(runtime: Runtime, status: Exclude<Status, "creating">): Promise<string> {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "600"];
  });
  if (status !== "created") {
    runtime.ok(["start", id]);
    // runc returns while its own init still becomes the program.
    const cmdline = `/proc/${runtime.state(id).pid}/cmdline`;
    await waitFor("the program runs", () => readFileSync(cmdline, "latin1").startsWith("sleep"));
  }
  if (status === "paused") runtime.ok(["pause", id]);
  if (status === "stopped") runtime.ok(["kill", id, "KILL"]);
  await runtime.reaches(id, status);
  if (status === "stopped") await isReaped(runtime);
  return id;
}

/** Waits until the sandbox process has written down how the container ended: that comes by itself, and is no operation's doing. */
async function isReaped(runtime: Runtime): Promise<void> {
  const isOver = () => !/^process /m.test(snapshot(runtime)) && !/\.exit: $/m.test(snapshot(runtime));
  // Where nobody reaps orphans it does not come, and nothing changes.
  await waitFor("it is reaped", isOver, 2000).catch(() => undefined);
}

/** A container whose `create` waits in a hook until `release` is called; `ended` is its exit code and what it said. */
function containerInTheMaking(runtime: Runtime): {
  id: string;
  ended: Promise<{ exitCode: number | null; stderr: string }>;
  release: () => void;
} {
  const gate = path.join(runtime.directory, "gate");
  const bundle = runtime.bundle((spec) => {
    const script = `until [ -e ${gate} ]; do sleep 0.02; done`;
    spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
    spec.process.args = ["sleep", "600"];
  });
  const id = runtime.id();
  const child = runtime.spawn(["create", "--bundle", bundle, id]);
  let stderr = "";
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  const ended = new Promise<{ exitCode: number | null; stderr: string }>((resolve) => {
    child.on("exit", (exitCode) => setTimeout(() => resolve({ exitCode, stderr }), 20));
  });
  return { id, ended, release: () => writeFileSync(gate, "") };
}

/** Tries what is not allowed in `status`, one after the other. */
function expectRefusals(runtime: Runtime, id: string, status: Status): void {
  const before = snapshot(runtime);
  for (const operation of operations.filter((name) => !isAllowed(name, status))) {
    const { exitCode, stdout, stderr } = call(runtime, operation, id);
    expect({ operation, isRefused: exitCode !== 0, stdout }).toEqual({ operation, isRefused: true, stdout: "" });
    expect(stderr).toMatch(WORDS[operation]);
    expect(snapshot(runtime)).toBe(before);
  }
}

for (const status of ["created", "running", "paused", "stopped"] as const) {
  it(`${status}: what is not allowed is refused and changes nothing`, () =>
    withRuntime(async (runtime) => {
      expectRefusals(runtime, await containerThatIs(runtime, status), status);
    }));

  for (const operation of operations.filter((name) => isAllowed(name, status))) {
    it(`${status}: ${operation} works`, () =>
      withRuntime(async (runtime) => {
        const id = await containerThatIs(runtime, status);
        const result = call(runtime, operation, id);
        expect(result).toMatchObject({ exitCode: 0, stderr: "" });
        if (operation === "delete") {
          expect(runtime.run(["state", id]).stderr).toContain("does not exist");
          expect(runtime.leftovers()).toEqual([]);
        } else {
          expect(runtime.state(id).status).toBe(AFTER[operation] ?? status);
        }
      }));
  }

  it(`${status}: state, list and ps tell of it`, () =>
    withRuntime(async (runtime) => {
      const id = await containerThatIs(runtime, status);
      const { pid } = runtime.state(id);
      expect(JSON.parse(runtime.ok(["list", "--format", "json"]))).toMatchObject([{ id, status, pid }]);
      expect(runtime.ok(["list", "--quiet"])).toBe(`${id}\n`);
      const ps = runtime.run(["ps", "--format", "json", id]);
      if (status === "stopped") expect(pid).toBe(0);
      else expect(JSON.parse(ps.stdout)).toEqual([pid]);
    }));

  it(`${status}: delete --force removes it`, () =>
    withRuntime(async (runtime) => {
      const id = await containerThatIs(runtime, status);
      expect(runtime.run(["delete", "--force", id])).toMatchObject({ exitCode: 0, stderr: "" });
      await waitFor("nothing is left", () => runtime.leftovers().length === 0);
      expect(runtime.run(["state", id]).stderr).toContain("does not exist");
    }));

  itIsOurs(`${status}: wait tells how it ends`, () =>
    withRuntime(async (runtime) => {
      const id = await containerThatIs(runtime, status);
      const waiter = runtime.spawn(["wait", id]);
      let printed = "";
      waiter.stdout?.on("data", (data) => {
        printed += data;
      });
      const ended = new Promise((resolve) => waiter.on("close", resolve));
      if (status !== "stopped") runtime.ok(["kill", id, "KILL"]);
      expect(await ended).toBe(0);
      expect(printed).toBe("137\n");
    }),
  );
}

it("paused: kill KILL ends it", () =>
  withRuntime(async (runtime) => {
    const id = await containerThatIs(runtime, "paused");
    runtime.ok(["kill", id, "KILL"]);
    await runtime.reaches(id, "stopped");
    runtime.ok(["delete", id]);
  }));

it("stopped: kill --all succeeds, as engines call it after the end", () =>
  withRuntime(async (runtime) => {
    const id = await containerThatIs(runtime, "stopped");
    expect(runtime.run(["kill", "--all", id, "9"])).toMatchObject({ exitCode: 0, stderr: "" });
  }));

// runc saves nothing before the container is created: the status is ours alone.
itIsOurs("creating: everything is refused, and creating goes on", () =>
  withRuntime(async (runtime) => {
    const { id, ended, release } = containerInTheMaking(runtime);
    await runtime.reaches(id, "creating");
    // The hook comes and goes through processes of its own: what must stay the same is what cloche keeps.
    const before = runtime.state(id);
    for (const operation of operations) {
      const { exitCode, stderr } = call(runtime, operation, id);
      expect(exitCode).not.toBe(0);
      expect(stderr).toMatch(WORDS[operation]);
      expect(runtime.state(id)).toEqual(before);
    }
    expect(JSON.parse(runtime.ok(["list", "--format", "json"]))).toMatchObject([{ id, status: "creating" }]);
    release();
    expect(await ended).toEqual({ exitCode: 0, stderr: "" });
    expect(runtime.state(id).status).toBe("created");
  }),
);

itIsOurs("creating: delete --force ends the creation, and nothing is left of either", () =>
  withRuntime(async (runtime) => {
    const { id, ended, release } = containerInTheMaking(runtime);
    await runtime.reaches(id, "creating");
    await waitFor("its process is there", () => runtime.state(id).pid >= 0);
    expect(runtime.run(["delete", "--force", id])).toMatchObject({ exitCode: 0, stderr: "" });
    release();
    const { exitCode, stderr } = await ended;
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^cannot create container .*\n$/);
    await waitFor("nothing is left", () => runtime.leftovers().length === 0);
    expect(runtime.run(["state", id]).stderr).toContain("does not exist");
  }),
);

itIsOurs("creating: wait goes on until its end", () =>
  withRuntime(async (runtime) => {
    const { id, ended, release } = containerInTheMaking(runtime);
    await runtime.reaches(id, "creating");
    const waiter = runtime.spawn(["wait", id]);
    const waited = new Promise((resolve) => waiter.stdout?.once("data", (data) => resolve(String(data))));
    release();
    await ended;
    runtime.ok(["kill", id, "KILL"]);
    expect(await waited).toBe("137\n");
  }),
);

it("absent: everything says so, and delete --force has nothing to do", () =>
  withRuntime((runtime) => {
    const id = runtime.id();
    for (const args of [
      ...operations.map((operation) => [...CALLS[operation][0], id, ...CALLS[operation][1]]),
      ["state", id],
      ["ps", id],
      ["kill", "--all", id, "9"],
    ]) {
      const { exitCode, stdout, stderr } = runtime.run(args);
      expect({ args, isRefused: exitCode !== 0, stdout }).toEqual({ args, isRefused: true, stdout: "" });
      expect(stderr).toContain("does not exist");
    }
    expect(runtime.run(["delete", "--force", id])).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
    expect(runtime.leftovers()).toEqual([]);
  }));

itIsOurs("absent: wait says so", () =>
  withRuntime((runtime) => {
    const { exitCode, stderr } = runtime.run(["wait", runtime.id()]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("does not exist");
  }),
);

it("paused: exec is refused with the exit code of what could not be run, and names the way out", () =>
  withRuntime(async (runtime) => {
    const id = await containerThatIs(runtime, "paused");
    const { exitCode, stderr } = runtime.run(["exec", id, "true"]);
    expect(exitCode).toBe(255);
    expect(stderr).toContain("--ignore-paused");
    runtime.ok(["resume", id]);
    runtime.ok(["exec", id, "true"]);
  }));

itIsOurs("wait: tells the exit code of a detached container that nobody has waited for, as often as it is asked", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "sleep 0.1; exit 42"];
    });
    const id = runtime.id();
    runtime.ok(["run", "--detach", "--bundle", bundle, id]);
    expect(runtime.ok(["wait", id])).toBe("42\n");
    expect(runtime.ok(["wait", id])).toBe("42\n");
    expect(runtime.state(id)).toMatchObject({ status: "stopped", pid: 0, exit: { exitCode: 42 } });
  }),
);
