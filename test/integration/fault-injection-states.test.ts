/**
 * The commands that change a container's status with one of their system calls failing, each in its turn, and killed in front of one:
 * a failure is told in one clear line and leaves the container as it was, and whatever happens the next command tells the truth
 * at once. Memory that runs out is a failure like others.
 *
 * Some of the calls are tried, at least one of every kind; `CLOCHE_FAULTS=all` tries every one.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { type Call, type Fault, Injector } from "../faults/injector.ts";
import { adoptOrphans } from "../faults/orphans.ts";
import { managingScenario } from "../faults/scenarios.ts";
import { disturbAll, likelyError, recordCalls, type Scenario, sample } from "../faults/sweep.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "gcc", "cgroup1", "cloche");

const isComplete = process.env["CLOCHE_FAULTS"] === "all";
const TIMEOUT_MS = isComplete ? 3_600_000 : 240_000;
const FAILURES = isComplete ? Number.POSITIVE_INFINITY : 25;
const KILLS = isComplete ? Number.POSITIVE_INFINITY : 10;
const OUT_OF_MEMORY = isComplete ? Number.POSITIVE_INFINITY : 6;

let injector: Injector;
beforeAll(() => {
  adoptOrphans();
  injector = new Injector();
});
afterAll(() => injector.close());

/** The container before, the command on it, and what the container is after it. */
type What = [steps: string[], command: (id: string) => string, ends: string | undefined, survives?: RegExp];

/** Neither kill nor resume needs a lock or a saved state: they must work on a disk that is full or read-only. */
const DISK = /^(symlinkat|openat|write|unlinkat) .*\.(lock|state\.tmp)$|^renameat2/;

/** What is in a state file that cannot be read, delete --force looks for in its text. */
const STATE = /^(openat|read|statx|fstat) .*\.state$/;

const COMMANDS: Record<string, What> = {
  delete: [["start", "stop"], (id) => `delete ${id}`, undefined],
  "delete of a created container": [[], (id) => `delete ${id}`, undefined],
  "delete --force": [["start"], (id) => `delete --force ${id}`, undefined, STATE],
  pause: [["start"], (id) => `pause ${id}`, "paused"],
  resume: [["start", "pause"], (id) => `resume ${id}`, "running", DISK],
  update: [["start"], (id) => `update --pids-limit 100 --memory 64m ${id}`, "running"],
  kill: [["start"], (id) => `kill ${id} KILL`, "stopped", DISK],
};

function scenario(runtime: Runtime, [steps, command, ends, survives]: What): Scenario {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sleep", "600"];
  });
  return managingScenario(runtime, bundle, steps, command, ends, survives);
}

/** Memory runs out where the kernel makes something: a file, a mount, a process, a socket, a buffer. */
const takesMemory = ({ name }: Call) =>
  /^(open|mkdir|symlink|write|rename|clone|pidfd|readlink|getdents|statx|link)/.test(name);

for (const [name, what] of Object.entries(COMMANDS)) {
  const check = (faults: [(calls: Call[]) => Call[], (call: Call) => Fault]) => () =>
    withRuntime((runtime) => {
      const tried = scenario(runtime, what);
      const calls = faults[0](recordCalls(injector, tried));
      const { problems, hits } = disturbAll(injector, tried, calls, faults[1]);
      expect(problems).toEqual([]);
      // Or all of this has shown nothing.
      expect(hits).toBeGreaterThan(calls.length * 0.5);
    });
  it(
    `${name}: a call that fails is told in one line and changes nothing`,
    check([(calls) => sample(calls, FAILURES, true), (call) => likelyError(call.name)]),
    TIMEOUT_MS,
  );
  it(
    `${name}: without memory it fails and changes nothing`,
    check([(calls) => sample(calls.filter(takesMemory), OUT_OF_MEMORY, true), () => "ENOMEM"]),
    TIMEOUT_MS,
  );
  it(
    `${name}: killed at any point, the next command tells the truth at once`,
    check([(calls) => sample(calls, KILLS, false), () => "SIGKILL"]),
    TIMEOUT_MS,
  );
}
