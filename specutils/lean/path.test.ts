import { expect, test } from "bun:test";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { randomNumbers } from "../../test/helpers/mutate.ts";
import * as lean from "./path.ts";

test("every function agrees with node:path", () => {
  const random = randomNumbers(0x9a7);
  const piece = () => ["/", "//", "a", "b.c", ".", "..", "...", "", "ä", " ", "./", "../", "a/"][random(13)] ?? "";
  const any = () => Array.from({ length: random(6) }, piece).join("");
  for (let run = 0; run < 50_000; run++) {
    const [one, two, three] = [any(), any(), any()];
    expect([one, lean.normalize(one)]).toEqual([one, path.normalize(one)]);
    expect([one, two, three, lean.join(one, two, three)]).toEqual([one, two, three, path.join(one, two, three)]);
    expect([one, two, three, lean.resolve(one, two, three)]).toEqual([one, two, three, path.resolve(one, two, three)]);
    expect([one, lean.dirname(one)]).toEqual([one, path.dirname(one)]);
    expect([one, lean.basename(one)]).toEqual([one, path.basename(one)]);
    expect(lean.isAbsolute(one)).toBe(path.isAbsolute(one));
  }
});

test("what our sources call on the module is there", () => {
  const top = path.join(import.meta.dir, "../..");
  const sources = globSync("{cmd,container,gofer,sandbox,specutils,statefile}/**/*.ts", { cwd: top });
  const called = sources
    .filter((file) => !file.endsWith(".test.ts"))
    .map((file) => readFileSync(path.join(top, file), "utf8"))
    .filter((text) => text.includes('import path from "node:path"'))
    .flatMap((text) => [...text.matchAll(/\bpath\.(?:posix\.)?(\w+)\(/g)].map(([, name = ""]) => name));
  expect(called.length).toBeGreaterThan(20);
  expect([...new Set(called)].filter((name) => !(name in lean.default)).filter((name) => name in path)).toEqual([]);
});
