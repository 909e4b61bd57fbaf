/** The commands that are disturbed. */
import { existsSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { sleepMs } from "../../sandbox/cgroups/files.ts";
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
      if (isKilledCaller(outcome, target)) problems.push(...deleteForced(runtime, id));
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
        else problems.push(...toleratedProblems(outcome, target));
      }
      // Not started, or stopped by the failure; a hook that fails takes the container with it (runtime.md#lifecycle).
      const state = runtime.run(["state", id]);
      if (outcome.exitCode !== 0 && !isKilledCaller(outcome, target) && /"running"/.test(state.stdout))
        problems.push("start failed, and the container is running");
      problems.push(...deleteForced(runtime, id), ...remains(runtime));
      return problems;
    },
  };
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
