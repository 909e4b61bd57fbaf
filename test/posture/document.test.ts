/** docs/SECURITY.md names a test for each of its claims: they have to be there. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { projectDirectory } from "../helpers/runtime-path.ts";

const text = readFileSync(path.join(projectDirectory, "docs/SECURITY.md"), "utf8");

/** Pairs of a file's path and words of a test in it. */
function claims(): [string, string][] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .flatMap((line) =>
      [...line.matchAll(/`([\w/.-]+\.test\.ts)`((?:,? "[^"]+")+)/g)].flatMap(([, file = "", names = ""]) =>
        [...names.matchAll(/"([^"]+)"/g)].map(([, name = ""]): [string, string] => [file, name]),
      ),
    );
}

test("docs/SECURITY.md: every test that it names exists", () => {
  const found = claims();
  expect(found.length).toBeGreaterThan(40);
  for (const [file, name] of found) {
    const inPosture = path.join(projectDirectory, "test/posture", file);
    const source = existsSync(inPosture) ? inPosture : path.join(projectDirectory, file);
    expect([file, name, readFileSync(source, "utf8").includes(name)]).toEqual([file, name, true]);
  }
});

test("docs/SECURITY.md: every test file in test/posture is mentioned", () => {
  const files = readdirSync(path.join(projectDirectory, "test/posture")).filter((name) => name.endsWith(".test.ts"));
  expect(files.filter((name) => !text.includes(name))).toEqual([]);
});
