/**
 * cloche is run as root in directories that somebody else filled (a bundle). Nothing there may be loaded as code or settings.
 * Bun's own command line, which does load these files, shows that the trap works.
 */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";
import { projectDirectory, runtimePath } from "../helpers/runtime-path.ts";

const it = requires("cloche");

/** Fills a directory with every file that Bun may look for; `trap` is the file whose existence tells that code was run. */
function makeHostile(directory: string): { trap: string } {
  const trap = path.join(directory, "code-was-run");
  const code = `require("node:fs").writeFileSync(${JSON.stringify(trap)}, "");`;
  mkdirSync(path.join(directory, "node_modules/yargs-parser"), { recursive: true });
  const files: Record<string, string> = {
    "preload.js": code,
    "bunfig.toml": 'preload = ["./preload.js"]\n[test]\npreload = ["./preload.js"]\n',
    ".bunfig.toml": 'preload = ["./preload.js"]\n',
    ".env": "CLOCHE_ROOT=/nope\nNODE_OPTIONS=--require=./preload.js\nBUN_INSPECT=ws://127.0.0.1:1/\nHOSTILE=1\n",
    ".env.local": "CLOCHE_ROOT=/nope\nHOSTILE=1\n",
    ".env.production": "CLOCHE_ROOT=/nope\nHOSTILE=1\n",
    "tsconfig.json": '{ "compilerOptions": { "paths": { "*": ["./preload.js"] } } }',
    "package.json": '{ "type": "commonjs", "imports": { "#*": "./preload.js" }, "main": "preload.js" }',
    "node_modules/yargs-parser/index.js": code,
    "node_modules/yargs-parser/package.json": '{ "name": "yargs-parser", "main": "index.js" }',
    "cloche-syscall.node": "not an addon",
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(path.join(directory, name), content);
  }
  return { trap };
}

it("a hostile working directory: Bun's command line falls into the trap", () =>
  withRuntime((runtime) => {
    const { trap } = makeHostile(runtime.directory);
    writeFileSync(path.join(runtime.directory, "main.js"), "");
    const bun = path.join(projectDirectory, "node_modules/.bin/bun");
    spawnSync(bun, ["main.js"], { cwd: runtime.directory });
    expect(existsSync(trap)).toBe(true);
  }));

for (const args of [["--version"], ["--help"], ["list"], ["state", "nope"], ["features"], ["nonsense"]]) {
  it(`a hostile working directory: cloche ${args.join(" ")} loads nothing from it`, () =>
    withRuntime((runtime) => {
      const { trap } = makeHostile(runtime.directory);
      // The state root is left to the environment, where .env would be seen.
      const env = { XDG_RUNTIME_DIR: "", CLOCHE_ROOT: undefined };
      const traced = runtime.run(args, { root: undefined, cwd: runtime.directory, env });
      const harmless = runtime.run(args, { root: undefined, cwd: "/", env });
      expect(existsSync(trap)).toBe(false);
      expect(traced).toEqual(harmless);
    }));
}

const itTraced = requires("cloche", "strace");

itTraced("a hostile working directory: no file in it is opened", () =>
  withRuntime((runtime) => {
    makeHostile(runtime.directory);
    const calls = "--trace=open,openat,openat2,execve,execveat";
    const { stderr } = spawnSync("strace", ["-f", "-qq", calls, runtimePath(), "--root", runtime.root, "list"], {
      cwd: runtime.directory,
      encoding: "utf8",
    });
    const opened = stderr.split("\n").flatMap((line) => /"([^"]*)"/.exec(line)?.[1] ?? []);
    expect(opened.length).toBeGreaterThan(0);
    const inside = opened.filter((file) => path.resolve(runtime.directory, file).startsWith(`${runtime.directory}/`));
    // The state root lies there too.
    expect(inside.filter((file) => !file.startsWith(runtime.root))).toEqual([]);
  }),
);

it("a deleted working directory: commands do what they do elsewhere", () =>
  withRuntime((runtime) => {
    const cwd = path.join(runtime.directory, "deleted");
    /** Exit code of a command in a directory that is gone by then. */
    const run = (...args: string[]) => {
      mkdirSync(cwd);
      const script = 'rmdir "$0" && exec "$@"';
      const words = ["-c", script, cwd, runtimePath(), "--root", runtime.root, ...args];
      return spawnSync("sh", words, { cwd, stdio: "ignore" }).status;
    };
    const id = runtime.id();
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sleep", "100"];
      spec.hooks = { poststart: [{ path: "/bin/true" }], poststop: [{ path: "/bin/true" }] };
    });
    expect(run("--version")).toBe(0);
    expect(run("run", "--detach", "--bundle", bundle, id)).toBe(0);
    expect(run("exec", id, "true")).toBe(0);
    expect(run("kill", id, "KILL")).toBe(0);
    expect(run("wait", id)).toBe(0);
    expect(run("delete", id)).toBe(0);
    expect(run("create", "--bundle", ".", id)).toBe(1);
  }));
