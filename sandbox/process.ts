/**
 * The program of a container, or of an exec, as ops: everything between being in the right namespaces and execve(2)
 * (config.md#process, config.md#linux-process).
 */
import { capabilityMask } from "../specutils/capabilities.ts";
import { parseCpuList } from "../specutils/cpu-list.ts";
import { UnsupportedError } from "../specutils/errors.ts";
import {
  IO_PRIORITY_CLASSES,
  MEMORY_POLICY_FLAGS,
  MEMORY_POLICY_MODES,
  PERSONALITY_DOMAINS,
  SCHEDULER_FLAGS,
  SCHEDULER_POLICIES,
} from "../specutils/kernel-names.ts";
import { rlimitNumber } from "../specutils/rlimits.ts";
import type { Hook, Linux, MemoryPolicy, Process, Scheduler } from "../specutils/spec.ts";
import { isAppArmorEnabled, isSelinuxEnabled } from "./host.ts";
import { type Op, op, type Plan } from "./plan.ts";
import { NO_SLOT, OP, OP_FLAG } from "./protocol.ts";
import type { CompiledSeccomp } from "./seccomp/compile.ts";

const CAP_SYS_ADMIN = 1n << 21n;
const IOPRIO_CLASS_SHIFT = 13;
const DEFAULT_UMASK = 0o022;
const SCHED_ATTR_BYTES = 48;

/** Where a program without PATH in its environment is looked for, as execvp(3) and crun do. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What a program needs to know beyond its `process` section. */
export interface ProgramContext {
  plan: Plan;
  process: Process;
  /** The program's whole environment. */
  env: readonly string[];
  preserveFds: number;
  seccomp: CompiledSeccomp | undefined;
  /** The filter of the isolation level, beside that of config.json. */
  baseline: CompiledSeccomp | undefined;
  /** Slot of the host's /proc, for attributes that are set by writing; only if `needsProc`. */
  proc: number | undefined;
  /** Name of the session keyring to make, or undefined for the caller's. */
  keyring: string | undefined;
  /** Ops between being ready to run and running: waiting for `start`, startContainer hooks. */
  beforeExecute: readonly Op[];
  debug(message: string): void;
  warn(message: string): void;
}

/** Whether attributes have to be written below /proc for this program. */
export function needsProc(process: Process): boolean {
  return Boolean(process.apparmorProfile) || Boolean(process.selinuxLabel);
}

/**
 * Appends the ops that turn the container process into its program. Order: what needs privileges, then the user, then
 * what the user may do; the filter comes last, so that it has to allow nothing but capset and execve.
 */
export function planProgram(context: ProgramContext): void {
  const { plan, process } = context;
  const { user } = process;
  const ops = plan.container;
  if (context.keyring !== undefined) {
    ops.push(op(OP.KEYRING, "join a session keyring of its own", [], [context.keyring]));
  }
  planScheduling(ops, process);
  planLabels(ops, context);
  const hasFilter = context.seccomp !== undefined || context.baseline !== undefined;
  const seccompNeedsAdmin = hasFilter && process.noNewPrivileges !== true;
  const caps = capabilities(context);
  const extra = seccompNeedsAdmin ? CAP_SYS_ADMIN : 0n;
  const cwd = process.cwd;
  const groups = new Uint32Array(user.additionalGids ?? []);
  ops.push(
    op(OP.CHDIR, `process.cwd: change to ${JSON.stringify(cwd)}`, [], [cwd], OP_FLAG.OPTIONAL),
    op(OP.UMASK, "process.user.umask", [user.umask ?? DEFAULT_UMASK]),
    op(OP.BOUNDING, "process.capabilities.bounding", [caps.bounding]),
    op(
      OP.USER,
      `process.user: become ${user.uid}:${user.gid}`,
      [user.uid, user.gid, groups.length],
      [new Uint8Array(groups.buffer)],
    ),
    op(OP.CAPABILITIES, "process.capabilities", [caps.effective | extra, caps.permitted | extra, caps.inheritable]),
    op(OP.AMBIENT, "process.capabilities.ambient", [caps.ambient]),
    op(OP.CHDIR, `process.cwd: change to ${JSON.stringify(cwd)}`, [], [cwd]),
  );
  const args = process.args ?? [];
  const name = args[0] ?? "";
  const path = context.env.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? DEFAULT_PATH;
  ops.push(op(OP.FIND_EXECUTABLE, executableWords(name), [], [name, path]), ...context.beforeExecute);
  for (const { type, soft, hard } of process.rlimits ?? []) {
    ops.push(op(OP.RLIMIT, `process.rlimits: set ${type}`, [rlimitNumber(type) ?? -1, soft, hard]));
  }
  ops.push(op(OP.PREPARE_EXECUTE, "close descriptors", [3 + context.preserveFds]));
  if (process.noNewPrivileges === true) ops.push(op(OP.NO_NEW_PRIVS, "process.noNewPrivileges"));
  // First, since config.json's may refuse to load another one after it. The kernel asks both, and the stricter one counts.
  if (context.baseline !== undefined) {
    const { filter, flags } = context.baseline;
    ops.push(op(OP.SECCOMP, "isolation: load the baseline filter", [flags], [filter]));
  }
  if (context.seccomp !== undefined) {
    const { filter, flags, needsListener } = context.seccomp;
    ops.push(op(OP.SECCOMP, "linux.seccomp: load the filter", [flags], [filter], needsListener ? OP_FLAG.LISTENER : 0));
  }
  if (extra !== 0n) {
    ops.push(op(OP.CAPABILITIES, "process.capabilities", [caps.effective, caps.permitted, caps.inheritable]));
  }
  ops.push(op(OP.EXECUTE, executableWords(name), [args.length, context.env.length], [args, context.env]));
}

/** How runc and the engines that read its messages name the program that cannot be executed. */
function executableWords(name: string): string {
  return `exec: ${JSON.stringify(name)}`;
}

interface CapabilityMasks {
  bounding: bigint;
  effective: bigint;
  permitted: bigint;
  inheritable: bigint;
  ambient: bigint;
}

/** The five sets as masks; without `process.capabilities` a program has none, as with runc and crun. */
function capabilities({ process, debug, warn }: ProgramContext): CapabilityMasks {
  const sets = process.capabilities ?? {};
  const mask = (names: string[] | undefined) =>
    capabilityMask(names ?? [], (name) =>
      warn(`process.capabilities: ${JSON.stringify(name)} is unknown and left out`),
    );
  const permitted = mask(sets.permitted);
  const inheritable = mask(sets.inheritable);
  const ambient = mask(sets.ambient);
  // The kernel takes no others (capabilities(7)), and `runc spec` writes a config that has some; runc leaves them out too.
  const possible = ambient & permitted & inheritable;
  if (possible !== ambient) {
    debug("process.capabilities.ambient: left out what is not both permitted and inheritable");
  }
  return { bounding: mask(sets.bounding), effective: mask(sets.effective), permitted, inheritable, ambient: possible };
}

/** Hard limits above the ones in force, which only the host stage, still privileged on the host, can raise. */
export function planRaisedLimits(plan: Plan, process: Process, current: (resource: number) => [bigint, bigint]): void {
  for (const { type, hard } of process.rlimits ?? []) {
    const resource = rlimitNumber(type);
    if (resource === undefined) continue;
    const [soft, max] = current(resource);
    if (hard <= max) continue;
    const what = `process.rlimits: raise ${type} to ${hard}`;
    plan.host.push(op(OP.RLIMIT, what, [resource, soft, hard]));
  }
}

function planScheduling(ops: Op[], process: Process): void {
  if (process.scheduler !== undefined) {
    ops.push(op(OP.SCHEDULER, "process.scheduler", [], [schedulerAttributes(process.scheduler)]));
  }
  if (process.ioPriority !== undefined) {
    const { class: name, priority = 0 } = process.ioPriority;
    const value = IO_PRIORITY_CLASSES[name as keyof typeof IO_PRIORITY_CLASSES];
    ops.push(op(OP.IO_PRIORITY, "process.ioPriority", [(value << IOPRIO_CLASS_SHIFT) | priority]));
  }
}

/** struct sched_attr (sched_setattr(2)). */
export function schedulerAttributes(scheduler: Scheduler): Uint8Array {
  const bytes = new Uint8Array(SCHED_ATTR_BYTES);
  const view = new DataView(bytes.buffer);
  const { policy, nice = 0, priority = 0, flags = [], runtime = 0n, deadline = 0n, period = 0n } = scheduler;
  const flagBits = flags.reduce((bits, flag) => bits | SCHEDULER_FLAGS[flag as keyof typeof SCHEDULER_FLAGS], 0);
  view.setUint32(0, SCHED_ATTR_BYTES, true);
  view.setUint32(4, SCHEDULER_POLICIES[policy as keyof typeof SCHEDULER_POLICIES], true);
  view.setBigUint64(8, BigInt(flagBits), true);
  view.setInt32(16, nice, true);
  view.setUint32(20, priority, true);
  view.setBigUint64(24, runtime, true);
  view.setBigUint64(32, deadline, true);
  view.setBigUint64(40, period, true);
  return bytes;
}

/** What of `linux` holds for each process of a container (config-linux.md#personality, #memory-policy). */
export type ProcessSettings = Pick<Linux, "personality" | "memoryPolicy">;

/** Ops for them. Their names have been checked. */
export function settingOps({ personality, memoryPolicy }: ProcessSettings): Op[] {
  const ops: Op[] = [];
  if (personality !== undefined) {
    const domain = PERSONALITY_DOMAINS[personality.domain as keyof typeof PERSONALITY_DOMAINS];
    ops.push(op(OP.PERSONALITY, "linux.personality", [domain]));
  }
  if (memoryPolicy !== undefined) ops.push(memoryPolicyOp(memoryPolicy));
  return ops;
}

function memoryPolicyOp({ mode, nodes = "", flags = [] }: MemoryPolicy): Op {
  const modeBits = MEMORY_POLICY_MODES[mode as keyof typeof MEMORY_POLICY_MODES];
  const flagBits = flags.reduce(
    (bits, flag) => bits | MEMORY_POLICY_FLAGS[flag as keyof typeof MEMORY_POLICY_FLAGS],
    0,
  );
  const mask = nodes === "" ? new Uint8Array() : cpuMask(nodes);
  // The kernel reads one bit less than it is told.
  const bits = mask.length === 0 ? 0 : mask.length * 8;
  return op(OP.MEMORY_POLICY, "linux.memoryPolicy", [modeBits | flagBits, bits], [mask]);
}

/** A CPU list as the mask of sched_setaffinity(2). */
export function cpuMask(list: string): Uint8Array {
  const cpus = parseCpuList(list) ?? [];
  const bytes = new Uint8Array(Math.ceil(((cpus.at(-1) ?? 0) + 1) / 64) * 8);
  for (const cpu of cpus) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return bytes;
}

/** Labels take effect at execve(2); they are written to the host's own procfs, which nothing in the container can replace (CVE-2025-52881). */
function planLabels(ops: Op[], { process, proc }: ProgramContext): void {
  const { apparmorProfile, selinuxLabel } = process;
  if (apparmorProfile && apparmorProfile !== "unconfined") {
    if (!isAppArmorEnabled()) {
      throw new UnsupportedError(
        `process.apparmorProfile: cannot use profile ${JSON.stringify(apparmorProfile)}: AppArmor is not enabled on this host`,
      );
    }
    const what = `process.apparmorProfile: set ${JSON.stringify(apparmorProfile)}`;
    ops.push(op(OP.WRITE, what, [proc ?? NO_SLOT], ["self/attr/apparmor/exec", `exec ${apparmorProfile}`]));
  }
  if (selinuxLabel) {
    if (!isSelinuxEnabled()) {
      throw new UnsupportedError(
        `process.selinuxLabel: cannot use label ${JSON.stringify(selinuxLabel)}: SELinux is not enabled on this host`,
      );
    }
    const what = `process.selinuxLabel: set ${JSON.stringify(selinuxLabel)}`;
    ops.push(op(OP.WRITE, what, [proc ?? NO_SLOT], ["self/attr/exec", selinuxLabel]));
  }
  // The host's /proc: nothing that config.json or the container names may be found through it (CVE-2024-21626).
  if (proc !== undefined) ops.push(op(OP.CLOSE, "close /proc", [proc]));
}

/** The op that runs a hook inside the container. @param index its place among the hooks of its kind */
export function hookOp(kind: string, hook: Hook, index: number): Op {
  const { path, args = [path], env = [], timeout = 0 } = hook;
  const what = `hooks.${kind}[${index}]: run ${JSON.stringify(path)}`;
  // The file of a startContainer hook is the container's own: it gets no more than the program gets.
  const flags = kind === "startContainer" ? OP_FLAG.CONFINED : 0;
  return op(OP.HOOK, what, [args.length, env.length, timeout * 1000, index], [path, args, env], flags);
}
