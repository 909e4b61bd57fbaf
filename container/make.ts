/**
 * Makes a container, for `create` and `run`: everything up to the point where its program would run.
 *
 * In order: check and plan; write the record down; start the helper; answer it (cgroup, mappings, hooks, terminal); write
 * down that the container is created or, for `run`, that it runs. Whatever fails undoes what came before, and only that.
 */
import { closeSync, openSync, rmdirSync, writeSync } from "node:fs";
import { createCgroup } from "../sandbox/cgroups/create.ts";
import { removeCgroup } from "../sandbox/cgroups/remove.ts";
import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import { reapEnded } from "../sandbox/children.ts";
import { planCreate } from "../sandbox/create-plan.ts";
import {
  abandon,
  helperDied,
  type Launch,
  launch,
  type SyncHandlers,
  type SyncReply,
  type SyncRequest,
} from "../sandbox/launch.ts";
import { keepsIds, namespaceChoice } from "../sandbox/namespaces.ts";
import { opName, type Plan } from "../sandbox/plan.ts";
import { SYNC } from "../sandbox/protocol.ts";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { isExecuting, ownProcessRef, processRef } from "../specutils/process-ref.ts";
import { beginSpan } from "../specutils/spans.ts";
import type { IntelRdt, NetDevice } from "../specutils/spec.ts";
import { listenAt, SOCK } from "../specutils/unix-socket.ts";
import { removeFile } from "../statefile/atomic-file.ts";
import { checkId, exitPath } from "../statefile/names.ts";
import { CgroupEntry } from "./cgroup-entry.ts";
import { takeTerminal } from "./console.ts";
import type { Context } from "./context.ts";
import type { CreateOptions } from "./create.ts";
import { runPoststopHooks } from "./delete.ts";
import { passwdOf, programEnvironment } from "./environment.ts";
import { EXIT_FILE_START, timestamp } from "./exit-record.ts";
import type { ServedMounts } from "./gofer.ts";
import { HookTurns } from "./hook-files.ts";
import { runHooks } from "./hooks.ts";
import { addMember, isPodSandbox, openSandbox, whileJoined } from "./join.ts";
import { currentLimit } from "./limits.ts";
import { writeMappings } from "./mappings.ts";
import { keepOwnScore } from "./oom-score.ts";
import { removePidFile, writePidFile } from "./pid-file.ts";
import { newRecord, type Prepared, prepareCreate } from "./prepare.ts";
import type { SavedContainer } from "./record.ts";
import { containerHookState, hookState } from "./state.ts";
import { createRecord, forgetContainer, withContainer } from "./store.ts";
import { giveStreams } from "./streams.ts";
import { UndoStack } from "./undo.ts";

/** A created container whose helper waits for our answer to SYNC.CREATED. */
export interface MadeContainer {
  record: SavedContainer;
  launched: Launch;
  /** The master of the terminal, when it is ours to relay. */
  terminalFd: number | undefined;
  /** Takes everything back and runs the poststop hooks: for a caller that fails later. */
  undo(): Promise<void>;
}

/**
 * `create`: it waits for `start` on a socket of its own; `run`: on this conversation; `run-attached`: likewise, and the caller
 * relays its terminal.
 */
export type MakeMode = "create" | "run" | "run-attached";

/** How often mounts of the host may come and go while the container is made. */
const MAX_TRIES = 5;

/**
 * @throws UsageError, SpecError, UnsupportedError, ExistsError before anything has happened; other errors with all undone
 */
export async function makeContainer(context: Context, options: CreateOptions, mode: MakeMode): Promise<MadeContainer> {
  checkId(options.id);
  for (let tries = 1; ; tries++) {
    try {
      return await tryToMake(context, options, mode);
    } catch (error) {
      if (!(error instanceof MountsChangedError) || tries === MAX_TRIES) throw error;
      context.debug(`${error.message}: mounts of the host that are to be in it have changed: once more`);
    }
  }
}

/** What failed may have failed because mounts of the host that were to be in it have gone or come since they were looked at. */
class MountsChangedError extends ClocheError {}

async function tryToMake(context: Context, options: CreateOptions, mode: MakeMode): Promise<MadeContainer> {
  const endPreparing = beginSpan("read and check the config");
  const prepared = await prepareCreate(context, options, mode === "run-attached");
  endPreparing();
  const record = newRecord(options, prepared);
  if (mode === "create") record.startSocket = startSocketPath(context.root);
  try {
    if (prepared.joins === undefined) await createRecord(context.root, record);
    else await addMember(context.root, prepared.joins, record);
  } catch (error) {
    prepared.isolated?.release();
    throw error;
  }
  const undo = new UndoStack();
  const making = new Making(context, options, mode, prepared, record, undo);
  try {
    return await making.make();
  } catch (error) {
    await making.takeBack();
    const reason = endOfSandbox(prepared.joins) ?? messageOf(error);
    const haveChanged = making.canRepeat && prepared.isolated?.haveMountsChanged() === true;
    throw new (haveChanged ? MountsChangedError : ClocheError)(
      `cannot create container ${JSON.stringify(options.id)}: ${reason}`,
      { cause: error },
    );
  }
}

/** What failed then says little by itself: a broken pipe, or no memory for a process in a pid namespace that has ended. */
function endOfSandbox(joined: SavedContainer | undefined): string | undefined {
  if (joined?.sandbox === undefined || isExecuting(joined.sandbox)) return undefined;
  return `the sandbox of container ${JSON.stringify(joined.id)} has ended`;
}

/** A short name that no other container has: this process makes one container at a time, and its pid is its own. */
function startSocketPath(root: string): string {
  const { pid, startTime } = ownProcessRef();
  return `${root}/start-${pid}-${startTime}`;
}

/** One container in the making. */
class Making {
  readonly #context: Context;
  readonly #options: CreateOptions;
  readonly #mode: MakeMode;
  readonly #prepared: Prepared;
  readonly #record: SavedContainer;
  readonly #undo: UndoStack;
  readonly #hooks = new HookTurns();
  readonly #warnings: string[] = [];
  #entry: CgroupEntry | undefined;
  #terminalFd: number | undefined;
  /** Whether any hook has been called. */
  #hasRunHooks = false;
  /** Whether its terminal has been given away. */
  #hasSentTerminal = false;
  #wasDeleted = false;

  constructor(
    context: Context,
    options: CreateOptions,
    mode: MakeMode,
    prepared: Prepared,
    record: SavedContainer,
    undo: UndoStack,
  ) {
    this.#context = context;
    this.#options = options;
    this.#mode = mode;
    this.#prepared = prepared;
    this.#record = record;
    this.#undo = undo;
  }

  async make(): Promise<MadeContainer> {
    // First, and so undone after its processes have ended.
    this.#undo.push(() => this.#forget());
    this.#prepared.isolated?.check();
    const launched = await this.#launch();
    const hookOutput = () => this.#hooks.output();
    const created = await launched.conversation.answer(this.#handlers(launched), SYNC.CREATED, hookOutput);
    this.#hooks.close();
    if (created === undefined) throw helperDied();
    reapEnded();
    this.#noteProcess(created);
    const { pidFile } = this.#options;
    const { process } = this.#record;
    if (pidFile !== undefined && process !== undefined) {
      this.#undo.push(() => removePidFile(pidFile, process.pid));
      writePidFile(pidFile, process.pid);
    }
    this.#record.status = "created";
    // As in `start`: nothing but the program comes now, so it is written down once and not twice.
    if (this.#mode !== "create" && this.#record.hasStartSteps !== true) {
      this.#record.status = "running";
      this.#record.startedAt = timestamp();
    }
    delete this.#record.creator;
    await this.#saveCreated();
    for (const warning of this.#warnings) this.#context.warn(warning);
    return {
      record: this.#record,
      launched,
      terminalFd: this.#terminalFd,
      undo: () => this.takeBack(true),
    };
  }

  /** Whether, once all is taken back, it may be made again as if nothing had happened. */
  get canRepeat(): boolean {
    return !this.#hasRunHooks && !this.#hasSentTerminal && !this.#wasDeleted;
  }

  /** What the hooks had begun is for the poststop hooks to end (runtime.md#lifecycle); who has deleted the container meanwhile has run them. */
  async takeBack(hasRunHooks = this.#hasRunHooks): Promise<void> {
    await this.#undo.run(this.#context);
    if (hasRunHooks && !this.#wasDeleted) await runPoststopHooks(this.#context, this.#record);
  }

  /** Who has deleted the container has removed all of it; what has its id or its cgroup's name is a later container by now. */
  async #forget(): Promise<void> {
    const { cgroup } = this.#record;
    try {
      const removeRest = () => (cgroup === undefined ? undefined : removeCgroup(cgroup));
      this.#wasDeleted = !(await forgetContainer(this.#context.root, this.#record, removeRest));
    } finally {
      this.#prepared.isolated?.release();
    }
  }

  async #launch(): Promise<Launch> {
    const { root } = this.#context;
    const { id, sandboxId, startSocket } = this.#record;
    const opened: number[] = [];
    try {
      const exitFd = openSync(exitPath(root, sandboxId, id), "ax", 0o600);
      opened.push(exitFd);
      writeSync(exitFd, EXIT_FILE_START);
      let startFd: number | undefined;
      if (startSocket !== undefined) {
        this.#undo.push(() => removeFile(startSocket));
        startFd = listenAt(startSocket, SOCK.SEQPACKET);
        opened.push(startFd);
      }
      const sandboxPidfd = openSandbox(this.#prepared.joins, this.#prepared.spec.linux);
      if (sandboxPidfd !== undefined) opened.push(sandboxPidfd);
      const served = await this.#serve();
      if (served !== undefined) opened.push(...served.fds);
      const plan = this.#plan(exitFd, startFd, sandboxPidfd, served);
      giveStreams(this.#prepared.spec.process, this.#record.isolation?.range);
      const launched = launch(plan);
      this.#undo.push(() => {
        const { sandbox, process, gofer } = this.#record;
        abandon(launched, [sandbox?.pid, process?.pid, gofer?.pid]);
      });
      return launched;
    } finally {
      for (const fd of opened) closeSync(fd);
    }
  }

  /** Starts the gofer of the container, if it needs one. */
  async #serve(): Promise<ServedMounts | undefined> {
    const { isolated } = this.#prepared;
    if (isolated === undefined || isolated.parts.length === 0) return undefined;
    const { id, sandboxId } = this.#record;
    const { openServedMounts } = await import("./gofer.ts");
    const served = openServedMounts(isolated, { root: this.#context.root, id, sandboxId });
    if (served.gofer !== undefined) this.#record.gofer = served.gofer;
    return served;
  }

  #plan(
    exitFd: number,
    startFd: number | undefined,
    sandboxPidfd: number | undefined,
    served: ServedMounts | undefined,
  ): Plan {
    const { spec, rootfs, cgroup, seccomp, isolated, preserveFds, listenFds } = this.#prepared;
    const { id, bundle, noPivot, noNewKeyring } = this.#options;
    const endPlanning = beginSpan("plan");
    const plan = planCreate({
      id,
      spec,
      bundle,
      rootfs,
      env:
        spec.process === undefined ? [] : programEnvironment(spec.process, passwdOf(spec, bundle, rootfs), listenFds),
      cgroup,
      seccomp,
      isolation: isolated && { root: isolated.root, baseline: isolated.baseline, overlay: isolated.overlay, served },
      preserveFds,
      noPivot,
      noNewKeyring,
      exitFd,
      sandboxPidfd,
      startFd,
      currentLimit,
      debug: this.#context.debug,
      // Said once there is a container: a failure is one line, and that line is about the failure.
      warn: (message) => this.#warnings.push(message),
    });
    endPlanning();
    this.#warnings.push(...(isolated?.warnings ?? []));
    if (this.#context.isDebug) {
      for (const { code, what } of [...plan.host, ...plan.container]) this.#context.debug(`${opName(code)}: ${what}`);
    }
    return plan;
  }

  #handlers(launched: Launch): SyncHandlers {
    return {
      [SYNC.HOST]: ({ pid }) => {
        launched.hostPid = pid;
        return undefined;
      },
      [SYNC.SANDBOX]: ({ pid }) => {
        const ref = processRef(pid);
        if (ref !== undefined) this.#record.sandbox = ref;
        if (isPodSandbox(this.#record.annotations) && this.#record.oomScoreAdj !== undefined) keepOwnScore(pid);
        return undefined;
      },
      [SYNC.MAPPINGS]: async ({ pid }) => {
        await writeMappings(pid, this.#prepared.spec.linux);
        return undefined;
      },
      [SYNC.CGROUP]: () => this.#makeCgroup(),
      [SYNC.NAMESPACES]: (request) => this.#enterNamespaces(request),
      [SYNC.ENVIRONMENT]: (request) => {
        this.#noteProcess(request);
        this.#hasRunHooks = true;
        const { hooks } = this.#prepared.spec;
        // Deprecated prestart hooks have always been told "created" by crun, and runtime-tools insists on it.
        runHooks("prestart", hooks?.prestart, hookState(this.#record, "created"));
        runHooks("createRuntime", hooks?.createRuntime, hookState(this.#record));
        return undefined;
      },
      [SYNC.HOOK]: (request) => {
        this.#noteProcess(request);
        this.#hasRunHooks = true;
        return this.#hooks.next(containerHookState(this.#record));
      },
      [SYNC.CONSOLE]: ({ fds: [master] }) => {
        this.#hasSentTerminal = true;
        const ours = takeTerminal(master, this.#options.consoleSocket);
        this.#terminalFd = ours;
        if (ours !== undefined) this.#undo.push(() => closeSync(ours));
        return undefined;
      },
    };
  }

  /** Makes the cgroup, unless it is systemd that makes it: that wants the process first. */
  async #makeCgroup(): Promise<SyncReply | undefined> {
    if (this.#prepared.cgroup.driver === "systemd") return undefined;
    const ref = await this.#createCgroup();
    const { linux } = this.#prepared.spec;
    this.#entry = new CgroupEntry(
      ref,
      !this.#record.ownUserNamespace ? "own" : keepsIds(linux) ? "keeps-ids" : "foreign",
    );
    return this.#entry.reply();
  }

  /** Makes the cgroup and notes it under the lock: a container that was deleted meanwhile makes none, which nobody would find. */
  async #createCgroup(pid?: number): Promise<CgroupRef> {
    const make = async () => {
      const ref = await createCgroup(this.#prepared.cgroup, pid);
      this.#record.cgroup = ref;
      delete this.#record.reservedCgroupDirs;
      return ref;
    };
    return this.#save(make);
  }

  /** The container process exists, and waits: what only its pid makes possible. */
  async #enterNamespaces(request: SyncRequest): Promise<undefined> {
    const pid = this.#noteProcess(request);
    const { cgroup, spec } = this.#prepared;
    if (cgroup.driver === "systemd") {
      await this.#createCgroup(pid);
    } else {
      this.#entry?.move(pid);
    }
    const { intelRdt, netDevices } = spec.linux ?? {};
    if (intelRdt !== undefined) await this.#joinRdtGroup(intelRdt, pid);
    if (netDevices !== undefined) await this.#moveNetDevices(netDevices, pid);
  }

  async #joinRdtGroup(intelRdt: IntelRdt, pid: number): Promise<void> {
    const { createRdtGroup, joinRdtGroup } = await import("../sandbox/intel-rdt.ts");
    const { dir, tasks } = createRdtGroup(this.#prepared.resctrl ?? "", this.#record.id, intelRdt);
    if (dir !== undefined) {
      this.#undo.push(() => rmdirSync(dir));
      this.#record.intelRdtDir = dir;
    }
    this.#record.intelRdtTasks = tasks;
    await this.#save();
    joinRdtGroup(tasks, pid);
  }

  async #moveNetDevices(netDevices: Record<string, NetDevice>, pid: number): Promise<void> {
    const { moveNetDevices } = await import("../sandbox/net-devices.ts");
    const moved = moveNetDevices(netDevices, pid);
    // Left open when all goes well: both sockets are needed for as long as this process may have to take things back.
    this.#undo.push(() => {
      try {
        moved.moveBack();
      } finally {
        moved.close();
      }
    });
  }

  #noteProcess({ pid }: SyncRequest): number {
    if (this.#record.process === undefined) {
      const ref = processRef(pid);
      if (ref === undefined) throw helperDied();
      this.#record.process = ref;
    }
    return pid;
  }

  /**
   * The deletion of a root container ends the members that it finds: one that does not end with the sandbox process either
   * must not come to be after that.
   */
  async #saveCreated(): Promise<void> {
    const { joins, spec } = this.#prepared;
    if (joins === undefined || namespaceChoice(spec.linux, "pid").kind === "new") return this.#save();
    await whileJoined(this.#context.root, joins, () => this.#save());
  }

  async #save(): Promise<void>;
  async #save<T>(change: () => Promise<T>): Promise<T>;
  /** Saves the record as it is here, after `change`. @throws NotFoundError when somebody has deleted the container meanwhile */
  async #save<T>(change?: () => Promise<T>): Promise<T | undefined> {
    const record = this.#record;
    return withContainer(
      this.#context.root,
      record.id,
      async (saved) => {
        const result = await change?.();
        Object.assign(saved, record);
        if (record.creator === undefined) delete saved.creator;
        if (record.reservedCgroupDirs === undefined) delete saved.reservedCgroupDirs;
        return result;
      },
      { exact: true, only: record },
    );
  }
}
