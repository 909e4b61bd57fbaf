/** Makes the calls of a command fail one after the other and says what is wrong afterwards. */
import { constants } from "node:os";
import type { Call, Fault, Injector, Outcome } from "./injector.ts";

/** What is done, and what must hold when a call of it has failed. */
export interface Scenario {
  command: readonly string[];
  /** Which of the calls of an undisturbed run are part of it; all of them unless it says otherwise. */
  select?(calls: Call[]): Call[];
  /** Brings everything back to how it was before, and returns what is not right. */
  settle(outcome: Outcome, target: { call: Call; fault: Fault } | undefined): string[];
}

/** Calls by which the JavaScript engine looks after itself: its memory, its threads, its clock. */
const ENGINE_CALLS =
  /^(brk|clone3?|epoll_\w+|eventfd2|exit_group|futex|getpid|gettid|madvise|mmap|mprotect|munmap|rt_sig\w+|sched_\w+|timerfd_\w+|uname|sysinfo|getrandom|clock_\w+)$/;

/** Calls that do not return, or cannot fail: close(2) closes whatever it returns. */
const IS_SURE = /^(exit|exit_group|rt_sigreturn|umask|gete?[ug]id|getpid|gettid|close)$/;

/** Whether a call is one of cloche's or its helper's, as opposed to the engine's or the container's program's. */
export function isOurs({ name, program, path }: Call): boolean {
  if (program === "cloche-init") return !IS_SURE.test(name);
  return (
    program === "cloche" &&
    !IS_SURE.test(name) &&
    !ENGINE_CALLS.test(name) &&
    !/^\/(proc\/self\/statm|sys\/devices)/.test(path)
  );
}

/** The error that a call is most likely to fail with when the machine is at its limits. */
export function likelyError(name: string): Fault {
  if (
    /^(open|openat|openat2|socket|socketpair|memfd_create|pipe2|accept4|signalfd4|open_tree|fsopen|dup\w*)$/.test(name)
  )
    return "EMFILE";
  if (/^(write|pwrite64|mkdir|mkdirat|mknodat|symlink|symlinkat|bind)$/.test(name)) return "ENOSPC";
  if (/^(clone3?|fork|vfork)$/.test(name)) return "EAGAIN";
  return "EIO";
}

/** A short name of what was done to which call. */
export function describe({ call, fault }: { call: Call; fault: Fault }): string {
  const { process, program, name, count, path } = call;
  return `${fault} in ${program} (process ${process}) at ${name} ${count} ${path}`.trim();
}

export interface Finding {
  what: string;
  problems: string[];
  /** Whether the call was made at all: what is done while waiting depends on who is faster. */
  wasHit: boolean;
}

/**
 * What calls there are when nothing is disturbed. The first run makes what later ones find: mount points in the root file
 * system, the compiled seccomp filter.
 *
 * @throws Error when that does not work already
 */
export function recordCalls(injector: Injector, scenario: Scenario): Call[] {
  runUndisturbed(injector, scenario);
  const { calls } = runUndisturbed(injector, scenario);
  return (scenario.select?.(calls) ?? calls).filter(isOurs);
}

function runUndisturbed(injector: Injector, scenario: Scenario): Outcome {
  const outcome = injector.run(scenario.command);
  const problems = scenario.settle(outcome, undefined);
  if (outcome.exitCode !== 0) problems.push(`exit code ${outcome.exitCode}: ${outcome.stderr}`);
  if (problems.length > 0) throw new Error(`undisturbed: ${problems.join("; ")}`);
  return outcome;
}

/** Makes one call fail. */
export function disturb(injector: Injector, scenario: Scenario, target: { call: Call; fault: Fault }): Finding {
  const outcome = injector.run(scenario.command, target);
  return { what: describe(target), problems: scenario.settle(outcome, target), wasHit: outcome.wasHit };
}

/** What is wrong with how a failure was reported: exactly one line, by us, with a reason. */
export function reportProblems({ exitCode, stderr }: Outcome): string[] {
  const problems: string[] = [];
  if (exitCode > 128 && exitCode < 128 + Object.keys(constants.signals).length)
    problems.push(`ended by signal ${exitCode - 128}`);
  if (!/^(?:cannot|invalid) [^\n]*: [^\n]+\n$/.test(stderr))
    problems.push(`stderr is not one clear line: ${JSON.stringify(stderr)}`);
  if (/undefined|\[object|unknown error/i.test(stderr)) problems.push(`stderr: ${stderr}`);
  return problems;
}

/** The first call of every kind, and as many of the others, evenly spread, as there is room for. */
export function sample(calls: Call[], limit: number, isOneOfAKind: boolean): Call[] {
  if (calls.length <= limit) return calls;
  const kinds = new Map<string, Call>();
  for (const call of calls) {
    const kind = `${call.program} ${call.name}`;
    if (isOneOfAKind && !kinds.has(kind)) kinds.set(kind, call);
  }
  const chosen = new Set(kinds.values());
  const others = calls.filter((call) => !chosen.has(call));
  const room = Math.max(limit - chosen.size, 5);
  return [...chosen, ...others.filter((_, index) => index % Math.ceil(others.length / room) === 0)];
}

/** Makes the calls fail one after the other. Returns what is wrong, and how many of them were made. */
export function disturbAll(
  injector: Injector,
  scenario: Scenario,
  calls: Call[],
  faultOf: (call: Call) => Fault,
): { problems: string[]; hits: number } {
  const problems: string[] = [];
  let hits = 0;
  for (const call of calls) {
    const finding = disturb(injector, scenario, { call, fault: faultOf(call) });
    if (finding.wasHit) hits++;
    for (const problem of finding.problems) problems.push(`${finding.what}: ${problem}`);
  }
  return { problems, hits };
}
