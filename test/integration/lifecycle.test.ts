import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox");

it("runtime.md#lifecycle: created, running, stopped, gone", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    expect(runtime.state(id)).toMatchObject({ id, status: "created", pid: expect.any(Number) });
    expect(runtime.ok(["start", id])).toBe("");
    await runtime.reaches(id, "running");
    expect(readFileSync(`/proc/${runtime.state(id).pid}/cmdline`, "utf8")).toBe("sleep\0" + "60\0");
    expect(runtime.ok(["kill", id, "KILL"])).toBe("");
    await runtime.reaches(id, "stopped");
    expect(runtime.ok(["delete", id])).toBe("");
    const gone = runtime.run(["state", id]);
    expect(gone.exitCode).not.toBe(0);
    expect(gone.stderr).toContain("does not exist");
    expect(runtime.leftovers()).toEqual([]);
  }));

it("create: writes the container process's pid, a child of the caller's monitor, to --pid-file", () =>
  withRuntime((runtime) => {
    const id = runtime.id();
    const pidFile = path.join(runtime.directory, "pid");
    runtime.ok(["create", "--bundle", runtime.bundle(), "--pid-file", pidFile, id]);
    expect(Number(readFileSync(pidFile, "utf8"))).toBe(runtime.state(id).pid);
  }));

for (const exitCode of [0, 1, 42, 255]) {
  it(`run: exits with the workload's exit code ${exitCode}`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", `echo out; echo err >&2; exit ${exitCode}`];
      });
      const result = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      expect(result).toEqual({ exitCode, signal: null, stdout: "out\n", stderr: "err\n" });
      expect(runtime.leftovers()).toEqual([]);
    }));
}

it("run: exits with 128 and the signal that ended the workload", () =>
  withRuntime(async (runtime) => {
    const bundle = runtime.bundle((spec) => {
      // PID 1 of a pid namespace is immune to its own signals, so a signal from outside ends it.
      spec.process.args = ["sleep", "60"];
    });
    const id = runtime.id();
    const child = runtime.spawn(["run", "--bundle", bundle, id]);
    const ended = new Promise((resolve) => child.on("exit", resolve));
    await runtime.reaches(id, "running");
    runtime.ok(["kill", id, "KILL"]);
    expect(await ended).toBe(137);
  }));

it("create: one that fails does not wait for children that it was given, and leaves them alone", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["/no/such/program"];
    });
    const script = `sleep 30 & exec "$@" 2> /dev/null`;
    const command = [runtimePath(), "--root", runtime.root, "run", "--bundle", bundle, runtime.id()];
    const begun = performance.now();
    const { status } = spawnSync("sh", ["-c", script, "sh", ...command], { stdio: "ignore", timeout: 20_000 });
    expect(status).not.toBe(0);
    expect(status).not.toBeNull();
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(runtime.leftovers()).toEqual([]);
  }));

it("run: passes stdin on", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["cat"];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()], { input: "through" })).toBe("through");
  }));

it("the same id under two state roots is two containers", () =>
  withRuntime((runtime) => {
    const id = runtime.create();
    const other = { root: path.join(runtime.directory, "other") };
    expect(runtime.run(["state", id], other).exitCode).not.toBe(0);
    const bundle = runtime.bundle((spec) => {
      spec.linux.cgroupsPath = `/${runtime.word}-other`;
    });
    runtime.ok(["create", "--bundle", bundle, id], other);
    runtime.ok(["delete", "--force", id], other);
    expect(runtime.run(["state", id], other).exitCode).not.toBe(0);
    expect(runtime.state(id).status).toBe("created");
  }));

it("create: a second one with the same id fails and leaves the first alone", () =>
  withRuntime((runtime) => {
    const id = runtime.create();
    const before = runtime.state(id);
    const second = runtime.run(["create", "--bundle", runtime.bundle(), id]);
    expect(second.exitCode).not.toBe(0);
    expect(second.stderr).toMatch(/already exists/);
    expect(runtime.state(id)).toEqual(before);
  }));

it("delete --force: of nothing succeeds silently", () =>
  withRuntime((runtime) => {
    expect(runtime.run(["delete", "--force", runtime.id()])).toEqual({
      exitCode: 0,
      signal: null,
      stdout: "",
      stderr: "",
    });
  }));

it("run: knows the exit code also when the caller ignores SIGCHLD", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "exit 7"];
      spec.hooks = { createRuntime: [{ path: "/bin/true" }] };
    });
    const command = `trap '' CHLD; exec ${runtimePath()} --root ${runtime.root} run --bundle ${bundle} ${runtime.id()}`;
    const { status, stderr } = spawnSync("sh", ["-c", command], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 7, stderr: "" });
  }));
