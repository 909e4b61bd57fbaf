/**
 * `create`, `run`, `start` and `exec` with one of their system calls failing, each in its turn, and with cloche or one of its
 * helper's processes killed in front of one: a failure is told in one clear line, and nothing is left.
 *
 * Some of the calls are tried, at least one of every kind; `CLOCHE_FAULTS=all` tries every one, which takes half an hour.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { type Call, type Fault, Injector } from "../faults/injector.ts";
import { adoptOrphans } from "../faults/orphans.ts";
import { endingScenario, execScenario, makingScenario, startScenario } from "../faults/scenarios.ts";
import { addEverything, addUserNamespace } from "../faults/specs.ts";
import { disturbAll, likelyError, recordCalls, type Scenario, sample } from "../faults/sweep.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

// At level oci, whose calls level sandboxed makes, too: a sweep of all takes long enough.
const it = requires("root", "busybox", "gcc", "cgroup1", "cloche", "oci");

const isComplete = process.env["CLOCHE_FAULTS"] === "all";
const TIMEOUT_MS = isComplete ? 3_600_000 : 120_000;

/** How many calls of a command are made to fail, and in front of how many a process is killed. */
const FAILURES = isComplete ? Number.POSITIVE_INFINITY : 60;
const KILLS = isComplete ? Number.POSITIVE_INFINITY : 20;

let injector: Injector;
beforeAll(() => {
  adoptOrphans();
  injector = new Injector();
});
afterAll(() => injector.close());

function expectNoProblem(scenario: Scenario, calls: Call[], faultOf: (call: Call) => Fault): void {
  const { problems, hits } = disturbAll(injector, scenario, calls, faultOf);
  expect(problems).toEqual([]);
  // Or all of this has shown nothing.
  expect(hits).toBeGreaterThan(calls.length * 0.8);
}

const sleeps = (spec: BundleSpec) => {
  spec.process.args = ["sleep", "600"];
};

/** Where the program of `run` has begun: what fails later is no failure to run it. */
const beginOfProgram = (calls: Call[]) => calls.findIndex(({ program }) => program === "busybox");

const scenarios: Record<string, (runtime: Runtime) => Scenario> = {
  create: (runtime) =>
    makingScenario(
      runtime,
      ["create"],
      runtime.bundle((spec) => {
        sleeps(spec);
        addEverything(spec, runtime.directory);
      }),
    ),
  "create in a user namespace": (runtime) =>
    makingScenario(
      runtime,
      ["create"],
      runtime.bundle((spec) => {
        sleeps(spec);
        addUserNamespace(spec);
      }),
    ),
  start: (runtime) =>
    startScenario(
      runtime,
      runtime.bundle((spec) => {
        sleeps(spec);
        addEverything(spec, runtime.directory);
      }),
    ),
  "run --detach": (runtime) => makingScenario(runtime, ["run", "--detach"], runtime.bundle(sleeps)),
  run: (runtime) => ({
    ...makingScenario(runtime, ["run"], runtime.bundle()),
    select: (calls) => calls.slice(0, beginOfProgram(calls)),
  }),
  "run of what has begun": (runtime) => ({
    ...endingScenario(runtime, ["run"], runtime.bundle()),
    select: (calls) => calls.slice(beginOfProgram(calls)),
  }),
  exec: (runtime) => {
    const id = runtime.create(sleeps);
    runtime.ok(["start", id]);
    return execScenario(runtime, id, []);
  },
  "exec --detach": (runtime) => {
    const id = runtime.create(sleeps);
    runtime.ok(["start", id]);
    return execScenario(runtime, id, ["--detach"]);
  },
};

for (const [name, makeScenario] of Object.entries(scenarios)) {
  it(
    `${name}: a call that fails is told in one line and leaves nothing`,
    () =>
      withRuntime((runtime) => {
        const scenario = makeScenario(runtime);
        const calls = recordCalls(injector, scenario);
        expectNoProblem(scenario, sample(calls, FAILURES, true), ({ name }) => likelyError(name));
      }),
    TIMEOUT_MS,
  );

  it(
    `${name}: killed at any point, it leaves what delete --force removes`,
    () =>
      withRuntime((runtime) => {
        const scenario = makeScenario(runtime);
        const calls = recordCalls(injector, scenario);
        expectNoProblem(scenario, sample(calls, KILLS, false), () => "SIGKILL");
      }),
    TIMEOUT_MS,
  );
}
