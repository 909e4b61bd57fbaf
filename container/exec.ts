/** `exec`: another process inside a container (runc's `exec`). */
import { closeSync } from "node:fs";
import { isFrozen } from "../sandbox/cgroups/freeze.ts";
import { innerCgroup } from "../sandbox/cgroups/inner.ts";
import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import { planExec } from "../sandbox/exec-plan.ts";
import { joinRdtGroup } from "../sandbox/intel-rdt.ts";
import { abandon, checkExecuted, helperDied, launch, type SyncHandlers } from "../sandbox/launch.ts";
import { SYNC } from "../sandbox/protocol.ts";
import { loadSeccomp } from "../sandbox/seccomp/cache.ts";
import type { CompiledSeccomp } from "../sandbox/seccomp/compile.ts";
import { ClocheError, messageOf, UsageError } from "../specutils/errors.ts";
import { readProcess } from "../specutils/process-file.ts";
import { processRef } from "../specutils/process-ref.ts";
import type { Capabilities, Process, User } from "../specutils/spec.ts";
import { forwardSignals, pidfdSendSignal } from "../specutils/syscall.ts";
import { removeFile } from "../statefile/atomic-file.ts";
import { seccompPath } from "../statefile/names.ts";
import { CgroupEntry } from "./cgroup-entry.ts";
import { takeTerminal } from "./console.ts";
import type { Context } from "./context.ts";
import { inheritedListenFds, passwdIn, programEnvironment } from "./environment.ts";
import { waitInForeground } from "./foreground.ts";
import { currentLimit } from "./limits.ts";
import { writePidFile } from "./pid-file.ts";
import type { SavedContainer } from "./record.ts";
import { openPidfd } from "./signal-process.ts";
import { checkAllowed, isAllowed, refusal } from "./status.ts";
import { readRecord } from "./store.ts";
import { checkPreserved, checkTerminal, giveStreams } from "./streams.ts";
import { UndoStack } from "./undo.ts";

/** The last user or group id (see `id` in specutils/schema.ts). */
const MAX_ID = 2 ** 32 - 2;

export interface ExecOptions {
  id: string;
  /** JSON file of a spec `process`; the other fields that say what to run are then not used. */
  processFile?: string;
  args: string[];
  tty: boolean;
  detach: boolean;
  pidFile?: string;
  consoleSocket?: string;
  cwd?: string;
  /** `NAME=value`, added to the container's. */
  env: string[];
  /** `uid` or `uid:gid`. */
  user?: string;
  additionalGids: number[];
  caps: string[];
  noNewPrivs?: boolean;
  apparmor?: string;
  processLabel?: string;
  preserveFds: number;
  /** A cgroup below the container's; `controller:path` for v1. */
  cgroup: string[];
  ignorePaused: boolean;
}

/**
 * Runs a process in a container.
 *
 * @returns its exit code, or 128 plus the signal that ended it; 0 when detached
 * @throws NotFoundError, StatusError, UsageError, SpecError; HelperError when it cannot be executed
 */
export async function execContainer(context: Context, options: ExecOptions): Promise<number> {
  const record = await readRecord(context.root, options.id);
  checkStatus(record, options.ignorePaused);
  const asked = options.processFile === undefined ? await processOf(record, options) : readProcess(options.processFile);
  const { isolation } = record;
  const sandboxed =
    isolation && (await import("./isolation.ts")).isolateExec(context.root, isolation, record.annotations, asked);
  const process = sandboxed?.process ?? asked;
  checkTerminal(process.terminal === true, options.consoleSocket, !options.detach);
  const listenFds = inheritedListenFds();
  const preserveFds = options.preserveFds + listenFds;
  checkPreserved(preserveFds);
  const { pid, pidfd } = openContainerProcess(record);
  const undo = new UndoStack();
  const started: { pid: number; terminalFd: number | undefined } = { pid: 0, terminalFd: undefined };
  try {
    const plan = planExec({
      id: record.id,
      pid,
      pidfd,
      process,
      env: programEnvironment(process, passwdIn(`/proc/${pid}/root`), listenFds),
      seccomp: seccompOf(context, record),
      baseline: sandboxed?.baseline,
      preserveFds,
      settings: record.linux ?? {},
      currentLimit,
      debug: context.debug,
      warn: context.warn,
    });
    if (!process.terminal) giveStreams(process, isolation?.range);
    const launched = launch(plan);
    undo.push(() => abandon(launched, [started.pid === 0 ? undefined : started.pid]));
    const { conversation } = launched;
    const handlers = execHandlers(record, options, started, pidfd);
    const ready = await conversation.answer(handlers, SYNC.CREATED);
    if (ready === undefined) throw helperDied();
    started.pid = ready.pid;
    const stopForwarding = options.detach ? () => undefined : forwardSignals(started.pid);
    try {
      conversation.go();
      conversation.go();
      await conversation.answer(handlers, undefined);
      const ref = processRef(started.pid);
      if (ref !== undefined) checkExecuted(ref);
      // Only now: conmon takes a pid file as the sign that the command could be executed.
      if (options.pidFile !== undefined) writePidFile(options.pidFile, started.pid);
      // It has become its program: from here on it is the caller's.
      undo.clear();
      closeSync(conversation.socket);
      return options.detach ? 0 : waitInForeground(started.pid, started.terminalFd);
    } finally {
      stopForwarding();
    }
  } catch (error) {
    await undo.run(context);
    if (options.pidFile !== undefined) removeFile(options.pidFile);
    throw new ClocheError(`cannot exec in container ${JSON.stringify(record.id)}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    closeSync(pidfd);
  }
}

/** A pidfd that stands for the container process from now on. @throws StatusError when that has ended */
function openContainerProcess({ id, process }: SavedContainer): { pid: number; pidfd: number } {
  let pidfd: number | undefined;
  try {
    pidfd = process && openPidfd(process);
  } catch (error) {
    throw new ClocheError(`cannot exec in container ${JSON.stringify(id)}: ${messageOf(error)}`, { cause: error });
  }
  if (process === undefined || pidfd === undefined) throw refusal("exec", { id, status: "stopped" });
  return { pid: process.pid, pidfd };
}

function checkStatus(record: SavedContainer, ignorePaused: boolean): void {
  // A container that may write to its cgroup can freeze itself: what joins it then waits for ever.
  const isHeld = isAllowed("exec", record.status) && record.cgroup !== undefined && isFrozen(record.cgroup);
  const status = isHeld ? "paused" : record.status;
  if (status !== "paused" || !ignorePaused) checkAllowed("exec", { id: record.id, status });
}

/** The process of the container's config.json, changed as the flags say; what it does not inherit is its terminal. */
async function processOf(record: SavedContainer, options: ExecOptions): Promise<Process> {
  const { readConfig } = await import("../specutils/config.ts");
  const base = readConfig(record.bundle).spec.process;
  if (base === undefined)
    throw new UsageError("cannot exec without --process: the container's config.json has no process");
  const process: Process = { ...base, args: options.args, terminal: options.tty };
  process.env = [...(base.env ?? []), ...options.env];
  process.user = userOf(base.user, options);
  if (options.cwd !== undefined) process.cwd = options.cwd;
  if (options.noNewPrivs !== undefined) process.noNewPrivileges = options.noNewPrivs;
  if (options.apparmor !== undefined) process.apparmorProfile = options.apparmor;
  if (options.processLabel !== undefined) process.selinuxLabel = options.processLabel;
  if (options.caps.length > 0) process.capabilities = withCapabilities(base.capabilities ?? {}, options.caps);
  return process;
}

function userOf(base: User, { user, additionalGids }: ExecOptions): User {
  const groups = [...(base.additionalGids ?? []), ...additionalGids];
  const chosen: User = { ...base, ...(groups.length > 0 && { additionalGids: groups }) };
  if (user === undefined) return chosen;
  const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(user);
  const [uid, gid] = [Number(match?.[1]), Number(match?.[2] ?? chosen.gid)];
  // To the kernel, 2^32 is 0 again and 2^32 - 1 means "leave unchanged": both would run as root.
  if (match === null || uid > MAX_ID || gid > MAX_ID) {
    throw new UsageError(
      `invalid value ${JSON.stringify(user)} for flag --user: must be uid or uid:gid, each up to ${MAX_ID}`,
    );
  }
  return { ...chosen, uid, gid };
}

/** As with runc, added capabilities are in every set but the ambient one. */
function withCapabilities(base: Capabilities, added: string[]): Capabilities {
  const join = (names: string[] | undefined) => [...new Set([...(names ?? []), ...added])];
  return {
    ...base,
    bounding: join(base.bounding),
    effective: join(base.effective),
    permitted: join(base.permitted),
  };
}

/** The container's filter. One that was compiled and is not there any more must not be left out. @throws ClocheError */
function seccompOf(context: Context, record: SavedContainer): CompiledSeccomp | undefined {
  if (record.seccompFilter === undefined) return undefined;
  const compiled = loadSeccomp(seccompPath(context.root), record.seccompFilter);
  if (compiled === undefined) {
    throw new ClocheError(`its seccomp filter ${record.seccompFilter} is gone from ${seccompPath(context.root)}`);
  }
  return compiled;
}

function execHandlers(
  record: SavedContainer,
  options: ExecOptions,
  started: { pid: number; terminalFd: number | undefined },
  pidfd: number,
): SyncHandlers {
  const cgroup = record.cgroup === undefined ? undefined : cgroupOf(record.cgroup, record.process?.pid, options.cgroup);
  const entry = cgroup && new CgroupEntry(cgroup, record.ownUserNamespace ? "keeps-ids" : "own");
  return {
    [SYNC.CGROUP]: () => entry?.reply(),
    [SYNC.NAMESPACES]: ({ pid }) => {
      started.pid = pid;
      // Its namespaces and its root were found by its number, which has been its own all the time if it still is.
      pidfdSendSignal(pidfd, 0);
      entry?.move(pid);
      if (record.intelRdtTasks !== undefined) joinRdtGroup(record.intelRdtTasks, pid);
      return undefined;
    },
    [SYNC.CONSOLE]: ({ fds: [master] }) => {
      started.terminalFd = takeTerminal(master, options.consoleSocket);
      return undefined;
    },
    [SYNC.LISTENER]: async ({ fds: [listener] }) => {
      const { sendListener } = await import("./seccomp-listener.ts");
      if (listener !== undefined) sendListener(record, listener);
      return undefined;
    },
  };
}

function cgroupOf(ref: CgroupRef, pid: number | undefined, choices: readonly string[]): CgroupRef {
  return choices.length > 0 || pid === undefined ? chosenCgroup(ref, choices) : innerCgroup(ref, pid);
}

/** The container's cgroup with the directories that `--cgroup [controller[,controller…]:]path` chooses below it. */
export function chosenCgroup(ref: CgroupRef, choices: readonly string[]): CgroupRef {
  const dirs = { ...ref.dirs };
  for (const choice of choices) {
    const [, controllers, below = ""] = /^(?:([^:/]*):)?(.*)$/s.exec(choice) ?? [];
    const parts = below.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.includes(".."))
      throw new UsageError(`invalid value ${JSON.stringify(choice)} for flag --cgroup: has ".."`);
    for (const controller of controllers?.split(",") ?? Object.keys(ref.dirs)) {
      const dir = ref.dirs[controller];
      if (dir === undefined) {
        throw new UsageError(
          `invalid value ${JSON.stringify(choice)} for flag --cgroup: no controller "${controller}"`,
        );
      }
      dirs[controller] = [dir, ...parts].join("/");
    }
  }
  return { ...ref, dirs };
}
