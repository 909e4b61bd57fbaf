/** Several callers at once: one of them wins, the others are told so, and nothing is left. */
import { expect } from "bun:test";
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itIsOurs = requires("root", "busybox", "cloche");

interface End {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** The end of the process alone: what it started may keep its output open. */
function endOf(child: ChildProcess): Promise<End> {
  const end: End = { exitCode: null, stdout: "", stderr: "" };
  child.stdout?.on("data", (data) => {
    end.stdout += data;
  });
  child.stderr?.on("data", (data) => {
    end.stderr += data;
  });
  return new Promise((resolve) => {
    child.on("exit", (exitCode) => setTimeout(() => resolve({ ...end, exitCode }), 50));
  });
}

/** Calls the runtime `count` times at once. */
function together(runtime: Runtime, count: number, args: (index: number) => string[]): Promise<End[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => endOf(runtime.spawn(args(index)))));
}

const succeeded = (ends: End[]) => ends.filter(({ exitCode }) => exitCode === 0);
const failed = (ends: End[]) => ends.filter(({ exitCode }) => exitCode !== 0);

// runc 1.1 checks whether the directory of an id is there before it makes it.
itIsOurs("create: of several with one id, one succeeds and the others say that it exists", () =>
  withRuntime(async (runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sleep", "600"];
    });
    const id = runtime.id();
    const ends = await together(runtime, 6, () => ["create", "--bundle", bundle, id]);
    expect(succeeded(ends)).toHaveLength(1);
    for (const { stderr } of failed(ends)) expect(stderr).toContain("container with given ID already exists");
    expect(runtime.state(id).status).toBe("created");
    runtime.ok(["start", id]);
    runtime.ok(["delete", "--force", id]);
    await waitFor("nothing is left", () => runtime.leftovers().length === 0);
  }),
);

itIsOurs("start: of several, one succeeds, and the program runs once", () =>
  withRuntime(async (runtime) => {
    const log = path.join(runtime.directory, "log");
    const id = runtime.create((spec) => {
      spec.mounts.push({ destination: runtime.directory, type: "bind", source: runtime.directory, options: ["bind"] });
      spec.process.args = ["sh", "-c", `echo started >> ${log}; sleep 600`];
    });
    const ends = await together(runtime, 6, () => ["start", id]);
    expect(succeeded(ends)).toHaveLength(1);
    for (const { stderr } of failed(ends)) expect(stderr).toMatch(/^cannot start container /);
    await waitFor("it runs", () => existsSync(log));
    expect(readFileSync(log, "utf8")).toBe("started\n");
    expect(runtime.state(id).status).toBe("running");
  }),
);

itIsOurs("delete --force while it is started: whoever comes first, nothing is left", () =>
  withRuntime(async (runtime) => {
    for (let round = 0; round < 5; round++) {
      const id = runtime.create((spec) => {
        spec.process.args = ["sleep", "600"];
      });
      const [started, deleted] = await Promise.all([
        endOf(runtime.spawn(["start", id])),
        endOf(runtime.spawn(["delete", "--force", id])),
      ]);
      expect(deleted).toEqual({ exitCode: 0, stdout: "", stderr: "" });
      if (started.exitCode !== 0) expect(started.stderr).toMatch(/^(cannot start container|container) .*\n$/);
      expect(runtime.run(["state", id]).stderr).toContain("does not exist");
      await waitFor("nothing is left", () => runtime.leftovers().length === 0);
    }
  }),
);

itIsOurs("delete: of several with --force each succeeds, of several without it one does", () =>
  withRuntime(async (runtime) => {
    const first = runtime.create();
    expect(succeeded(await together(runtime, 5, () => ["delete", "--force", first]))).toHaveLength(5);
    const second = runtime.create();
    const ends = await together(runtime, 5, () => ["delete", second]);
    expect(succeeded(ends)).toHaveLength(1);
    for (const { stderr } of failed(ends)) expect(stderr).toContain("does not exist");
    await waitFor("nothing is left", () => runtime.leftovers().length === 0);
  }),
);

itIsOurs("kill, state, list, ps and exec during create, start and delete never see half a container", () =>
  withRuntime(async (runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sleep", "600"];
    });
    const id = runtime.id();
    let isOver = false;
    const watcher = (async () => {
      const seen: End[] = [];
      for (let index = 0; !isOver; index++) {
        const calls = [
          ["state", id],
          ["list", "--format", "json"],
          ["ps", "--format", "json", id],
          ["kill", id, "0"],
        ];
        seen.push(await endOf(runtime.spawn(calls[index % calls.length] ?? [])));
      }
      return seen;
    })();
    for (let round = 0; round < 4; round++) {
      expect(await endOf(runtime.spawn(["create", "--bundle", bundle, id]))).toMatchObject({ exitCode: 0, stderr: "" });
      expect(await endOf(runtime.spawn(["start", id]))).toMatchObject({ exitCode: 0, stderr: "" });
      expect(await endOf(runtime.spawn(["delete", "--force", id]))).toMatchObject({ exitCode: 0, stderr: "" });
    }
    isOver = true;
    for (const { exitCode, stdout, stderr } of await watcher) {
      if (exitCode === 0) {
        if (stdout !== "") JSON.parse(stdout);
      } else expect(stderr).toMatch(/does not exist|container not running/);
    }
  }),
);

it("run: twenty at once, each with its own output and exit code", () =>
  withRuntime(async (runtime) => {
    const bundles = Array.from({ length: 20 }, (_, index) =>
      runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", `echo ${index}; exit ${index}`];
      }),
    );
    const ids = bundles.map(() => runtime.id());
    const ends = await together(runtime, 20, (index) => ["run", "--bundle", bundles[index] ?? "", ids[index] ?? ""]);
    expect(ends).toEqual(ends.map((_, index) => ({ exitCode: index, stdout: `${index}\n`, stderr: "" })));
    await waitFor("nothing is left", () => runtime.leftovers().length === 0);
    expect(readdirSync(runtime.root).filter((name) => name !== ".seccomp")).toEqual([]);
  }));
