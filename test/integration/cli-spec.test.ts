/** `spec`: the configuration to start from. */
import { describe, expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { cloche, type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");
const itBesideRunc = requires("cloche", "runc");

function newDirectory(runtime: Runtime, name: string): string {
  const directory = `${runtime.directory}/${name}`;
  mkdirSync(directory);
  return directory;
}

describe("spec", () => {
  it("writes config.json to the working directory or to the bundle, silently", () =>
    withRuntime((runtime) => {
      const [here, there] = [newDirectory(runtime, "here"), newDirectory(runtime, "there")];
      const silent = { exitCode: 0, stdout: "", stderr: "" };
      expect(cloche(["spec"], { cwd: here })).toMatchObject(silent);
      expect(cloche(["spec", "-b", there])).toMatchObject(silent);
      const text = readFileSync(`${here}/config.json`, "utf8");
      expect(readFileSync(`${there}/config.json`, "utf8")).toBe(text);
      expect(JSON.parse(text)).toMatchObject({
        ociVersion: "1.3.0",
        process: { args: ["sh"], terminal: true, rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }] },
        root: { path: "rootfs", readonly: true },
      });
    }));

  it("does not touch a config.json that is there", () =>
    withRuntime((runtime) => {
      const directory = newDirectory(runtime, "bundle");
      writeFileSync(`${directory}/config.json`, "mine");
      const result = cloche(["spec"], { cwd: directory });
      expect(result).toMatchObject({
        exitCode: 1,
        stderr: 'cannot write "config.json": it exists, remove it first\n',
      });
      expect(readFileSync(`${directory}/config.json`, "utf8")).toBe("mine");
    }));

  it("fails on a bundle that is not there", () =>
    withRuntime((runtime) => {
      const result = cloche(["spec", "--bundle", `${runtime.directory}/nope`]);
      expect(result.exitCode).toBe(1);
      expect(result.stderr).toBe(`cannot open "${runtime.directory}/nope/config.json": no such file or directory\n`);
      expect(readdirSync(runtime.directory)).toEqual(["root"]);
    }));

  for (const flags of [[], ["--rootless"]]) {
    itBesideRunc(`differs from runc's only in version, name and ambient capabilities ${flags.join()}`, () =>
      withRuntime((runtime) => {
        const [own, peer] = [newDirectory(runtime, "own"), newDirectory(runtime, "peer")];
        cloche(["spec", ...flags, "--bundle", own]);
        const result = Bun.spawnSync(["runc", "spec", ...flags, "--bundle", peer]);
        expect(result.exitCode).toBe(0);
        const expected = JSON.parse(readFileSync(`${peer}/config.json`, "utf8"));
        // runc 1.2 and newer gives no ambient capabilities either.
        delete expected.process.capabilities.ambient;
        expect(JSON.parse(readFileSync(`${own}/config.json`, "utf8"))).toEqual({
          ...expected,
          ociVersion: "1.3.0",
          hostname: "cloche",
        });
      }),
    );
  }
});
