/** --trace-file, and the same spans with --debug. */
import { describe, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche");
const itRuns = requires("cloche", "root", "busybox");

interface Event {
  name: string;
  ph: string;
  ts: number;
  dur: number;
  pid: number;
}

/** The events of a file, whose closing bracket is left out on purpose. */
const eventsOf = (file: string): Event[] => JSON.parse(`${readFileSync(file, "utf8").replace(/,\n$/, "")}]`);

describe("--trace-file", () => {
  it("has the phases of each call that it was given to, also of a failed one", () =>
    withRuntime((runtime) => {
      const file = `${runtime.directory}/trace.json`;
      const before = Date.now() * 1000;
      runtime.ok(["--trace-file", file, "list"]);
      expect(runtime.run(["--trace-file", file, "state", "nobody"]).exitCode).toBe(1);
      const events = eventsOf(file);
      expect(events.filter(({ ph }) => ph !== "X")).toEqual([]);
      expect(new Set(events.map(({ pid }) => pid)).size).toBe(2);
      const names = events.map(({ name }) => name);
      const phases = ["start", "load the command", "read the settings", "run the command", "load container/list"];
      expect(names.slice(0, 6)).toEqual(["list", ...phases]);
      expect(names).toContain("state");
      for (const { ts, dur } of events) {
        expect(ts).toBeGreaterThan(before - 1_000_000);
        expect(dur).toBeGreaterThanOrEqual(0);
        expect(ts + dur).toBeLessThan(Date.now() * 1000 + 1_000_000);
      }
    }));

  itRuns("shows what a container's start consists of", () =>
    withRuntime((runtime) => {
      const file = `${runtime.directory}/trace.json`;
      const id = runtime.id();
      runtime.ok(["--trace-file", file, "run", "--bundle", runtime.bundle(), id]);
      const names = eventsOf(file).map(({ name }) => name);
      for (const name of ["read and check the config", "plan", "start the helper", "wait for the helper", "lock"]) {
        expect(names).toContain(name);
      }
    }),
  );

  it("writes nothing unless it is given, and says when it cannot", () =>
    withRuntime((runtime) => {
      expect(runtime.ok(["list", "--quiet"])).toBe("");
      expect(existsSync(`${runtime.directory}/trace.json`)).toBe(false);
      const { exitCode, stderr } = runtime.run(["--trace-file", "/nope/trace.json", "list"]);
      expect(exitCode).toBe(1);
      expect(stderr).toBe('cannot open "/nope/trace.json": no such file or directory\n');
    }));
});

describe("--debug", () => {
  it("prints the same spans", () =>
    withRuntime((runtime) => {
      const { stderr } = runtime.run(["--debug", "list"]);
      const spans = [...stderr.matchAll(/span +([\w /]+): [\d.]+ ms/g)].map(([, name]) => name);
      expect(spans).toEqual([
        "start",
        "load the command",
        "read the settings",
        "run the command",
        "load container/list",
      ]);
    }));
});
