import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { RLIMITS, rlimitNumber } from "./rlimits.ts";

test("rlimitNumber knows RLIMIT_NOFILE and rejects what is no limit", () => {
  expect(rlimitNumber("RLIMIT_NOFILE")).toBe(7);
  for (const name of ["NOFILE", "rlimit_nofile", "RLIMIT_TEST", "", "toString"]) {
    expect(rlimitNumber(name)).toBeUndefined();
  }
});

const HEADER = "/usr/include/asm-generic/resource.h";
test.skipIf(!existsSync(HEADER))("RLIMITS are those of the kernel's header, with its numbers", () => {
  const defined = [...readFileSync(HEADER, "utf8").matchAll(/define\s+(RLIMIT_\w+)\s+(\d+)/g)];
  expect(Object.fromEntries(defined.map(([, name, number]) => [name, Number(number)]))).toEqual(RLIMITS);
});
