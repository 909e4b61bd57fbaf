/** The plan of `exec`: another program in a container that is there already. */

import { constants, readlinkSync } from "node:fs";
import { NAMESPACES } from "../specutils/kernel-names.ts";
import type { NamespaceType, Process } from "../specutils/spec.ts";
import { O_PATH } from "../specutils/syscall/constants.ts";
import { planCgroupNamespace } from "./namespaces.ts";
import { op, openOp, Plan } from "./plan.ts";
import { cpuMask, needsProc, type ProcessSettings, planProgram, planRaisedLimits, settingOps } from "./process.ts";
import { NO_SLOT, OP, OP_FLAG, SYNC } from "./protocol.ts";
import type { CompiledSeccomp } from "./seccomp/compile.ts";

const { O_DIRECTORY } = constants; // another number on arm64

export interface ExecPlanInput {
  id: string;
  /** Host pid of the container process, and a pidfd that stands for it. */
  pid: number;
  pidfd: number;
  process: Process;
  env: readonly string[];
  seccomp: CompiledSeccomp | undefined;
  /** The filter of the isolation level, beside that of config.json. */
  baseline?: CompiledSeccomp | undefined;
  preserveFds: number;
  settings?: ProcessSettings;
  currentLimit(resource: number): [bigint, bigint];
  debug(message: string): void;
  warn(message: string): void;
}

/** Plans an exec. Namespaces are entered in one setns(2), through the pidfd, so they are those of one process; but that of cgroups is later. */
export function planExec(input: ExecPlanInput): Plan {
  const { process } = input;
  const plan = new Plan(input.preserveFds);
  const ops = plan.container;
  const target = plan.adopt(input.pidfd, "container process");
  const proc = needsProc(process) ? plan.slot() : undefined;
  if (proc !== undefined) plan.host.push(openOp(proc, "/proc", O_PATH | O_DIRECTORY, "open /proc"));
  if (process.oomScoreAdj !== undefined) {
    const what = `process.oomScoreAdj: set ${process.oomScoreAdj}`;
    plan.host.push(op(OP.WRITE, what, [NO_SLOT], ["/proc/self/oom_score_adj", String(process.oomScoreAdj)]));
  }
  planRaisedLimits(plan, process, input.currentLimit);
  const { initial, final } = process.execCPUAffinity ?? {};
  if (initial) plan.host.push(op(OP.AFFINITY, "process.execCPUAffinity.initial", [], [cpuMask(initial)]));
  const root = plan.slot();
  plan.host.push(openOp(root, `/proc/${input.pid}/root`, O_PATH | O_DIRECTORY, "open the container's root"));
  const foreign = foreignNamespaces(input.pid);
  const flags = foreign.reduce((all, type) => (type === "cgroup" ? all : all | NAMESPACES[type].flag), 0) >>> 0;
  const late = foreign.includes("cgroup") ? planCgroupNamespace(plan, `/proc/${input.pid}/ns/cgroup`) : [];
  plan.host.push(op(OP.CGROUP, "join cgroups"));
  if (flags !== 0) plan.host.push(op(OP.SETNS, "join the container's namespaces", [target, flags]));
  plan.host.push(op(OP.CONTAINER, "start the process", [0]));

  // Not before: it is born in the container's cgroup, which belongs to cloche.
  if (foreign.includes("user")) ops.push(op(OP.SET_IDS, "become root of the container", [0, 0], [], OP_FLAG.OPTIONAL));
  ops.push(op(OP.SYNC, "join cgroups", [SYNC.NAMESPACES]), ...late);
  if (final) ops.push(op(OP.AFFINITY, "process.execCPUAffinity.final", [], [cpuMask(final)]));
  // Entering a mount namespace leads to its root, which is not the container's unless it has one of its own.
  ops.push(op(OP.PIVOT, "enter the container's root", [root], [], OP_FLAG.CHROOT));
  if (process.terminal === true) {
    const { height = 0, width = 0 } = process.consoleSize ?? {};
    ops.push(op(OP.CONSOLE, "process.terminal: open a terminal", [root, height, width, process.user.uid]));
  }
  ops.push(op(OP.CLOSE, "close the container's root", [root]));
  ops.push(...settingOps(input.settings ?? {}));
  planProgram({
    plan,
    process,
    env: input.env,
    preserveFds: input.preserveFds,
    seccomp: input.seccomp,
    baseline: input.baseline,
    proc,
    keyring: undefined,
    beforeExecute: [op(OP.WAIT_START, "wait for start", [NO_SLOT])],
    debug: input.debug,
    warn: input.warn,
  });
  return plan;
}

/** The namespaces in which `pid` is and we are not. One's own user namespace cannot be entered again (setns(2)). */
function foreignNamespaces(pid: number): NamespaceType[] {
  const types = Object.keys(NAMESPACES) as NamespaceType[];
  return types.filter((type) => {
    const { file } = NAMESPACES[type];
    return readlinkSync(`/proc/${pid}/ns/${file}`) !== readlinkSync(`/proc/self/ns/${file}`);
  });
}
