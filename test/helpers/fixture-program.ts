/** Programs of test/fixtures, compiled once for each test file and linked statically, so that they run in any root. */
import { afterAll } from "bun:test";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { projectDirectory } from "./runtime-path.ts";

const compiled = new Map<string, string>();
const directories: string[] = [];

afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  // The next file of the same run compiles them again.
  compiled.clear();
});

/** Puts the program of `test/fixtures/NAME.c` at `/NAME` of a root file system. */
export function installFixture(name: string, rootfs: string): void {
  copyFileSync(compile(name), path.join(rootfs, name));
}

function compile(name: string): string {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-fixture-"));
  directories.push(directory);
  const program = path.join(directory, name);
  execFileSync("gcc", [
    "-O1",
    "-Wall",
    "-static",
    path.join(projectDirectory, "test/fixtures", `${name}.c`),
    "-o",
    program,
  ]);
  compiled.set(name, program);
  return program;
}
