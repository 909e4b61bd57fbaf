/** Runs plans of a test's own with cloche-init, without the rest of cloche around them. All processes are our children. */
import { closeSync, openSync } from "node:fs";
import type { Launch, SyncHandlers, SyncRequest } from "../../sandbox/launch.ts";
import { launch } from "../../sandbox/launch.ts";
import { op, Plan } from "../../sandbox/plan.ts";
import { NO_SLOT, OP, OP_FLAG, SYNC } from "../../sandbox/protocol.ts";
import { NR, type ProcessEnd, sys, throwErrno, waitPid } from "../../specutils/syscall.ts";

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNS = 0x00020000;

/** A sync code that the helper passes on without knowing it: where a test stops to look. */
export const SYNC_TEST = 1000;

/** How long the helper may keep a test waiting for a message. */
const MESSAGE_TIMEOUT_SECONDS = 20;

/** Starts a plan; a helper that falls silent is an error (EAGAIN) and not a test that never ends. */
export function startPlan(plan: Plan): Launch {
  const launched = launch(plan, () => "");
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
  plan.host.push(op(OP.SANDBOX, "sandbox", [record], [], flags), op(OP.CONTAINER, "container", [clone], [], flags));
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
