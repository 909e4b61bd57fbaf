/**
 * Turns a seccomp profile into the BPF program that the kernel runs before each system call.
 *
 * The program looks at the architecture, then finds the call's number by halving the range of numbers that is left, so that
 * it takes about seven comparisons for docker's profile, and only for the calls that have rules with arguments it looks at
 * those. A decision that depends on the number alone loads nothing else: Linux 5.11 and newer find out which calls a filter
 * always allows by running it once per number, and then skip it (kernel/seccomp.c, seccomp_is_const_allow).
 */
import type { Seccomp } from "../../specutils/spec.ts";
import { Assembler, type Label } from "./assembler.ts";
import { actions, type HostArch, x32SyscallBit } from "./constants.ts";
import { invalidSeccomp } from "./invalid.ts";
import { type ArchitecturePolicy, planSeccomp, type SeccompPolicy, type SyscallDecision } from "./policy.ts";
import { emitRule } from "./rules.ts";

/** What seccomp(2) needs to install a filter. */
export interface CompiledSeccomp {
  /** `struct sock_filter[]` for the host. */
  filter: Uint8Array;
  /** `SECCOMP_FILTER_FLAG_*`, NEW_LISTENER among them if there is a listener. */
  flags: number;
  /** Whether seccomp(2) returns a listener, which has to be sent to `listenerPath`. */
  needsListener: boolean;
}

/** What a call gets whose architecture the profile does not include, as with libseccomp. */
const foreignArchitectureAction = actions.SCMP_ACT_KILL_THREAD;
/** `BPF_MAXINSNS` in linux/bpf_common.h. */
const maxInstructions = 4096;

/** Offsets in struct seccomp_data (linux/seccomp.h); rules.ts has the arguments'. */
const numberOffset = 0;
const archOffset = 4;

/**
 * Compiles a profile for the host's kernel, with every architecture of the profile that this kernel can run.
 * @throws {SpecError} if a field is wrong, or the program is longer than the kernel takes
 */
export function compileSeccomp(seccomp: Seccomp, arch: HostArch): CompiledSeccomp {
  const policy = planSeccomp(seccomp, arch);
  const program = new Assembler();
  let next = program.ret(foreignArchitectureAction);
  for (const [auditArch, ranges] of [...rangesByAuditArch(policy)].reverse()) {
    const section = program.load(numberOffset, emitSearch(program, ranges, policy.defaultAction));
    next = program.jump("equal", auditArch, section, next);
  }
  program.load(archOffset, next);
  if (program.length > maxInstructions) {
    throw invalidSeccomp(
      "syscalls",
      `the filter needs ${program.length} instructions, the kernel takes ${maxInstructions}`,
    );
  }
  return { filter: program.finish(), flags: policy.flags, needsListener: policy.needsListener };
}

/** What happens to the numbers from `first` up to the next range's. */
interface Range {
  readonly first: number;
  readonly decision: SyscallDecision;
}

/** The ranges of all numbers, ascending from 0. x32 shares x86-64's audit architecture, and is the upper part of its list. */
function rangesByAuditArch(policy: SeccompPolicy): Map<number, Range[]> {
  const all = new Map<number, Range[]>();
  for (const calls of policy.architectures) {
    const { auditArch, name } = calls.architecture;
    const first = name === "SCMP_ARCH_X32" ? x32SyscallBit : 0;
    const below = (all.get(auditArch) ?? []).filter((range) => range.first < first);
    const beyond = name === "SCMP_ARCH_X86_64" ? rangesWithoutX32(policy.defaultAction) : [];
    all.set(auditArch, [...below, ...rangesOf(calls, first, policy), ...beyond]);
  }
  return all;
}

/** x32 calls where x32 is not included. A tracer sets the number to -1 to skip a call, which is no x32 call (seccomp(2)). */
function rangesWithoutX32(defaultAction: number): Range[] {
  return [
    { first: x32SyscallBit, decision: foreignArchitectureAction },
    { first: 0xffffffff, decision: defaultAction },
  ];
}

/** Ranges of one architecture's numbers from `first` on, neighbours with the same answer joined. */
function rangesOf(calls: ArchitecturePolicy, first: number, policy: SeccompPolicy): Range[] {
  const starts = new Set([first]);
  for (const number of calls.syscalls.keys()) starts.add(number).add(number + 1);
  if (Number.isFinite(calls.firstNewer)) starts.add(calls.firstNewer);
  const ranges: Range[] = [];
  for (const start of [...starts].sort((a, b) => a - b)) {
    const otherwise = start < calls.firstNewer ? policy.defaultAction : policy.newerAction;
    const decision = calls.syscalls.get(start) ?? otherwise;
    if (decision !== ranges.at(-1)?.decision) ranges.push({ first: start, decision });
  }
  return ranges;
}

/** Finds the range of the loaded number. */
function emitSearch(program: Assembler, ranges: readonly Range[], defaultAction: number): Label {
  const [only, ...others] = ranges;
  if (only === undefined) return program.ret(defaultAction);
  if (others.length === 0) return emitDecision(program, only.decision, defaultAction);
  const middle = ranges.length >> 1;
  const upper = emitSearch(program, ranges.slice(middle), defaultAction);
  const lower = emitSearch(program, ranges.slice(0, middle), defaultAction);
  return program.jump("greaterOrEqual", ranges[middle]?.first ?? 0, upper, lower);
}

function emitDecision(program: Assembler, decision: SyscallDecision, defaultAction: number): Label {
  if (typeof decision === "number") return program.ret(decision);
  let next = program.ret(defaultAction);
  for (const rule of decision.toReversed()) next = emitRule(program, rule, next);
  return next;
}
