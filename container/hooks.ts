/**
 * Hooks that run in the runtime namespace: prestart, createRuntime, poststart, poststop (config.md#posix-platform-hooks).
 * Those that run in the container's are run by cloche-init.
 *
 * A hook is called without any lock held, so it may call cloche for the container it is called for.
 */

import { closeSync } from "node:fs";
import { constants } from "node:os";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import type { Hook, State } from "../specutils/spec.ts";
import { POLLIN } from "../specutils/syscall/constants.ts";
import type { ProcessEnd } from "../specutils/syscall.ts";
import { kill, pidfdOpen, poll, spawnHelper, waitPid } from "../specutils/syscall.ts";
import { workingDirectory } from "../specutils/working-directory.ts";
import { lastOutput, openHookFiles } from "./hook-files.ts";

export type RuntimeHookPoint = "prestart" | "createRuntime" | "poststart" | "poststop";

/** A hook failed that the container cannot go on without. */
export class HookFailure extends ClocheError {
  override name = "HookFailure";
  override code = "ERR_HOOK";
}

/** Runs hooks in their order, up to the first that fails. @throws ClocheError that names it and says what it wrote */
export function runHooks(point: RuntimeHookPoint, hooks: readonly Hook[] | undefined, state: State): void {
  for (const hook of hooks ?? []) runHook(point, hook, state);
}

/**
 * Runs one hook and waits for it: the state on its stdin, exactly its arguments (argv[0] too) and its environment, the
 * bundle as working directory. After `timeout` seconds it is killed.
 *
 * @throws ClocheError when it cannot be started, fails or is killed
 */
export function runHook(point: RuntimeHookPoint, hook: Hook, state: State): void {
  const files = openHookFiles(state);
  try {
    const end = spawnAndWait(hook, state.bundle, [files.stdinFd, files.outputFd, files.outputFd]);
    if (end === undefined) throw new ClocheError(`it ran past its timeout of ${hook.timeout} s and was killed`);
    if (end.exitCode !== 0) throw new ClocheError(`${describeEnd(end)}${lastOutput(files.outputFd)}`);
  } catch (error) {
    throw new ClocheError(`cannot run ${point} hook ${JSON.stringify(hook.path)}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    files.close();
  }
}

/** How the hook ended, or undefined when it had to be killed because of its timeout. */
function spawnAndWait(hook: Hook, bundle: string, stdio: [number, number, number]): ProcessEnd | undefined {
  const fds = stdio.map((parentFd, childFd): [number, number] => [childFd, parentFd]);
  const pid = inDirectory(bundle, () => spawnHelper(hook.path, hook.args ?? [hook.path], hook.env ?? [], fds));
  const isLate = hook.timeout !== undefined && !endsWithin(pid, hook.timeout * 1000);
  // Not waited for yet, so the pid is still that of the hook.
  if (isLate) kill(pid, constants.signals.SIGKILL);
  const end = waitPid(pid);
  return isLate ? undefined : end;
}

function endsWithin(pid: number, timeoutMs: number): boolean {
  const pidfd = pidfdOpen(pid);
  try {
    return poll([{ fd: pidfd, events: POLLIN }], timeoutMs)[0] !== 0;
  } finally {
    closeSync(pidfd);
  }
}

/** The bundle may be gone when poststop hooks run: then they start where we are. */
function inDirectory<T>(directory: string, fn: () => T): T {
  const before = workingDirectory();
  try {
    process.chdir(directory);
  } catch {
    return fn();
  }
  try {
    return fn();
  } finally {
    process.chdir(before);
  }
}

function describeEnd(end: ProcessEnd): string {
  return end.signal === undefined ? `exit status ${end.exitCode}` : `killed by signal ${end.signal}`;
}
