/**
 * The environment. The caller's is trusted like its PATH and its LD_PRELOAD. What must hold is that nothing of it reaches further,
 * into processes that are started on somebody else's behalf, and that what Node and Bun would obey is ignored.
 */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox", "cloche");
const itTraced = requires("root", "busybox", "cloche", "strace");

/** What changes how Bun, Node, the C library or cloche itself behave. Values are such that the calls still work. */
const HOSTILE = {
  NODE_OPTIONS: "--require=/nowhere/evil.js",
  NODE_PATH: "/nowhere",
  NODE_ENV: "development",
  NODE_EXTRA_CA_CERTS: "/nowhere/ca.pem",
  BUN_CONFIG_VERBOSE_FETCH: "curl",
  BUN_INSTALL: "/nowhere",
  BUN_RUNTIME_TRANSPILER_CACHE_PATH: "/nowhere",
  LD_LIBRARY_PATH: "/nowhere",
  LD_BIND_NOW: "1",
  SECRET: "of the caller",
};

/** Hooks at every point, each of which writes its environment to a file named after it. */
const HOST_HOOKS = ["prestart", "createRuntime", "poststart", "poststop"] as const;

it("hooks on the host get the environment that config.json gives them, and nothing else", () =>
  withRuntime((runtime) => {
    const out = path.join(runtime.directory, "hook-");
    const bundle = runtime.bundle((spec) => {
      spec.hooks = Object.fromEntries(
        HOST_HOOKS.map((point) => [
          point,
          // Without the shell's own variables: /proc/self/environ is what was passed.
          [{ path: "/bin/cp", args: ["cp", "/proc/self/environ", `${out}${point}`], env: [`POINT=${point}`] }],
        ]),
      );
    });
    const result = runtime.run(["run", "--bundle", bundle, runtime.id()], { env: HOSTILE });
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    for (const point of HOST_HOOKS) expect(readFileSync(`${out}${point}`, "utf8")).toBe(`POINT=${point}\0`);
  }));

it("hooks without env have an empty environment", () =>
  withRuntime((runtime) => {
    const out = path.join(runtime.directory, "environ");
    const bundle = runtime.bundle((spec) => {
      spec.hooks = { createRuntime: [{ path: "/bin/cp", args: ["cp", "/proc/self/environ", out] }] };
    });
    runtime.ok(["run", "--bundle", bundle, runtime.id()], { env: HOSTILE });
    expect(readFileSync(out, "utf8")).toBe("");
  }));

it("container, exec, container process before start and sandbox process get nothing of it", () =>
  withRuntime((runtime) => {
    const id = runtime.create(
      (spec) => {
        spec.process.args = ["sleep", "60"];
      },
      { env: HOSTILE },
    );
    const record = JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8"));
    expect(viewProcess(record.process.pid).environment).toEqual([]);
    expect(viewProcess(record.sandbox.pid).environment).toEqual([]);
    runtime.ok(["start", id], { env: HOSTILE });
    const names = (text: string) => text.split("\n").flatMap((line) => line.split("=")[0] || []);
    expect(names(runtime.ok(["exec", id, "env"], { env: HOSTILE })).toSorted()).toEqual(["HOME", "PATH"]);
  }));

itTraced("every program that a run executes is started with an environment of its own", () =>
  withRuntime((runtime) => {
    const trace = path.join(runtime.directory, "trace");
    const args = ["-f", "-qq", "-v", "-s", "200", "-e", "trace=execve", "-o", trace];
    const run = [runtimePath(), "--root", runtime.root, "run", "--bundle", runtime.bundle(), runtime.id()];
    spawnSync("strace", [...args, ...run], { env: { ...process.env, ...HOSTILE }, timeout: 30_000 });
    const executed = readFileSync(trace, "utf8")
      .split("\n")
      .filter((line) => line.includes("execve("));
    // The first is cloche itself; the helper and the container's program follow.
    expect(executed.length).toBeGreaterThanOrEqual(3);
    expect(executed[0]).toContain("SECRET=");
    for (const line of executed.slice(1)) expect(line).not.toMatch(/SECRET|BUN_|NODE_|LD_/);
  }),
);

it("what Node and Bun's tools would load because of a variable is not loaded", () =>
  withRuntime((runtime) => {
    const trap = path.join(runtime.directory, "ran");
    const evil = path.join(runtime.directory, "evil.js");
    writeFileSync(evil, `require("node:fs").writeFileSync(${JSON.stringify(trap)}, "");`);
    for (const env of [
      { NODE_OPTIONS: `--require=${evil}` },
      { NODE_OPTIONS: `--import=${evil}` },
      { NODE_PATH: runtime.directory },
      { BUN_PRELOAD: evil },
      { BUN_INSPECT: "ws://127.0.0.1:1/" },
      { BUN_INSPECT_PRELOAD: evil },
      { BUN_OPTIONS: `--preload=${evil}` },
      { BUN_BE_BUN: "1" },
      { BUN_JSC_dumpOptions: "2" },
      { BUN_CONFIG_FILE: evil },
      { NODE_CHANNEL_FD: "0" },
    ]) {
      expect([env, runtime.run(["list"], { env }).exitCode, existsSync(trap)]).toEqual([env, 0, false]);
    }
  }));

it("settings in the environment are checked like flags: a broken one is refused, not taken for a default", () =>
  withRuntime((runtime) => {
    for (const env of [{ CLOCHE_LOG_FORMAT: "xml" }, { CLOCHE_DEBUG: "perhaps" }]) {
      const { exitCode, stderr } = runtime.run(["list"], { env });
      expect([env, exitCode === 0, stderr.trim().split("\n").length]).toEqual([env, false, 1]);
    }
  }));

it("without PATH, HOME or any variable, as podman calls, everything works", () =>
  withRuntime((runtime) => {
    const empty = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["echo", "runs"];
    });
    expect(runtime.run(["run", "--bundle", bundle, runtime.id()], { env: empty })).toMatchObject({
      exitCode: 0,
      stdout: "runs\n",
      stderr: "",
    });
  }));

it("--pid-file in a directory of somebody else's: a link under its temporary name is not written through", () =>
  withRuntime((runtime) => {
    const victim = path.join(runtime.directory, "victim");
    writeFileSync(victim, "of the host");
    const pidFile = path.join(runtime.directory, "pid");
    // exec keeps the shell's pid, which is in the name.
    const script = `ln -s victim "${runtime.directory}/.pid.$$"; exec "$0" "$@"`;
    const id = runtime.id();
    const args = ["--root", runtime.root, "create", "--bundle", runtime.bundle(), "--pid-file", pidFile, id];
    const { status } = spawnSync("bash", ["-c", script, runtimePath(), ...args], { stdio: "ignore", timeout: 20_000 });
    expect(status).toBe(0);
    expect(readFileSync(victim, "utf8")).toBe("of the host");
    expect(Number(readFileSync(pidFile, "utf8"))).toBe(runtime.state(id).pid);
  }));
