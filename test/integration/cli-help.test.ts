/** Version and help: what docker, go-runc and podman parse or probe, and that help knows every command. */
import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { loadAllCommands } from "../../cmd/commands.ts";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");

describe("--version", () => {
  it("has the three lines that docker and go-runc parse", () =>
    withRuntime((runtime) => {
      const { version } = JSON.parse(readFileSync(`${import.meta.dirname}/../../package.json`, "utf8"));
      const lines = runtime.ok(["--version"]).split("\n");
      expect(lines).toEqual([`cloche version ${version}`, expect.stringMatching(/^commit: \S+$/), "spec: 1.3.0", ""]);
      expect(runtime.ok(["-v"])).toBe(runtime.ok(["version"]));
    }));

  it("needs no environment and no state root", () =>
    withRuntime((runtime) => {
      const env = { PATH: undefined, HOME: undefined, XDG_RUNTIME_DIR: "" };
      expect(runtime.run(["--version"], { root: undefined, env })).toMatchObject({ exitCode: 0, stderr: "" });
    }));
});

describe("help", () => {
  it("lists every command, on stdout", () =>
    withRuntime(async (runtime) => {
      const help = runtime.ok(["--help"]);
      for (const { name } of await loadAllCommands()) {
        expect(help).toMatch(new RegExp(`^ {2}cloche ${name}( |$)`, "m"));
      }
      expect(runtime.ok(["help"])).toBe(help);
      expect(runtime.ok([])).toBe(help);
      expect(runtime.ok(["-h"])).toBe(help);
    }));

  it("of a command names its flags, but not those without effect", () =>
    withRuntime(async (runtime) => {
      for (const { name, flags } of await loadAllCommands()) {
        const help = runtime.ok([name, "--help"]);
        expect(help).toStartWith(`Usage: cloche ${name}`);
        expect(runtime.ok(["help", name])).toBe(help);
        for (const [flag, spec] of Object.entries(flags)) {
          expect(new RegExp(`--${flag}\\b`).test(help)).toBe(spec.isHidden !== true);
        }
      }
    }));

  it("wins over missing and over other arguments", () =>
    withRuntime((runtime) => {
      const help = runtime.ok(["help", "kill"]);
      expect(runtime.ok(["kill", "-h"])).toBe(help);
      expect(runtime.ok(["kill", "c1", "--help", "9"])).toBe(help);
    }));

  it("is left to the command that exec runs", () =>
    withRuntime((runtime) => {
      expect(runtime.run(["exec", "c1", "ls", "--help"])).toMatchObject({ exitCode: 255, stdout: "" });
    }));
});
