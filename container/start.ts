/** `start`: lets a created container's program run (runtime.md#start). */
import { closeSync } from "node:fs";
import { Conversation, checkExecuted } from "../sandbox/launch.ts";
import { type Op, op } from "../sandbox/plan.ts";
import { OP, SYNC } from "../sandbox/protocol.ts";
import { ClocheError, HelperError, messageOf, NotFoundError } from "../specutils/errors.ts";
import type { ProcessRef } from "../specutils/process-ref.ts";
import { connectTo, SOCK } from "../specutils/unix-socket.ts";
import { removeFile } from "../statefile/atomic-file.ts";
import type { Context } from "./context.ts";
import { timestamp } from "./exit-record.ts";
import { HookTurns } from "./hook-files.ts";
import { HookFailure, runHooks } from "./hooks.ts";
import type { SavedContainer } from "./record.ts";
import { containerHookState, hookState } from "./state.ts";
import { checkAllowed, refusal } from "./status.ts";
import { withContainer } from "./store.ts";

/**
 * Starts a container. The first caller takes the start socket, so of several at once one wins. startContainer hooks run
 * without the lock, in the container; poststart hooks after its program has begun.
 *
 * @throws NotFoundError, StatusError; ClocheError when the program cannot be run, and the container has stopped then;
 *   HookFailure when a hook fails, and the container is gone then (runtime.md#lifecycle)
 */
export async function startContainer(context: Context, id: string): Promise<void> {
  const { record, socket } = await withContainer(context.root, id, (current, save) => {
    checkAllowed("start", current);
    const { startSocket } = current;
    if (startSocket === undefined) throw refusal("start", current);
    delete current.startSocket;
    // Nothing but the program comes now: it runs, or its process ends, which is found out by whoever looks.
    if (current.hasStartSteps !== true) {
      current.status = "running";
      current.startedAt = timestamp();
    }
    // Before the container process hears of it, which ends when it is left alone after that.
    const saved = save.prepare();
    try {
      const taken = takeStartSocket(current, startSocket);
      saved.commit();
      return { socket: taken, record: { ...current } };
    } catch (error) {
      saved.discard();
      throw error;
    }
  });
  try {
    await letRun(context, record, new Conversation(socket, describeOp), 1);
  } catch (error) {
    if (error instanceof HookFailure) {
      const { deleteContainer } = await import("./delete.ts");
      await deleteContainer(context, record.id, { force: true, only: record });
    }
    throw error;
  } finally {
    closeSync(socket);
  }
}

/** Connects to the container process and makes sure that nobody else does. */
function takeStartSocket(record: SavedContainer, startSocket: string): number {
  try {
    const socket = connectTo(startSocket, SOCK.SEQPACKET);
    // Not before: a start that got nowhere can be tried again.
    removeFile(startSocket);
    return socket;
  } catch (error) {
    throw startFailure(ClocheError, record, messageOf(error), error);
  }
}

/**
 * Lets the container process go on, answers it until it has become its program, writes that down, and runs the poststart
 * hooks.
 *
 * @param waits how often it waits for our go by now: for that to start, and before that for the one after its creation
 * @throws HookFailure, after which the container has to be destroyed; ClocheError when the program cannot be run
 */
export async function letRun(
  context: Context,
  record: SavedContainer,
  conversation: Conversation,
  waits: 1 | 2,
): Promise<void> {
  const hooks = new HookTurns();
  const at = timestamp();
  try {
    for (let go = 0; go < waits; go++) conversation.go();
    await conversation.answer(
      {
        [SYNC.HOOK]: () => hooks.next(containerHookState(record)),
        [SYNC.LISTENER]: async ({ fds: [listener] }) => {
          const { sendListener } = await import("./seccomp-listener.ts");
          if (listener !== undefined) sendListener(record, listener);
          return undefined;
        },
      },
      undefined,
      () => hooks.output(),
    );
    if (record.process !== undefined) checkProgram(context, record.process);
  } catch (error) {
    if (isHookFailure(error)) throw startFailure(HookFailure, record, messageOf(error), error);
    await noteFailure(context, record, messageOf(error));
    throw startFailure(ClocheError, record, messageOf(error), error);
  } finally {
    hooks.close();
  }
  if (record.status !== "running") await markRunning(context, record, at);
  if (record.sandboxId !== record.id) {
    const { adjustSandboxScore } = await import("./oom-score.ts");
    await adjustSandboxScore(context, record.sandboxId);
  }
  try {
    runHooks("poststart", record.hooks?.poststart, hookState({ ...record, status: "running" }));
  } catch (error) {
    throw startFailure(HookFailure, record, messageOf(error), error);
  }
}

/** @throws HelperError if it is sure that the program was not executed */
function checkProgram(context: Context, process: ProcessRef): void {
  try {
    checkExecuted(process);
  } catch (error) {
    if (error instanceof HelperError) throw error;
    context.warn(`cannot look whether the program was executed: ${messageOf(error)}`);
  }
}

function startFailure(type: typeof ClocheError, { id }: SavedContainer, reason: string, cause: unknown): ClocheError {
  return new type(`cannot start container ${JSON.stringify(id)}: ${reason}`, { cause });
}

function isHookFailure(error: unknown): boolean {
  return error instanceof HelperError && error.stage.startsWith("hooks.");
}

/**
 * A program that has ended by now has been running all the same; one that was deleted meanwhile is nobody's concern. That it runs is found out
 * by whoever looks: if it cannot be saved, it runs all the same.
 */
async function markRunning(context: Context, started: SavedContainer, at: string): Promise<void> {
  try {
    await withContainer(
      context.root,
      started.id,
      (record) => {
        if (record.status === "created") record.status = "running";
        if (record.pausedFrom === "created") record.pausedFrom = "running";
        record.startedAt = at;
      },
      { exact: true, only: started },
    );
  } catch (error) {
    if (!(error instanceof NotFoundError)) context.warn(`cannot save that the container runs: ${messageOf(error)}`);
  }
}

/** For `state`: the container process has ended, or is about to. That it cannot be saved takes nothing away from the reason. */
async function noteFailure(context: Context, started: SavedContainer, reason: string): Promise<void> {
  const note = (record: SavedContainer) => {
    record.startFailure = reason;
  };
  const options = { exact: true, only: started };
  await withContainer(context.root, started.id, note, options).catch((error) => context.debug(messageOf(error)));
}

/** The words for what can fail after `start`, which does not have the plan. */
const WORDS: { [code: number]: string } = {
  [OP.HOOK]: "hooks.startContainer",
  [OP.RLIMIT]: "process.rlimits",
  [OP.SECCOMP]: "linux.seccomp: load the filter",
  [OP.CAPABILITIES]: "process.capabilities",
  [OP.EXECUTE]: "exec",
  [OP.WAIT_START]: "process",
};

function describeOp(_index: number, code: number): Op {
  return op(code, WORDS[code] ?? "start the program");
}
