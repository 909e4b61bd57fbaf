/** Where a failure is reported: stderr for people, the log for engines, once in each. */
import { describe, expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");

/** Runs `state` of a container that does not exist, with a log. */
function failWithLog(runtime: Runtime, ...globals: string[]) {
  const id = runtime.id();
  const log = `${runtime.directory}/log`;
  const result = runtime.run(["--log", log, ...globals, "state", id]);
  return { result, log, message: `container "${id}" does not exist` };
}

describe("a failure", () => {
  it("is one JSON object in the log and one plain line on stderr", () =>
    withRuntime((runtime) => {
      const { result, log, message } = failWithLog(runtime, "--log-format", "json");
      expect(result).toMatchObject({ exitCode: 1, stdout: "", stderr: `${message}\n` });
      const text = readFileSync(log, "utf8");
      expect(JSON.parse(text)).toEqual({ level: "error", msg: message, time: expect.any(String) });
      expect(text.indexOf("\n")).toBe(text.length - 1);
    }));

  it("has a time that is RFC 3339", () =>
    withRuntime((runtime) => {
      const { log } = failWithLog(runtime, "--log-format=json");
      const { time } = JSON.parse(readFileSync(log, "utf8"));
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
      expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
    }));

  it("is appended to the log", () =>
    withRuntime((runtime) => {
      writeFileSync(
        `${runtime.directory}/log`,
        '{"level":"error","msg":"an older one","time":"2020-01-01T00:00:00Z"}\n',
      );
      const { log, message } = failWithLog(runtime, "--log-format", "json");
      const lines = readFileSync(log, "utf8").trimEnd().split("\n");
      expect(lines.map((line) => JSON.parse(line).msg)).toEqual(["an older one", message]);
    }));

  it("is a text line in a text log", () =>
    withRuntime((runtime) => {
      const { log, message } = failWithLog(runtime);
      expect(readFileSync(log, "utf8")).toEndWith(` level=error msg=${JSON.stringify(message)}\n`);
    }));

  it("is one JSON line on stderr for --log-format json without a log", () =>
    withRuntime((runtime) => {
      const { stderr } = runtime.run(["--log-format", "json", "state", "c1"]);
      expect(JSON.parse(stderr)).toMatchObject({ level: "error", msg: 'container "c1" does not exist' });
    }));

  it("of the command line reaches the log, too", () =>
    withRuntime((runtime) => {
      const log = `${runtime.directory}/log`;
      runtime.run(["--log", log, "--log-format", "json", "state"]);
      expect(JSON.parse(readFileSync(log, "utf8")).msg).toStartWith('"state" requires exactly 1 argument(s)');
    }));

  it("is still reported on stderr when the log cannot be written, with that", () =>
    withRuntime((runtime) => {
      const result = runtime.run(["--log", "/nope/log", "state", "c1"]);
      expect(result.stderr).toStartWith(
        'container "c1" does not exist (and cannot write log "/nope/log": cannot open ',
      );
      expect(result.exitCode).toBe(1);
    }));
});

describe("a success", () => {
  it("logs nothing", () =>
    withRuntime((runtime) => {
      const log = `${runtime.directory}/log`;
      expect(runtime.run(["--log", log, "list", "-q"])).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
      expect(existsSync(log)).toBe(false);
    }));

  it("logs what it does with --debug, to the log only", () =>
    withRuntime((runtime) => {
      const log = `${runtime.directory}/log`;
      const result = runtime.run(["--debug", "--log", log, "--log-format", "json", "list", "-q"]);
      expect(result).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
      expect(JSON.parse(readFileSync(log, "utf8").split("\n", 1)[0] ?? "")).toMatchObject({ level: "debug" });
    }));
});

describe("output", () => {
  it("is whole at the other end of a pipe", () =>
    withRuntime(async (runtime) => {
      const { stdout } = runtime.spawn(["completion", "bash"]);
      let text = "";
      for await (const chunk of stdout ?? []) text += chunk;
      expect(text).toBe(runtime.ok(["completion", "bash"]));
    }));
});
