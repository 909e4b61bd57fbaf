/** What the spec and the kernel say about a process beyond the types of single fields. */

import { capabilityBit } from "./capabilities.ts";
import { parseCpuList } from "./cpu-list.ts";
import { brief, invalid } from "./schema.ts";
import type { Process, Scheduler } from "./spec.ts";

const PROCESS = "config.md#process";
const POSIX = "config.md#posix-process";
const LINUX = "config.md#linux-process";
/** `struct winsize` has 16 bits for each. */
const MAX_CONSOLE_SIZE = 65535;

/**
 * @param prefix of the fields in errors: `process.` in a config.json, nothing in a file of its own
 * @param warn gets what is left out without harm
 * @throws SpecError
 */
export function checkProcess(
  document: string,
  process: Process,
  prefix: string,
  warn: (message: string) => void,
): void {
  const refuse = (field: string, problem: string, clause: string): never => {
    throw invalid(document, prefix + field, problem, clause);
  };
  if (process.args === undefined || process.args.length === 0) {
    refuse("args", "must have at least one entry", PROCESS);
  }
  if (process.commandLine !== undefined) warn(`${prefix}commandLine: is for another platform and ignored`);
  if (process.user.username !== undefined) warn(`${prefix}user.username: is for another platform and ignored`);
  const { height = 0, width = 0 } = process.consoleSize ?? {};
  if (process.terminal && Math.max(height, width) > MAX_CONSOLE_SIZE) {
    refuse("consoleSize", `got ${height} by ${width}, want at most ${MAX_CONSOLE_SIZE}`, PROCESS);
  }
  checkRlimits(process, refuse);
  if (process.scheduler !== undefined) checkScheduler(process.scheduler, refuse);
  for (const name of ["initial", "final"] as const) {
    const list = process.execCPUAffinity?.[name];
    if (list !== undefined && parseCpuList(list) === undefined) {
      refuse(`execCPUAffinity.${name}`, `got ${brief(list)}, want a list of CPUs such as "0-3,7"`, LINUX);
    }
  }
  for (const name of new Set(Object.values(process.capabilities ?? {}).flat())) {
    if (capabilityBit(name) === undefined) warn(`${prefix}capabilities: ignoring unknown capability ${brief(name)}`);
  }
}

type Refuse = (field: string, problem: string, clause: string) => never;

function checkRlimits({ rlimits = [] }: Process, refuse: Refuse): void {
  const seen = new Set<string>();
  for (const [index, { type, soft, hard }] of rlimits.entries()) {
    if (seen.has(type)) refuse(`rlimits[${index}].type`, `${type} appears twice`, POSIX);
    seen.add(type);
    if (soft > hard) refuse(`rlimits[${index}].soft`, `got ${soft}, want at most the hard limit ${hard}`, POSIX);
  }
}

/** sched_setattr(2) would ignore or refuse these; a policy that gets less than it asked for is no help to anybody. */
function checkScheduler(scheduler: Scheduler, refuse: Refuse): void {
  const { policy, nice = 0, priority = 0 } = scheduler;
  if (policy === "SCHED_ISO") refuse("scheduler.policy", "SCHED_ISO is not implemented by Linux", LINUX);
  if ((policy === "SCHED_OTHER" || policy === "SCHED_BATCH") && (nice < -20 || nice > 19)) {
    refuse("scheduler.nice", `got ${nice}, want -20 to 19`, LINUX);
  }
  const isRealTime = policy === "SCHED_FIFO" || policy === "SCHED_RR";
  if (isRealTime && (priority < 1 || priority > 99)) {
    refuse("scheduler.priority", `got ${priority}, want 1 to 99 for ${policy}`, LINUX);
  }
  if (!isRealTime && priority !== 0) {
    refuse("scheduler.priority", `is not possible with ${policy}, only with SCHED_FIFO and SCHED_RR`, LINUX);
  }
  for (const name of ["runtime", "deadline", "period"] as const) {
    if (policy !== "SCHED_DEADLINE" && (scheduler[name] ?? 0n) !== 0n) {
      refuse(`scheduler.${name}`, `is not possible with ${policy}, only with SCHED_DEADLINE`, LINUX);
    }
  }
}
