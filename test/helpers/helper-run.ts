/** Runs plans of a test's own with cloche-init, without the rest of cloche around them. All processes are our children. */
import { closeSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import type { Launch, SyncHandlers, SyncRequest } from "../../sandbox/launch.ts";
import { launch } from "../../sandbox/launch.ts";
import { op, Plan } from "../../sandbox/plan.ts";
import { MESSAGE, MESSAGE_BYTES, NO_SLOT, OP, OP_FLAG, SYNC, TARGET } from "../../sandbox/protocol.ts";
import {
  memfd,
  NR,
  type ProcessEnd,
  poll,
  receiveMessage,
  sendMessage,
  socketPair,
  spawnHelper,
  sys,
  throwErrno,
  waitPid,
} from "../../specutils/syscall.ts";
import { distDirectory } from "./runtime-path.ts";

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const POLLIN = 1;
/** How long a helper that was given nonsense may be silent before it is taken as waiting for ever. */
const SILENCE_MS = 300;
const helperPath = path.join(process.env["CLOCHE_DIST"] ?? distDirectory, "cloche-init");
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNS = 0x00020000;

/** A sync code that the helper passes on without knowing it: where a test stops to look. */
export const SYNC_TEST = 1000;

/** How long the helper may keep a test waiting for a message. */
const MESSAGE_TIMEOUT_SECONDS = 20;

/** Starts a plan; a helper that falls silent is an error (EAGAIN) and not a test that never ends. */
export function startPlan(plan: Plan): Launch {
  const launched = launch(plan);
  const timeout = new Uint8Array(new BigInt64Array([BigInt(MESSAGE_TIMEOUT_SECONDS), 0n]).buffer);
  const { socket } = launched.conversation;
  throwErrno("setsockopt", "timeout", sys(NR.setsockopt, socket, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length));
  return launched;
}

/** Waits for all our children, in the order in which they end. */
export function waitForAll(): ProcessEnd[] {
  const ended: ProcessEnd[] = [];
  for (;;) {
    try {
      const end = waitPid(-1);
      if (end !== undefined) ended.push(end);
    } catch {
      return ended; // ECHILD: no more
    }
  }
}

/**
 * Carries a plan out until the container process asks SYNC_TEST, shows it to `look`, and ends it.
 *
 * @throws HelperError of the step that failed
 */
export async function stopAtTest<T>(plan: Plan, look: (request: SyncRequest) => T): Promise<T> {
  plan.container.push(op(OP.SYNC, "let the test look", [SYNC_TEST]));
  const { conversation } = startPlan(plan);
  try {
    const request = await conversation.answer({}, SYNC_TEST);
    if (request === undefined) throw new Error("the helper ended without a word");
    return look(request);
  } finally {
    closeSync(conversation.socket);
    waitForAll();
  }
}

export interface ProgramOptions {
  /** Whether the program is PID 1 of a pid namespace of its own, as in most containers. */
  isNested: boolean;
  /** File for the exit record; must not exist. */
  record: string;
  args: readonly string[];
}

export interface StartedProgram {
  pid: number;
  sandboxPid: number;
  launched: Launch;
}

/** Starts a sandbox and, in it, a program that waits for a bare `go` or (`until` undefined) has been executed. */
export async function startProgram(options: ProgramOptions, until: number | undefined): Promise<StartedProgram> {
  const plan = new Plan();
  const recordFd = openSync(options.record, "ax", 0o600);
  const record = plan.adopt(recordFd, "exit record");
  const [clone, flags] = options.isNested ? [CLONE_NEWPID, OP_FLAG.INTERMEDIATE] : [0, 0];
  plan.host.push(
    op(OP.SANDBOX, "sandbox", [record, NO_SLOT], [], flags),
    op(OP.CONTAINER, "container", [clone], [], flags),
  );
  plan.container.push(op(OP.SYNC, "exist", [SYNC.NAMESPACES]), ...programOps(options.args));
  let sandboxPid = 0;
  let pid = 0;
  const handlers: SyncHandlers = {
    [SYNC.SANDBOX]: (request) => {
      sandboxPid = request.pid;
      return undefined;
    },
    [SYNC.NAMESPACES]: (request) => {
      pid = request.pid;
      return undefined;
    },
  };
  const launched = startPlan(plan);
  closeSync(recordFd);
  await launched.conversation.answer(handlers, SYNC.CREATED);
  if (until === undefined) {
    launched.conversation.go();
    launched.conversation.go();
    await launched.conversation.answer(handlers, undefined);
  }
  return { pid, sandboxPid, launched };
}

/** The ops from finding a program to becoming it. */
export function programOps(args: readonly string[]) {
  const [name = ""] = args;
  return [
    op(OP.FIND_EXECUTABLE, `exec: "${name}"`, [], [name, "/usr/bin:/bin"]),
    op(OP.WAIT_START, "wait for start", [NO_SLOT]),
    op(OP.PREPARE_EXECUTE, "close descriptors", [3]),
    op(OP.EXECUTE, `exec: "${name}"`, [args.length, 0], [args, []]),
  ];
}

/** What a plan given as bytes came to: the sync codes it got to, each answered with a bare go, and the failed step. */
export interface Outcome {
  syncs: number[];
  error: { index: number; errno: number } | undefined;
}

/** Gives bytes that may be no plan to the helper, and answers it until it is silent. The caller waits for our children. */
export async function runBytes(bytes: Uint8Array, isSealed: boolean): Promise<Outcome> {
  const [ours, theirs] = socketPair();
  const planFd = isSealed ? memfd("test-plan", bytes) : unsealed(bytes);
  const nullFd = openSync("/dev/null", "r+");
  try {
    const fds = [0, 1, 2].map((fd): [number, number] => [fd, nullFd]);
    spawnHelper(helperPath, ["cloche-init", "4", "5"], [], [...fds, [3, nullFd], [4, theirs], [5, planFd]]);
  } finally {
    for (const fd of [theirs, planFd, nullFd]) closeSync(fd);
  }
  const outcome: Outcome = { syncs: [], error: undefined };
  try {
    for (;;) {
      if (poll([{ fd: ours, events: POLLIN }], SILENCE_MS)[0] === 0) return outcome;
      const { data, fds } = receiveMessage(ours, MESSAGE_BYTES);
      for (const fd of fds) closeSync(fd);
      if (data.length === 0) return outcome;
      const [kind = 0, index = 0, errno = 0, value = 0] = new Uint32Array(data.slice().buffer);
      if (kind === MESSAGE.ERROR || kind === MESSAGE.HOOK_FAILED) outcome.error ??= { index, errno };
      else outcome.syncs.push(value);
      if (kind === MESSAGE.SYNC) answerBarely(ours);
    }
  } finally {
    closeSync(ours);
  }
}

/** A helper that died while its answer was on the way is seen by the next receive. */
function answerBarely(socket: number): void {
  try {
    sendMessage(socket, new Uint8Array(new Uint32Array([MESSAGE.GO, 0, 0, 0]).buffer));
  } catch {
    return;
  }
}

function unsealed(bytes: Uint8Array): number {
  const fd = throwErrno("memfd_create", "plan", sys(NR.memfd_create, "plan", 0));
  writeSync(fd, bytes);
  return fd;
}

/** A plan with most kinds of ops, for changing. It makes a container out of the directory `root`. */
export function samplePlan(root: string): Plan {
  const plan = new Plan();
  const [rootSlot, slash, target, mounted] = [plan.slot(), plan.slot(), plan.slot(), plan.slot()];
  const [nul, record] = [plan.slot(), plan.slot()];
  const scheduler = new Uint8Array(48);
  scheduler[0] = 48;
  plan.host.push(
    op(OP.OPEN_TREE, "open the root", [rootSlot, 0x8000], [root]),
    op(OP.MOUNT_SETATTR, "keep it to ourselves", [rootSlot, 0, 0, 1 << 19], [], OP_FLAG.RECURSIVE),
    op(OP.OPEN, "open the record", [record, 1, NO_SLOT], ["/dev/null"]),
    op(OP.WRITE, "write", [NO_SLOT], ["/proc/self/oom_score_adj", "1000"], OP_FLAG.OPTIONAL),
    op(OP.RLIMIT, "limit", [7, 256, 256]),
    op(OP.AFFINITY, "affinity", [], [new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0])]),
    op(OP.UNSHARE, "new namespaces", [0x04000000 | 0x08000000]),
    op(OP.SANDBOX, "sandbox", [record, NO_SLOT], [], OP_FLAG.INTERMEDIATE),
    op(OP.CGROUP, "cgroups"),
    op(OP.CONTAINER, "container", [CLONE_NEWPID | CLONE_NEWNS], [], OP_FLAG.INTERMEDIATE),
  );
  plan.container.push(
    op(OP.SYNC, "exist", [SYNC.NAMESPACES]),
    op(OP.MOUNT_SETATTR, "leave the peer groups", [NO_SLOT, 0, 0, 1 << 19], ["/"], OP_FLAG.RECURSIVE),
    op(OP.OPEN, "open /dev/null", [nul, 0o10000000, NO_SLOT], ["/dev/null"]),
    op(OP.OPEN, "open /", [slash, 0o10200000, NO_SLOT], ["/"]),
    op(OP.ATTACH, "attach the root", [rootSlot, slash]),
    op(OP.TARGET, "find a target", [target, rootSlot, TARGET.DIRECTORY, 0o755], ["/mnt/link/../tmpfs"]),
    op(OP.MOUNT, "make a tmpfs", [mounted, 2, 2], ["tmpfs", "tmpfs", ["size=64k", "mode=755"]]),
    op(OP.COPY_MODE, "copy the mode", [target, mounted]),
    op(OP.COPY_UP, "copy up", [target, mounted]),
    op(OP.ATTACH, "attach it", [mounted, target]),
    op(OP.CLOSE, "close", [target]),
    op(OP.MKNOD, "make a fifo", [rootSlot, 0o010644, 0, 0], ["/mnt/fifo"]),
    op(OP.SYMLINK, "make a link", [rootSlot], ["/mnt/new", "fifo"], OP_FLAG.REPLACE),
    op(OP.READONLY, "cover", [rootSlot], ["/mnt/tmpfs"]),
    op(OP.MASK, "mask", [nul, rootSlot], ["/mnt/fifo"]),
    op(OP.PIVOT, "pivot", [rootSlot]),
    op(OP.HOSTNAME, "hostname", [], ["mutant"]),
    op(OP.DOMAINNAME, "domainname", [], ["example.test"]),
    op(OP.UMASK, "umask", [0o22]),
    op(OP.IO_PRIORITY, "priority", [0]),
    op(OP.PERSONALITY, "personality", [0]),
    op(OP.SCHEDULER, "scheduler", [], [scheduler]),
    op(OP.MEMORY_POLICY, "memory policy", [0, 0], [new Uint8Array(8)]),
    op(OP.CHDIR, "directory", [], ["/"]),
    op(OP.BOUNDING, "bounding", [0xffff]),
    op(OP.USER, "user", [0, 0, 0], [new Uint8Array()]),
    op(OP.CAPABILITIES, "capabilities", [1, 1, 0]),
    op(OP.AMBIENT, "ambient", [0]),
    op(OP.NO_NEW_PRIVS, "no new privileges"),
    op(OP.SECCOMP, "filter", [0], [new Uint8Array([6, 0, 0, 0, 0, 0, 255, 127])]),
    ...programOps(["/bin/busybox", "true"]),
  );
  return plan;
}
