import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { applyWrites, makeCgroupDir, readKeyed } from "./files.ts";
import type { CgroupWrite } from "./types.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(`${tmpdir()}/cgroups-`);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function write(file: string, more: Partial<CgroupWrite> = {}): CgroupWrite {
  return { controller: "", file, value: "5", field: "linux.resources.x", ...more };
}

test("makeCgroupDir makes missing parents and says what it made, parents first", () => {
  expect(makeCgroupDir(`${dir}/a/b/c`, dir)).toEqual([`${dir}/a`, `${dir}/a/b`, `${dir}/a/b/c`]);
  expect(makeCgroupDir(`${dir}/a/b/d`, dir)).toEqual([`${dir}/a/b/d`]);
  expect(makeCgroupDir(`${dir}/a/b/d`, dir)).toEqual([]);
});

test("applyWrites writes the fallback where the file is missing, and skips what is optional", () => {
  writeFileSync(`${dir}/new`, "");
  applyWrites({ "": dir }, [
    write("old", { fallback: { file: "new", value: "7" } }),
    write("gone", { isOptional: true }),
  ]);
  expect(readFileSync(`${dir}/new`, "utf8")).toBe("7");
});

test("applyWrites names the field of a setting that the kernel does not have", () => {
  expect(() => applyWrites({ "": dir }, [write("none.max")])).toThrow(
    'cannot set linux.resources.x to "5": none.max: this kernel has no such setting',
  );
});

test("readKeyed reads numbers and leaves the rest", () => {
  writeFileSync(`${dir}/stat`, "a 1\nb 18446744073709551615\nc max\n");
  expect(readKeyed(`${dir}/stat`)).toEqual({ a: 1n, b: 18446744073709551615n });
});
