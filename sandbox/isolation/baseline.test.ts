/** The baseline as a profile; that the kernel obeys it is in test/posture/sandboxed-baseline.test.ts. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import path from "node:path";
import { compileSeccomp } from "../seccomp/compile.ts";
import { hostArchitectures } from "../seccomp/constants.ts";
import { syscallNumbers } from "../seccomp/syscalls.ts";
import { BASELINE, baselineNames, baselineProfile } from "./baseline.ts";

const names = (allowed: string[]) => (baselineProfile(allowed).syscalls ?? []).flatMap((rule) => rule.names);

test("every call of the baseline exists on x86-64", () => {
  const numbers = syscallNumbers(hostArchitectures.x64[0]);
  const unknown = BASELINE.flatMap(({ syscalls }) => syscalls).filter((name) => !numbers.has(name));
  expect(unknown).toEqual([]);
});

test("compiles for both hosts, to few instructions", () => {
  for (const arch of ["x64", "arm64"] as const) {
    expect(compileSeccomp(baselineProfile([]), arch).filter.length / 8).toBeLessThan(400);
  }
});

test("baseline-allow takes the name of a row or of a call", () => {
  expect(names([])).toContain("io_uring_setup");
  expect(names(["io_uring"])).not.toContain("io_uring_enter");
  expect(names(["io_uring_setup"])).not.toContain("io_uring_setup");
  expect(names(["io_uring_setup"])).toContain("io_uring_enter");
  expect(names(["user-namespaces"]).filter((name) => /clone|unshare/.test(name))).toEqual([]);
  expect(names(baselineNames())).toEqual([]);
});

test("baseline-allow refuses a name that is not there", () => {
  expect(() => baselineProfile(["io-uring"])).toThrow('baseline-allow: unknown name "io-uring", known are add_key, ');
});

test("docs/SECURITY.md lists the rows of the table, with their reasons", () => {
  const text = readFileSync(path.join(import.meta.dirname, "../../docs/SECURITY.md"), "utf8");
  const errnos: Record<number, string> = { 1: "EPERM", 38: "ENOSYS", 97: "EAFNOSUPPORT" };
  const rows = BASELINE.map(({ name, syscalls, errno, when, reason }) => {
    const calls = syscalls.map((call) => `\`${call}\``).join(", ");
    return `| \`${name}\` | ${calls}${when === undefined ? "" : " (some)"} | ${errnos[errno]} | ${reason} |`;
  });
  const listed = text.split("\n").filter((line) => rows.includes(line));
  expect(listed).toEqual(rows);
});
