/** The commands that are disturbed. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import type { SavedContainer } from "../../container/record.ts";
import { sleepMs } from "../../sandbox/cgroups/files.ts";
import { isFrozen } from "../../sandbox/cgroups/freeze.ts";
import { isAlive } from "../../specutils/process-ref.ts";
import { statePath } from "../../statefile/names.ts";
import type { Runtime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";
import { type Call, type Fault, FIRST_FILE, type Outcome } from "./injector.ts";
import { reapOrphans } from "./orphans.ts";
import { describe, reportProblems, type Scenario } from "./sweep.ts";
import { isTolerated } from "./tolerated.ts";

type Target = { call: Call; fault: Fault };

/** How long what was killed may take to be gone. */
const GONE_AFTER_MS = 3000;

/** `create`, `run --detach` or `run` of a container. */
export function makingScenario(runtime: Runtime, args: string[], bundle: string): Scenario {
  const id = runtime.id();
  const pidFile = path.join(runtime.directory, `${id}.pid`);
  const base = [runtimePath(), "--root", runtime.root];
  return {
    command: [...base, ...args, "--bundle", bundle, "--pid-file", pidFile, id],
    settle(outcome, target) {
      const problems: string[] = [];
      if (isKilledCaller(outcome, target)) problems.push(...truthProblems(runtime, id), ...deleteForced(runtime, id));
      else if (outcome.exitCode !== 0 && !isKilledProgram(outcome, target)) {
        problems.push(...reportProblems(outcome));
        if (existsSync(pidFile)) problems.push("the pid file is there");
        // Nothing may be left before anybody deletes anything.
        problems.push(...remains(runtime));
      } else problems.push(...toleratedProblems(outcome, target));
      rmSync(pidFile, { force: true });
      problems.push(...deleteForced(runtime, id), ...remains(runtime));
      return problems;
    },
  };
}

/**
 * A command whose failing calls are those that delete the container. The state file then stays until everything else is gone,
 * so that `delete` can be repeated.
 */
export function endingScenario(runtime: Runtime, args: string[], bundle: string): Scenario {
  const id = runtime.id();
  return {
    command: [runtimePath(), "--root", runtime.root, ...args, "--bundle", bundle, id],
    settle(outcome, target) {
      const problems = outcome.exitCode === 0 || isKilledCaller(outcome, target) ? [] : reportProblems(outcome);
      return [...problems, ...deleteForced(runtime, id), ...remains(runtime)];
    },
  };
}

/** One line, by us, with a reason. */
const IS_ONE_WARNING = /^time="[^"]+" level=warning msg="cannot [^\n]+: [^\n]+"\n$/;

/** `start` of a container that was created before, with what the helper does then. */
export function startScenario(runtime: Runtime, bundle: string): Scenario {
  const id = runtime.id();
  const cloche = `${runtimePath()} --root ${runtime.root}`;
  return {
    command: ["sh", "-c", `${cloche} create --bundle ${bundle} ${id} && ${cloche} start ${id}`],
    // From where the second cloche reads its first file.
    select: (calls) => calls.slice(calls.findLastIndex(({ path }) => path === FIRST_FILE)),
    settle(outcome, target) {
      const problems: string[] = [];
      if (!isKilledCaller(outcome, target)) {
        if (outcome.exitCode !== 0) problems.push(...reportProblems(outcome));
        // The program runs by then: that something could not be looked at or saved is told, and takes nothing away from that.
        // What loading has found out, that it runs, is saved by itself at first, and then with what is changed: once is enough.
        else if (!IS_ONE_WARNING.test(outcome.stderr) && target?.call.name !== "renameat2") {
          problems.push(...toleratedProblems(outcome, target));
        }
      }
      problems.push(...truthProblems(runtime, id));
      // Not started, or stopped by the failure; a hook that fails takes the container with it (runtime.md#lifecycle).
      const state = runtime.run(["state", id]);
      if (outcome.exitCode !== 0 && !isKilledCaller(outcome, target) && /"running"/.test(state.stdout))
        problems.push("start failed, and the container is running");
      problems.push(...deleteForced(runtime, id), ...remains(runtime));
      return problems;
    },
  };
}

/**
 * A command on a container that was created, or started, before (`steps`). Whatever happens to it, the next command tells the
 * truth; when it fails, the container is what it was.
 *
 * @param ends what the container is when the command was done; undefined when it is gone
 * @param survives the calls of cloche without which it can do its work
 */
export function managingScenario(
  runtime: Runtime,
  bundle: string,
  steps: string[],
  command: (id: string) => string,
  ends: string | undefined,
  survives?: RegExp,
): Scenario {
  const id = runtime.id();
  const cloche = `${runtimePath()} --root ${runtime.root}`;
  const before = [
    `create --bundle ${bundle} ${id}`,
    ...steps.map((step) => STEPS[step]?.(id, cloche) ?? `${step} ${id}`),
  ];
  const was = steps.includes("stop")
    ? "stopped"
    : steps.includes("pause")
      ? "paused"
      : steps.includes("start")
        ? "running"
        : "created";
  return {
    command: ["sh", "-c", [...before, command(id)].map((args) => `${cloche} ${args}`).join(" && ")],
    // From where the last cloche reads its first file.
    select: (calls) => calls.slice(calls.findLastIndex(({ path }) => path === FIRST_FILE)),
    settle(outcome, target) {
      const problems = truthProblems(runtime, id);
      const status = statusOf(runtime, id);
      if (target?.call.program === "cloche-init") {
        // The container's own processes: it may have ended, and that is the truth.
        if (outcome.exitCode !== 0) problems.push(...reportProblems(outcome));
      } else if (isKilledCaller(outcome, target)) {
        // Whatever it has got to; what dies of SIGKILL needs a moment.
        if (status !== was && status !== ends && status !== "stopped") problems.push(`it is ${status}`);
      } else if (outcome.exitCode === 0) {
        const isSurvived = target !== undefined && survives?.test(`${target.call.name} ${target.call.path}`);
        if (isSurvived !== true) problems.push(...toleratedProblems(outcome, target));
        // A process that was killed dies when it gets to it.
        if (status !== ends && !(ends === "stopped" && status === was)) problems.push(`it is ${status}, not ${ends}`);
      } else {
        problems.push(...reportProblems(outcome));
        // What could not be deleted or killed may have ended all the same, what is not seen to go on may go on.
        const isDoneAllTheSame = status === ends && was === "paused";
        if (status !== was && !isDoneAllTheSame && !(status === "stopped" && ends !== "running" && ends !== "paused"))
          problems.push(`it failed, and the container is ${status}`);
      }
      return [...problems, ...deleteForced(runtime, id), ...remains(runtime)];
    },
  };
}

/** Steps that are more than a command and an id. */
const STEPS: Partial<Record<string, (id: string, cloche: string) => string>> = {
  stop: (id, cloche) => `kill ${id} KILL && ${cloche} wait ${id} > /dev/null`,
};

/** What `state` says of a container; undefined when there is none. */
function statusOf(runtime: Runtime, id: string): string | undefined {
  const { exitCode, stdout } = runtime.run(["state", id]);
  return exitCode === 0 ? JSON.parse(stdout).status : undefined;
}

/** How long a command may take whatever became of the one before, on a machine that has others things to do. */
const ANSWER_MS = 1000;

/** What is not true of what `state` says, or comes too late. */
export function truthProblems(runtime: Runtime, id: string): string[] {
  const problems: string[] = [];
  const took = [0, 1].map(() => {
    const begin = performance.now();
    const { exitCode, stdout, stderr } = runtime.run(["state", id]);
    const isThere = existsSync(statePath(runtime.root, id, id));
    const is = exitCode === 0 ? "told of" : stderr.includes("does not exist") ? "absent" : stderr;
    if (is !== (isThere ? "told of" : "absent")) problems.push(`the state file is ${isThere}, it is ${is}`);
    if (exitCode === 0) problems.push(...lies(runtime, id, JSON.parse(stdout)));
    return performance.now() - begin;
  });
  // The second one of two: a busy machine may keep one waiting, a lock that nobody holds would keep both.
  if (Math.min(...took) > ANSWER_MS) problems.push(`state took ${took.join(" and ")} ms`);
  return problems;
}

function lies(runtime: Runtime, id: string, { status, pid }: { status: string; pid: number }): string[] {
  const record: SavedContainer = JSON.parse(readFileSync(statePath(runtime.root, id, id), "utf8"));
  const isFrozenNow = record.cgroup !== undefined && isFrozen(record.cgroup);
  if (status === "paused" && !isFrozenNow) return ["it is not frozen, and told to be paused"];
  if (["created", "running"].includes(status) && isFrozenNow) return [`it is frozen, and told to be ${status}`];
  if (status === "stopped" && record.process !== undefined && isAlive(record.process))
    return ["it lives, and is told to have stopped"];
  if (["created", "running", "paused"].includes(status) && !existsSync(`/proc/${pid}`))
    return [`it is told to be ${status}, and has no process`];
  return [];
}

/** `exec` in a container that runs all the time. */
export function execScenario(runtime: Runtime, id: string, args: string[]): Scenario {
  const pidFile = path.join(runtime.directory, `exec.pid`);
  const before = JSON.stringify(runtime.state(id));
  const children = reapOrphans();
  const files = readdirSync(runtime.root);
  return {
    command: [runtimePath(), "--root", runtime.root, "exec", "--pid-file", pidFile, ...args, id, "true"],
    settle(outcome, target) {
      const problems: string[] = [];
      if (!isKilledCaller(outcome, target) && !isKilledProgram(outcome, target)) {
        if (outcome.exitCode !== 0) {
          problems.push(...reportProblems(outcome));
          if (existsSync(pidFile)) problems.push("the pid file is there");
        } else problems.push(...toleratedProblems(outcome, target));
      }
      rmSync(pidFile, { force: true });
      if (JSON.stringify(runtime.state(id)) !== before) problems.push(`the container is ${runtime.ok(["state", id])}`);
      const more = until(() => reapOrphans().filter((line) => !children.includes(line)));
      const changed = readdirSync(runtime.root).filter((file) => !files.includes(file));
      return [...problems, ...more, ...changed];
    },
  };
}

function isKilledCaller({ exitCode }: Outcome, target: Target | undefined): boolean {
  return target?.fault === "SIGKILL" && target.call.program === "cloche" && exitCode === 137;
}

/** The process of the container, or of exec, was killed once it was told to go on: its exit code is that of a killed program. */
function isKilledProgram({ exitCode }: Outcome, target: Target | undefined): boolean {
  return target?.fault === "SIGKILL" && target.call.program === "cloche-init" && exitCode === 137;
}

function deleteForced(runtime: Runtime, id: string): string[] {
  const { exitCode, stderr } = runtime.run(["delete", "--force", id]);
  return exitCode === 0 && stderr === "" ? [] : [`delete --force: ${exitCode}: ${stderr}`];
}

/** What is on the machine because of the container: the test's state root may hold the filter cache and nothing else. */
function remains(runtime: Runtime): string[] {
  return until(() => [
    ...reapOrphans(),
    ...runtime.leftovers(),
    ...readdirSync(runtime.root).filter((file) => file !== ".seccomp"),
  ]);
}

/** Looks until there is nothing, or the time is up. */
function until(look: () => string[]): string[] {
  const deadline = Date.now() + GONE_AFTER_MS;
  let found = look();
  for (; found.length > 0 && Date.now() < deadline; found = look()) sleepMs(5);
  return found;
}

/** A process of the helper's that is killed when its work is over is no failure of the command. */
function toleratedProblems({ wasHit }: Outcome, target: Target | undefined): string[] {
  if (target === undefined || !wasHit || target.fault === "SIGKILL" || isTolerated(target.call)) return [];
  return [`tolerated: ${describe(target)}`];
}
