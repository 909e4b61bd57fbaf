/** Where settings come from: the configuration file below CLOCHE_* below flags; and what a wrong file does. */
import { describe, expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");

/** The state root that a command uses, as its debug log tells. */
function stateRoot(runtime: Runtime, args: string[], env: Record<string, string>): string | undefined {
  const log = `${runtime.directory}/debug`;
  const result = runtime.run(["--debug", "--log", log, ...args, "list", "-q"], { root: undefined, env });
  expect(result).toMatchObject({ exitCode: 0, stderr: "" });
  return /state root is \\?"([^"\\]+)/.exec(readFileSync(log, "utf8"))?.[1];
}

function configFile(runtime: Runtime, text: string): string {
  const file = `${runtime.directory}/config.toml`;
  writeFileSync(file, text);
  return file;
}

describe("settings", () => {
  it("come from the configuration file", () =>
    withRuntime((runtime) => {
      const CLOCHE_CONFIG = configFile(runtime, 'root = "/nope/file"\n');
      expect(stateRoot(runtime, [], { CLOCHE_CONFIG })).toBe("/nope/file");
    }));

  it("come from CLOCHE_* rather than from the configuration file", () =>
    withRuntime((runtime) => {
      const CLOCHE_CONFIG = configFile(runtime, 'root = "/nope/file"\n');
      expect(stateRoot(runtime, [], { CLOCHE_CONFIG, CLOCHE_ROOT: "/nope/env" })).toBe("/nope/env");
    }));

  it("come from flags rather than from CLOCHE_*", () =>
    withRuntime((runtime) => {
      const env = { CLOCHE_ROOT: "/nope/env" };
      expect(stateRoot(runtime, ["--root", "/nope/flag"], env)).toBe("/nope/flag");
    }));
});

describe("a wrong configuration file is an error, never the defaults", () => {
  const files: [text: string, reason: string][] = [
    ["root = [", "line 1, column "],
    ["rooot = '/x'", "rooot: unknown key"],
    ["root = 1", "root: must be a string"],
    ["log-format = 'xml'", ""],
  ];
  for (const [text, reason] of files) {
    it(text, () =>
      withRuntime((runtime) => {
        const file = configFile(runtime, text);
        for (const args of [["list"], ["create", runtime.id()], ["features"], ["delete", "--force", runtime.id()]]) {
          const result = runtime.run(["--config", file, ...args]);
          expect(result).toMatchObject({ exitCode: 1, stdout: "" });
          const message = reason === "" ? 'invalid log-format "xml"' : `invalid config file "${file}": ${reason}`;
          expect(result.stderr).toStartWith(message);
          expect(result.stderr.indexOf("\n")).toBe(result.stderr.length - 1);
        }
      }),
    );
  }

  it("a file that was asked for and is not there", () =>
    withRuntime((runtime) => {
      const result = runtime.run(["list"], { env: { CLOCHE_CONFIG: "/nope/config.toml" } });
      expect(result).toMatchObject({
        exitCode: 1,
        stderr: 'cannot read config file "/nope/config.toml": no such file or directory\n',
      });
    }));

  it("is reported in the log that the flags name", () =>
    withRuntime((runtime) => {
      const log = `${runtime.directory}/log`;
      const file = configFile(runtime, "root = [");
      runtime.run(["--config", file, "--log", log, "--log-format", "json", "list"]);
      expect(JSON.parse(readFileSync(log, "utf8")).msg).toStartWith("invalid config file");
    }));
});

describe("calls that need no settings", () => {
  it("--version and --help work beside a wrong configuration file", () =>
    withRuntime((runtime) => {
      const env = { CLOCHE_CONFIG: configFile(runtime, "root = [") };
      expect(runtime.run(["--version"], { env })).toMatchObject({ exitCode: 0, stderr: "" });
      expect(runtime.run(["checkpoint", "--help"], { env })).toMatchObject({ exitCode: 0, stderr: "" });
    }));
});
