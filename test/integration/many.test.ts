/** A thousand containers under one state root: `npm run bench` has the figures, here is that it works and takes no eternity. */
import { expect } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { statePath } from "../../statefile/names.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");

const COUNT = 1000;

/** On a machine that does a dozen other things at the same time. */
const SLOW_MS = 3000;

/** State files for ids that begin with that of a real container, which they copy. Returns their paths. */
function multiply(runtime: Runtime, id: string): string[] {
  const text = readFileSync(statePath(runtime.root, id, id), "utf8");
  return Array.from({ length: COUNT - 1 }, (_, index) => {
    const other = `${id}${index}`;
    const file = statePath(runtime.root, other, other);
    writeFileSync(file, JSON.stringify({ ...JSON.parse(text), id: other, sandboxId: other }));
    return file;
  });
}

function timed<T>(call: () => T): T {
  const before = performance.now();
  const result = call();
  expect(performance.now() - before).toBeLessThan(SLOW_MS);
  return result;
}

it("a thousand containers: each is listed, an exact id is found though it is the beginning of all others", () =>
  withRuntime((runtime) => {
    const id = runtime.create();
    const files = multiply(runtime, id);
    try {
      const listed: { id: string }[] = JSON.parse(timed(() => runtime.ok(["list", "--format", "json"])));
      expect(listed).toHaveLength(COUNT);
      expect(new Set(listed.map((each) => each.id)).size).toBe(COUNT);
      expect(timed(() => runtime.state(id)).id).toBe(id);
      // Both a container and what eleven others begin with.
      expect(timed(() => runtime.state(`${id}5`)).id).toBe(`${id}5`);
      const { stderr } = timed(() => runtime.run(["state", id.slice(0, -1)]));
      expect(stderr).toContain("it is the beginning of several");
      const another = timed(() => runtime.create());
      expect(runtime.state(another).status).toBe("created");
      timed(() => runtime.ok(["delete", another]));
    } finally {
      for (const file of files) rmSync(file);
    }
    runtime.ok(["delete", id]);
  }));
