/** The shapes of the command line that engines use, and what is said to those that nobody should. No container needed. */
import { describe, expect } from "bun:test";
import { readdirSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");

const takeOneId = ["create", "start", "run", "state", "pause", "resume", "update", "events"];

describe("wrong command lines: one line on stderr, nothing on stdout", () => {
  const cases: [args: string[], exitCode: number, message: string][] = [
    ...takeOneId.map((name): [string[], number, string] => [
      [name],
      1,
      `"${name}" requires exactly 1 argument(s), got 0`,
    ]),
    ...takeOneId.map((name): [string[], number, string] => [
      [name, "a", "b"],
      1,
      `"${name}" requires exactly 1 argument(s), got 2`,
    ]),
    [["kill"], 1, '"kill" requires at least 1 argument(s), got 0'],
    [["kill", "a", "9", "c"], 1, '"kill" requires at most 2 argument(s), got 3'],
    [["wait"], 1, '"wait" requires at least 1 argument(s), got 0'],
    [["delete"], 1, '"delete" requires at least 1 argument(s), got 0'],
    [["ps"], 1, '"ps" requires at least 1 argument(s), got 0'],
    [["exec"], 1, '"exec" requires at least 1 argument(s), got 0'],
    [["exec", "a"], 1, '"exec" requires a command, or --process'],
    [["exec", "--additional-gids", "wheel", "a", "ls"], 1, 'invalid value "wheel" for flag -additional-gids'],
    [["do"], 1, '"do" requires at least 1 argument(s), got 0'],
    [["list", "a"], 1, '"list" requires exactly 0 argument(s), got 1'],
    [["spec", "a"], 1, '"spec" requires exactly 0 argument(s), got 1'],
    [["features", "a"], 1, '"features" requires exactly 0 argument(s), got 1'],
    [["nope"], 3, 'unknown command "nope"'],
    [["help", "nope"], 3, 'unknown command "nope"'],
    [["toString"], 3, 'unknown command "toString"'],
    [["--nope"], 1, "flag provided but not defined: -nope"],
    [["state", "--nope", "a"], 1, "flag provided but not defined: -nope"],
    [["--log-format", "xml", "list"], 1, 'invalid value "xml" for flag -log-format: must be text or json'],
    [["list", "--format", "xml"], 1, 'invalid value "xml" for flag -format: must be table or json'],
    [["events", "--interval", "soon", "a"], 1, 'invalid value "soon" for flag -interval'],
    [["update", "--memory", "much", "a"], 1, 'invalid value "much" for flag -memory'],
    // How podman finds out whether a runtime knows the flag.
    [["restore", "--lsm-mount-context"], 1, "flag needs an argument: -lsm-mount-context"],
  ];
  for (const [args, exitCode, message] of cases) {
    it(args.join(" "), () =>
      withRuntime((runtime) => {
        const result = runtime.run(args);
        expect(result).toMatchObject({ exitCode, stdout: "" });
        expect(result.stderr).toStartWith(message);
        expect(result.stderr.indexOf("\n")).toBe(result.stderr.length - 1);
        expect(readdirSync(runtime.root)).toEqual([]);
      }),
    );
  }
});

describe("shapes that engines use get as far as the container, which does not exist", () => {
  const shapes: string[][] = [
    ["--log-format=text", "--rootless=false", "--systemd-cgroup", "--debug=false", "state", "ID"],
    ["--criu", "/usr/sbin/criu", "--rootless", "auto", "state", "ID"],
    ["kill", "ID", "SIGKILL"],
    ["kill", "ID", "kill"],
    ["kill", "--all", "ID", "9"],
    ["kill", "-a", "ID", "0"],
    ["kill", "ID", "SIGRTMIN+3", "--all"],
    ["pause", "ID"],
    ["resume", "ID"],
    ["delete", "ID"],
    ["ps", "--format", "json", "ID"],
    ["ps", "-f", "json", "ID", "-ef"],
    ["ps", "ID", "aux"],
    ["update", "--resources=-", "ID"],
    ["update", "--resources", "-", "ID"],
    ["update", "ID", "--memory", "64M", "--memory-swap", "-1"],
    ["events", "--stats", "ID"],
    ["events", "--interval=1s", "ID"],
    ["start", "ID"],
    ["wait", "ID"],
    ["wait", "ID", "ID2"],
    ["exec", "--detach", "--tty", "-e", "A=1", "--env", "B=2", "-u", "1:2", "--cap", "CAP_KILL", "ID", "ls", "--all"],
    ["exec", "--preserve-fds=2", "--cgroup", "cpu:/x", "--ignore-paused", "-no-subreaper", "ID", "--", "ls"],
  ];
  for (const args of shapes) {
    it(args.join(" "), () =>
      withRuntime((runtime) => {
        const id = runtime.id();
        const result = runtime.run(
          args.map((arg) => (arg === "ID" ? id : arg)),
          { input: "{}" },
        );
        expect(result.stderr).toBe(`container "${id}" does not exist\n`);
        expect(result).toMatchObject({ exitCode: args[0] === "exec" ? 255 : 1, stdout: "" });
      }),
    );
  }

  it("create -no-subreaper --no-pivot --bundle B ID gets as far as the bundle", () =>
    withRuntime((runtime) => {
      for (const name of ["create", "run"]) {
        const args = ["-no-subreaper", "--no-pivot", "--no-new-keyring", "--preserve-fds", "0", "--bundle", "/nope"];
        const result = runtime.run([name, ...args, runtime.id()]);
        expect(result.stderr).toMatch(/^[^\n]*\/nope[^\n]*no such file or directory[^\n]*\n$/);
        expect(result.exitCode).toBe(1);
      }
    }));
});

describe("delete", () => {
  it("delete --force of a container that does not exist: silent success", () =>
    withRuntime((runtime) => {
      const silent = { exitCode: 0, stdout: "", stderr: "" };
      expect(runtime.run(["delete", "--force", runtime.id()])).toMatchObject(silent);
      expect(runtime.run(["delete", "-f", runtime.id(), runtime.id()], { env: { PATH: "", HOME: "" } })).toMatchObject(
        silent,
      );
    }));

  it("delete of several names each that is missing, in one line", () =>
    withRuntime((runtime) => {
      const [a, b] = [runtime.id(), runtime.id()];
      expect(runtime.run(["delete", a, b])).toMatchObject({
        exitCode: 1,
        stderr: `container "${a}" does not exist; container "${b}" does not exist\n`,
      });
    }));
});

describe("checkpoint and restore", () => {
  it("are refused with the reason", () =>
    withRuntime((runtime) => {
      for (const name of ["checkpoint", "restore"]) {
        expect(runtime.run([name, "--image-path", "/x", "c1"])).toMatchObject({
          exitCode: 1,
          stderr: `cannot ${name} container "c1": not supported by this version of cloche\n`,
        });
      }
    }));
});

describe("list", () => {
  it("prints an empty table, an empty array or nothing when there are no containers", () =>
    withRuntime((runtime) => {
      expect(runtime.ok(["list"])).toMatch(/^ID +PID +STATUS +BUNDLE +CREATED +OWNER +SANDBOX +EXIT\n$/);
      expect(runtime.ok(["list", "--format=json"])).toBe("[]\n");
      expect(runtime.ok(["list", "-q"])).toBe("");
    }));

  it("has nothing to print for a state root that is not there", () =>
    withRuntime((runtime) => {
      expect(runtime.ok(["list", "-q"], { root: `${runtime.directory}/nope` })).toBe("");
    }));
});
