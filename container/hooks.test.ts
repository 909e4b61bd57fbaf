import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type { State } from "../specutils/spec.ts";
import { runHook, runHooks } from "./hooks.ts";

let bundle: string;
beforeEach(() => {
  bundle = mkdtempSync(`${tmpdir()}/cloche-hooks-`);
});
afterEach(() => rmSync(bundle, { recursive: true }));

const state = (): State => ({ ociVersion: "1.3.0", id: "c1", status: "created", pid: 7, bundle });
const shell = (script: string) => ({ path: "/bin/sh", args: ["sh", "-c", script] });
const written = (name: string) => readFileSync(`${bundle}/${name}`, "utf8");

test("a hook reads the state from stdin, to its end", () => {
  runHook("prestart", shell("cat > state"), state());
  expect(JSON.parse(written("state"))).toEqual(state());
});

test("a hook gets exactly its arguments, argv[0] included", () => {
  runHook(
    "prestart",
    { path: "/bin/sh", args: ["other name", "-c", 'tr "\\0" , < /proc/$$/cmdline > args', ""] },
    state(),
  );
  expect(written("args").startsWith("other name,-c,")).toBe(true);
});

test("a hook gets exactly its environment", () => {
  process.env["BUN_SECRET"] = "1";
  runHook("prestart", { ...shell("/usr/bin/env > env"), env: ["A=B"] }, state());
  delete process.env["BUN_SECRET"];
  expect(written("env")).toMatch(/^A=B$/m);
  expect(written("env")).not.toContain("BUN");
});

test("a hook gets no descriptors but stdin, stdout and stderr", () => {
  runHook("prestart", shell("ls /proc/self/fd > fds"), state());
  // The fourth is ls' own, for the directory it lists.
  expect(written("fds")).toBe("0\n1\n2\n3\n");
});

test("hooks run in their order, and none after one that fails", () => {
  const hooks = [
    shell("echo 1 >> out"),
    shell("echo 2 >> out; echo that went wrong >&2; exit 5"),
    shell("echo 3 >> out"),
  ];
  expect(() => runHooks("createRuntime", hooks, state())).toThrow(
    'cannot run createRuntime hook "/bin/sh": exit status 5: that went wrong',
  );
  expect(written("out")).toBe("1\n2\n");
});

test("a hook that is killed fails", () => {
  expect(() => runHook("poststart", shell("kill -9 $$"), state())).toThrow("killed by signal 9");
});

test("a hook that does not exist fails with the reason that engines look for", () => {
  expect(() => runHook("prestart", { path: "/nope/hook" }, state())).toThrow(
    /^cannot run prestart hook "\/nope\/hook": .*no such file or directory$/,
  );
});

test("a hook is killed after its timeout", () => {
  const before = performance.now();
  expect(() => runHook("prestart", { ...shell("exec sleep 30"), timeout: 1 }, state())).toThrow(
    'cannot run prestart hook "/bin/sh": it ran past its timeout of 1 s and was killed',
  );
  expect(performance.now() - before).toBeLessThan(5000);
});

test("a hook that ends in time is not killed", () => {
  runHook("prestart", { ...shell("sleep 0.1; echo done > out"), timeout: 10 }, state());
  expect(written("out")).toBe("done\n");
});

test("a daemon that a hook leaves behind does not hold it up", () => {
  const before = performance.now();
  runHook("prestart", shell("sleep 5 &"), state());
  expect(performance.now() - before).toBeLessThan(2000);
});

test("a hook may write more than a pipe holds", () => {
  runHook("prestart", shell("head -c 1000000 /dev/zero"), state());
});

test("a hook of a bundle that is gone runs all the same", () => {
  runHook("poststop", shell("true"), { ...state(), bundle: "/nonexistent" });
});
