/**
 * Starts cloche-init with a plan and answers it while it carries the plan out (init/protocol.h).
 *
 * The helper's first process is our child, and so are the sandbox process and the container process that come of it; when
 * this process ends, they become children of whoever called cloche. Until the container process is told to go on for good
 * it ends when our end of the socket closes: a cloche that is killed leaves nothing behind.
 */

import { closeSync, readFileSync } from "node:fs";
import path from "node:path";
import { type ClocheError, HelperError, UnsupportedError } from "../specutils/errors.ts";
import { HELPER_NAME } from "../specutils/helper-name.ts";
import { type ProcessRef, readProcessStat } from "../specutils/process-ref.ts";
import { beginSpan } from "../specutils/spans.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC } from "../specutils/syscall/constants.ts";
import {
  memfd,
  NR,
  receiveMessage,
  sendMessage,
  setPassCredentials,
  socketPair,
  spawnHelper,
  strerror,
  sys,
  throwErrno,
} from "../specutils/syscall.ts";
import { isOrdinaryUser } from "../specutils/user-namespace.ts";
import { endChildren } from "./children.ts";
import { encodePlan, type Op, op, type Plan } from "./plan.ts";
import { MESSAGE, MESSAGE_BYTES, OP } from "./protocol.ts";

const OPEN_TREE_CLONE = 1;
const MOUNT_ATTR_RDONLY = 1;
const EPERM = 1;
const MOUNT_ATTR_IDMAP = 0x100000;
const ESRCH = 3;
const EACCES = 13;
const EISDIR = 21;
const EINVAL = 22;
const ENOSYS = 38;
const ETIMEDOUT = 110;

/** What the helper says or asks at one point of its plan. */
export interface SyncRequest {
  code: number;
  /** The sender, in our pid namespace. */
  pid: number;
  /** Descriptors that came along; the handler closes or keeps them. */
  fds: number[];
  op: Op;
}

/** What it is told. Descriptors are sent as copies. */
export interface SyncReply {
  value?: number;
  fds?: number[];
  /** Called once they are sent. */
  sent?(): void;
}

/** Answers by sync code. A code without a handler is answered with a bare go. */
export type SyncHandlers = {
  [code: number]: (request: SyncRequest) => SyncReply | undefined | Promise<SyncReply | undefined>;
};

/** The op of an index; `start`, which does not have the plan any more, makes one up from the code. */
export type DescribeOp = (index: number, code: number) => Op;

/** What fails before the plan is read. */
const UNPLANNED = op(0, "read the plan");

/** A conversation with the helper's processes over one socket. */
export class Conversation {
  readonly socket: number;
  readonly #describe: DescribeOp;

  constructor(socket: number, describe: DescribeOp) {
    this.socket = socket;
    this.#describe = describe;
  }

  /**
   * Answers the helper until it reaches sync code `until`, which is left unanswered, or closes the socket.
   *
   * @param hookOutput what a hook has printed that failed inside the container: only the caller has it
   * @returns the request with that code, or undefined at end of file
   * @throws HelperError for the step that failed
   */
  async answer(
    handlers: SyncHandlers,
    until: number | undefined,
    hookOutput = () => "",
  ): Promise<SyncRequest | undefined> {
    for (;;) {
      const endWaiting = beginSpan("wait for the helper");
      const { data, fds, pid = 0 } = receiveMessage(this.socket, MESSAGE_BYTES);
      endWaiting();
      if (data.length < MESSAGE_BYTES) return undefined;
      const view = new DataView(data.buffer, data.byteOffset);
      const [kind, index, error, value] = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
      // Of a failed hook, `value` is how it ended.
      const step = this.#describe(index ?? 0, kind === MESSAGE.HOOK_FAILED ? OP.HOOK : (value ?? 0));
      if (kind === MESSAGE.ERROR) throw failure(step, error ?? 0, reasonOf(step, error ?? 0));
      if (kind === MESSAGE.HOOK_FAILED) {
        const how = error === ETIMEDOUT ? "it ran past its timeout and was killed" : describeStatus(value ?? 0);
        throw failure(step, error ?? 0, `${how}${hookOutput()}`);
      }
      const request: SyncRequest = { code: value ?? 0, pid, fds, op: step };
      if (request.code === until) return request;
      // Awaiting costs a turn of the event loop: only what is a promise gets one.
      const endAnswer = beginSpan(`answer: ${step.what}`);
      const handled = handlers[request.code]?.(request);
      const reply = handled instanceof Promise ? await handled : handled;
      endAnswer();
      if (kind !== MESSAGE.TELL) this.go(reply);
    }
  }

  /** Tells the helper to go on. */
  go(reply?: SyncReply): void {
    const message = new Uint32Array([MESSAGE.GO, 0, 0, reply?.value ?? 0]);
    try {
      sendMessage(this.socket, new Uint8Array(message.buffer), reply?.fds ?? []);
    } finally {
      reply?.sent?.();
    }
  }
}

function failure({ what }: Op, errno: number, reason: string): HelperError {
  return new HelperError(`${what}: ${reason}`, what, errno);
}

/** A wait status (wait(2)) in words. */
function describeStatus(status: number): string {
  const signal = status & 0x7f;
  return signal === 0 ? `exit status ${(status >> 8) & 0xff}` : `killed by signal ${signal}`;
}

function reasonOf({ code, args, texts }: Op, errno: number): string {
  if (code === OP.FIND_EXECUTABLE) {
    const [name = ""] = texts;
    if (errno === ESRCH) return "executable file not found in $PATH";
    // What execve(2) would say, and what engines know as exit code 126.
    if (errno === EISDIR) return `${strerror(EACCES)}: ${strerror(EISDIR)}`;
    return errno === 2 ? `stat ${String(name)}: ${strerror(errno)}` : strerror(errno);
  }
  // Only the plan of a container without a program ends there.
  if (code === OP.WAIT_START) return "is required to start a container (config.md#process)";
  if (code === OP.MOUNT_SETATTR && errno === EINVAL && (Number(args[1]) & MOUNT_ATTR_IDMAP) !== 0) {
    return `${strerror(errno)}: its file system may not support id-mapped mounts on this kernel`;
  }
  // "permission denied" is about the program, for engines, and would be exit code 126.
  if (code === OP.WRITE && errno === EACCES && texts[0] === "/proc/self/oom_score_adj") {
    return "a value this low needs CAP_SYS_RESOURCE";
  }
  if (code === OP.CHECK_NOT_PROC) return "only the files that lxcfs replaces may be mounted over";
  return strerror(errno);
}

/** The processes of a plan that is being carried out. */
export interface Launch {
  conversation: Conversation;
  /** The host stage: our child, and gone soon. */
  hostPid: number;
}

/**
 * Starts the helper. The container's program gets our descriptors 0 to 2 and, if the plan preserves some, those after them.
 *
 * @throws UnsupportedError when cloche-init is not installed beside cloche
 */
export function launch(plan: Plan): Launch {
  const [ours, theirs] = socketPair();
  const opened = [theirs];
  try {
    setPassCredentials(ours);
    const planFd = memfd("cloche-plan", encodePlan(plan));
    opened.push(planFd);
    const executable = openHelper();
    opened.push(executable);
    const sync = plan.firstAdopted + plan.adopted.length;
    const fds: [number, number][] = [];
    for (let fd = 0; fd < plan.firstAdopted; fd++) fds.push([fd, fd]);
    plan.adopted.forEach((fd, index) => {
      fds.push([plan.firstAdopted + index, fd]);
    });
    // The executable is closed by the helper as one of those that lie above the plan.
    fds.push([sync, theirs], [sync + 1, planFd], [sync + 2, executable]);
    const argv = [HELPER_NAME, String(sync), String(sync + 1)];
    const endSpawn = beginSpan("start the helper");
    const hostPid = spawnHelper(`/proc/self/fd/${sync + 2}`, argv, [], fds);
    endSpawn();
    return { conversation: new Conversation(ours, (index) => plan.at(index) ?? UNPLANNED), hostPid };
  } catch (error) {
    closeSync(ours);
    throw error;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/**
 * The helper's executable, through a read-only mount of its own: what the container process was before execve can be reached
 * as /proc/PID/exe from inside, and must not be a way to write to the file on the host (CVE-2019-5736).
 */
function openHelper(): number {
  const isCompiled = import.meta.dirname.startsWith("/$bunfs/");
  // From source, which is how tests do it, it may be another build of the helper: scripts/test-sanitized.
  const fromSource = () => process.env["CLOCHE_DIST"] ?? path.join(import.meta.dirname, "..", "dist");
  const directory = isCompiled ? path.dirname(process.execPath) : fromSource();
  const file = path.join(directory, HELPER_NAME);
  const tree = sys(NR.open_tree, AT_FDCWD, file, OPEN_TREE_CLONE | O_CLOEXEC);
  // An ordinary user may copy no mount, and has nothing to gain from writing to a file that is not his.
  if (tree === -EPERM && isOrdinaryUser()) return copyHelper(file);
  if (tree < 0) {
    const remedy = tree === -EPERM ? "run cloche as root" : "reinstall cloche, or build it (npm run build)";
    throw new UnsupportedError(`cannot open ${JSON.stringify(file)}: ${strerror(-tree)}: ${remedy}`);
  }
  const attributes = new BigUint64Array([BigInt(MOUNT_ATTR_RDONLY), 0n, 0n, 0n]);
  const bytes = new Uint8Array(attributes.buffer);
  const result = sys(NR.mount_setattr, tree, "", AT_EMPTY_PATH, bytes, bytes.length);
  if (result >= 0) return tree;
  closeSync(tree);
  // Before Linux 5.12 a sealed copy in memory does as well, and costs its size for as long as the container runs.
  if (result === -ENOSYS) return copyHelper(file);
  return throwErrno("mount_setattr", file, result);
}

function copyHelper(file: string): number {
  return memfd(HELPER_NAME, readFileSync(file));
}

/**
 * The end of a conversation means that the program is being executed, or that the helper has ended and could not say why: its
 * filter is in force by then. A zombie that still has the helper's name has never been the program.
 *
 * @throws HelperError for such a zombie; one that somebody has waited for already cannot be told
 */
export function checkExecuted({ pid, startTime }: ProcessRef): void {
  const stat = readProcessStat(pid);
  if (stat?.startTime !== startTime || stat.state !== "Z" || stat.name !== HELPER_NAME) return;
  throw new HelperError("linux.seccomp: the filter must allow execve and capset", "linux.seccomp", 0);
}

/** The helper ended without a word: it was killed, or crashed. */
export function helperDied(): ClocheError {
  return new HelperError("cloche-init ended unexpectedly, it may have been killed", "unknown", 0);
}

/** Ends every process of a launch that failed, and waits until they are gone. Those that are known are our children. */
export function abandon({ conversation, hostPid }: Launch, pids: readonly (number | undefined)[]): void {
  closeSync(conversation.socket);
  endChildren([...pids, hostPid].filter((pid) => pid !== undefined));
}
