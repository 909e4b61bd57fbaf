/**
 * The plan of a seccomp filter: config.json's profile resolved to numbers, per architecture that the host can run.
 *
 * Where the spec leaves room, it means what it means under libseccomp and runc, since profiles are written for those:
 * - The host's own architecture is always included. An architecture that is not included is answered with a kill.
 * - A system call that the host does not know is skipped, as is a rule that says what the default says anyway.
 * - A rule without arguments beats all rules of the same call that have some; of two without, the first one counts.
 *   A condition that always holds, because its mask has no bit that the architecture's arguments have, is none.
 * - Two conditions on the same argument make the rule hold if any of its conditions does, otherwise all have to.
 * - A call newer than the newest one that the profile names gets ENOSYS instead of a refusing default, so that programs
 *   fall back to older calls; after all, the profile's author could not have meant it.
 * Of two rules with arguments the first one that holds counts; libseccomp leaves that open.
 */
import { SECCOMP_ARCHITECTURES, SECCOMP_OPERATORS } from "../../specutils/kernel-names.ts";
import type { Seccomp, SeccompArg, SeccompSyscall } from "../../specutils/spec.ts";
import {
  type ActionName,
  type Architecture,
  actions,
  type FilterFlagName,
  filterFlags,
  type HostArch,
  hostArchitectures,
  newListenerFlag,
  type Operator,
} from "./constants.ts";
import { invalidSeccomp } from "./invalid.ts";
import { isArmPrivateCall, multiplexedCall, syscallNumbers } from "./syscalls.ts";

/** A comparison of one of the six arguments (`index` 0 to 5) with unsigned 64-bit numbers. */
export interface Condition {
  readonly index: number;
  readonly op: Operator;
  /** What the argument is compared with. */
  readonly value: bigint;
  /** For `SCMP_CMP_MASKED_EQ` (`argument & mask == value`), the bits that are compared; `value` has no others. */
  readonly mask: bigint;
}

/** Holds if all conditions do; then the filter returns `action`. */
export interface ConditionalRule {
  readonly conditions: readonly Condition[];
  /** How many low bits of the arguments are compared: those that the architecture's programs use. */
  readonly argumentBits: 32 | 64;
  readonly action: number;
}

/** What happens to one system call: the same always, or the first rule that holds, and otherwise the default. */
export type SyscallDecision = number | readonly ConditionalRule[];

export interface ArchitecturePolicy {
  readonly architecture: Architecture;
  /** Decisions by system call number. */
  readonly syscalls: ReadonlyMap<number, SyscallDecision>;
  /** Numbers from here on get `newerAction`, unless `syscalls` has them. */
  readonly firstNewer: number;
}

export interface SeccompPolicy {
  readonly defaultAction: number;
  readonly newerAction: number;
  readonly architectures: readonly ArchitecturePolicy[];
  /** For seccomp(2), with NEW_LISTENER if there is a listener. */
  readonly flags: number;
  readonly needsListener: boolean;
}

const EPERM = 1;
const ENOSYS = 38;
/** The largest errno that the kernel returns (`MAX_ERRNO` in linux/err.h). */
const maxErrno = 4095;
const argumentCount = 6;

/**
 * Resolves a profile for a host.
 * @throws {SpecError} naming the field that is wrong
 */
export function planSeccomp(seccomp: Seccomp, host: HostArch): SeccompPolicy {
  const defaultAction = readAction(seccomp.defaultAction, seccomp.defaultErrnoRet, "defaultAction", "defaultErrnoRet");
  const rules = readRules(seccomp.syscalls ?? []);
  const included = includedArchitectures(seccomp.architectures ?? [], host);
  const policies = included.map((architecture) => planArchitecture(architecture, rules, defaultAction));
  const needsListener =
    defaultAction === actions.SCMP_ACT_NOTIFY || rules.some((rule) => rule.action === actions.SCMP_ACT_NOTIFY);
  if (needsListener) checkListener(seccomp, policies[0], defaultAction);
  return {
    defaultAction,
    newerAction: isAllowing(defaultAction) ? defaultAction : actions.SCMP_ACT_ERRNO | ENOSYS,
    architectures: policies,
    flags: readFlags(seccomp.flags, needsListener),
    needsListener,
  };
}

/** A rule of the profile with its names still in place: numbers differ by architecture. */
interface NamedRule {
  readonly names: readonly string[];
  readonly action: number;
  /** Sets of conditions. The rule holds if all conditions of one set do, so an empty set makes it hold always. */
  readonly alternatives: readonly (readonly Condition[])[];
}

function readRules(syscalls: readonly SeccompSyscall[]): NamedRule[] {
  return syscalls.map((syscall, position) => {
    const field = `syscalls[${position}]`;
    if (syscall.names.length === 0) throw invalidSeccomp(`${field}.names`, "must not be empty");
    const empty = syscall.names.indexOf("");
    if (empty !== -1) throw invalidSeccomp(`${field}.names[${empty}]`, "must not be empty");
    const action = readAction(syscall.action, syscall.errnoRet, `${field}.action`, `${field}.errnoRet`);
    const conditions = (syscall.args ?? []).map((arg, index) => readCondition(arg, `${field}.args[${index}]`));
    return {
      names: syscall.names,
      action,
      alternatives: alternativesOf(conditions),
    };
  });
}

function alternativesOf(conditions: readonly Condition[]): readonly (readonly Condition[])[] {
  const isIndexRepeated = new Set(conditions.map(({ index }) => index)).size < conditions.length;
  return isIndexRepeated ? conditions.map((condition) => [condition]) : [conditions];
}

function readAction(name: string, errno: number | undefined, nameField: string, errnoField: string): number {
  if (!Object.hasOwn(actions, name)) throw invalidSeccomp(nameField, "unknown action", name, Object.keys(actions));
  const action = actions[name as ActionName];
  const takesErrno = action === actions.SCMP_ACT_ERRNO || action === actions.SCMP_ACT_TRACE;
  if (!takesErrno) {
    if (errno !== undefined) throw invalidSeccomp(errnoField, `not possible with ${name}`);
    return action;
  }
  const largest = action === actions.SCMP_ACT_ERRNO ? maxErrno : 0xffff;
  if (errno !== undefined && !(Number.isInteger(errno) && errno >= 0 && errno <= largest)) {
    throw invalidSeccomp(errnoField, `got ${errno}, want 0 to ${largest}`);
  }
  return action | (errno ?? EPERM);
}

function readCondition(arg: SeccompArg, field: string): Condition {
  const op = SECCOMP_OPERATORS.find((operator) => operator === arg.op);
  if (op === undefined) throw invalidSeccomp(`${field}.op`, "unknown operator", arg.op, SECCOMP_OPERATORS);
  if (!(Number.isInteger(arg.index) && arg.index >= 0 && arg.index < argumentCount)) {
    throw invalidSeccomp(`${field}.index`, `got ${arg.index}, want 0 to ${argumentCount - 1}`);
  }
  const value = readUint64(arg.value, `${field}.value`);
  const valueTwo = readUint64(arg.valueTwo ?? 0n, `${field}.valueTwo`);
  if (op === "SCMP_CMP_MASKED_EQ") return { index: arg.index, op, value: valueTwo & value, mask: value };
  return { index: arg.index, op, value, mask: 0xffffffffffffffffn };
}

function readUint64(value: bigint, field: string): bigint {
  if (value < 0n || value > 0xffffffffffffffffn) throw invalidSeccomp(field, `got ${value}, want 0 to 2^64-1`);
  return value;
}

/** Other architectures of the spec are accepted and leave no trace: this host's kernel never reports them. */
function includedArchitectures(names: readonly string[], host: HostArch): Architecture[] {
  names.forEach((name, position) => {
    const isKnown = SECCOMP_ARCHITECTURES.some((architecture) => architecture === name);
    if (!isKnown)
      throw invalidSeccomp(`architectures[${position}]`, "unknown architecture", name, SECCOMP_ARCHITECTURES);
  });
  const [native, ...others] = hostArchitectures[host];
  return [native, ...others.filter(({ name }) => names.includes(name))];
}

function planArchitecture(
  architecture: Architecture,
  rules: readonly NamedRule[],
  defaultAction: number,
): ArchitecturePolicy {
  const numbers = syscallNumbers(architecture);
  const { argumentBits } = architecture;
  const always = new Map<number, number>();
  const conditional = new Map<number, ConditionalRule[]>();
  let newest = -1;
  const namedPrivately: number[] = [];

  const add = (number: number, action: number, alternatives: readonly (readonly Condition[])[]) => {
    if (action === defaultAction) return;
    for (const conditions of alternatives) {
      const list = conditional.get(number) ?? [];
      if (conditions.length > 0) conditional.set(number, [...list, { conditions, argumentBits, action }]);
      else if (!always.has(number)) always.set(number, action);
    }
  };

  for (const { names, action, alternatives: written } of rules) {
    const alternatives = written.map((conditions) =>
      conditions.filter(({ mask }) => BigInt.asUintN(argumentBits, mask) !== 0n),
    );
    for (const name of names) {
      const number = numbers.get(name);
      if (number !== undefined) {
        add(number, action, alternatives);
        if (isArmPrivateCall(number)) namedPrivately.push(number);
        else newest = Math.max(newest, number);
      }
      const multiplexed = architecture.hasMultiplexers ? multiplexedCall(name) : undefined;
      if (multiplexed === undefined) continue;
      const multiplexer = numbers.get(multiplexed.multiplexer);
      if (multiplexer !== undefined) add(multiplexer, action, selectedBy(multiplexed.selector, alternatives));
    }
  }
  const syscalls = new Map<number, SyscallDecision>([...conditional, ...always]);
  // They lie above the newest call, but being named they are none that the profile's author did not know.
  for (const number of namedPrivately) if (!syscalls.has(number)) syscalls.set(number, defaultAction);
  return { architecture, syscalls, firstNewer: newest === -1 ? Number.POSITIVE_INFINITY : newest + 1 };
}

/**
 * The conditions for a call that is made through a multiplexer. The selector takes the place of argument 0; the real arguments
 * lie in the program's memory, where no filter can look, so a condition on argument 0 is dropped (as libseccomp does).
 */
function selectedBy(selector: number, alternatives: readonly (readonly Condition[])[]): Condition[][] {
  const isSelected: Condition = { index: 0, op: "SCMP_CMP_EQ", value: BigInt(selector), mask: 0xffffffffffffffffn };
  return alternatives.map((conditions) => [isSelected, ...conditions.filter(({ index }) => index !== 0)]);
}

/** Whether unknown calls are let through anyway. TRACE counts: a tracer answers them itself, as runc has it. */
function isAllowing(action: number): boolean {
  const kind = (action & 0xffff0000) >>> 0;
  return kind === actions.SCMP_ACT_ALLOW || kind === actions.SCMP_ACT_LOG || kind === actions.SCMP_ACT_TRACE;
}

/**
 * cloche-init sends the listener with sendmsg(2) when the filter already holds: if that call waited for an answer from the
 * listener, nobody would ever get it.
 */
function checkListener(seccomp: Seccomp, native: ArchitecturePolicy | undefined, defaultAction: number): void {
  if (!seccomp.listenerPath) throw invalidSeccomp("listenerPath", "is required when SCMP_ACT_NOTIFY is used");
  if (native === undefined) return;
  const number = syscallNumbers(native.architecture).get("sendmsg") ?? -1;
  const decision = native.syscalls.get(number) ?? defaultAction;
  const reachable =
    typeof decision === "number" ? [decision] : [defaultAction, ...decision.map(({ action }) => action)];
  if (reachable.includes(actions.SCMP_ACT_NOTIFY)) {
    throw invalidSeccomp("syscalls", "SCMP_ACT_NOTIFY is not possible for sendmsg, which hands over the listener");
  }
}

/** Flags that are not set at all mean SPEC_ALLOW, as with runc: the mitigation that it turns off is costly and of no use here. */
function readFlags(names: readonly string[] | undefined, needsListener: boolean): number {
  if (names === undefined) names = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
  let flags = needsListener ? newListenerFlag : 0;
  names.forEach((name, position) => {
    if (!Object.hasOwn(filterFlags, name)) {
      throw invalidSeccomp(`flags[${position}]`, "unknown flag", name, Object.keys(filterFlags));
    }
    // seccomp(2) refuses WAIT_KILLABLE_RECV without a listener, where it has nothing to say.
    if (name === "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" && !needsListener) return;
    flags |= filterFlags[name as FilterFlagName];
  });
  return flags;
}
