/** `run`: create and start in one and, unless detached, wait for the end and delete (runc's `run`). */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { ClocheError, messageOf, SyscallError } from "../specutils/errors.ts";
import { forwardSignals } from "../specutils/syscall.ts";
import type { Context } from "./context.ts";
import type { CreateOptions } from "./create.ts";
import { deleteContainer } from "./delete.ts";
import { waitInForeground } from "./foreground.ts";
import { type MadeContainer, makeContainer } from "./make.ts";
import { letRun } from "./start.ts";

export interface RunOptions extends CreateOptions {
  detach: boolean;
  /** Do not delete the container when it has ended. */
  keep: boolean;
}

/**
 * Runs a container.
 *
 * @returns the program's exit code, or 128 plus the signal that ended it; 0 when detached
 * @throws what `create` and `start` throw; a failure leaves nothing behind
 */
export async function runContainer(context: Context, options: RunOptions): Promise<number> {
  const made = await makeContainer(context, options, options.detach ? "run" : "run-attached");
  const { conversation } = made.launched;
  const pid = made.record.process?.pid ?? 0;
  let stopForwarding: () => void = () => undefined;
  try {
    try {
      // Whoever signals us means the program, from its first moment on.
      if (!options.detach) stopForwarding = forward(pid);
      await letRun(context, made.record, conversation, 2);
    } catch (error) {
      await made.undo();
      throw error;
    }
    closeSync(conversation.socket);
    if (options.detach) return 0;
    const code = waitForProgram(made);
    if (!options.keep) {
      // The program's exit code is what the caller has waited for.
      await deleteContainer(context, made.record.id, { force: true, only: made.record }).catch((error) =>
        context.warn(messageOf(error)),
      );
    }
    return code;
  } finally {
    stopForwarding();
  }
}

function waitForProgram({ record, terminalFd }: MadeContainer): number {
  try {
    return waitInForeground(record.process?.pid ?? 0, terminalFd);
  } catch (error) {
    throw new ClocheError(`cannot wait for container ${JSON.stringify(record.id)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Signals of ours go to `pid` from now on; one that has ended already gets none. */
function forward(pid: number): () => void {
  try {
    return forwardSignals(pid);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === constants.errno.ESRCH) return () => undefined;
    throw new ClocheError(`cannot pass signals on to the container: ${messageOf(error)}`, { cause: error });
  }
}
