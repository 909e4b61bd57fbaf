/** `create`: makes a container, up to the point where its program would run (runtime.md#create). */
import { closeSync } from "node:fs";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import type { Context } from "./context.ts";
import { makeContainer } from "./make.ts";

export interface CreateOptions {
  id: string;
  /** Absolute. */
  bundle: string;
  pidFile?: string;
  consoleSocket?: string;
  noPivot: boolean;
  noNewKeyring: boolean;
  /** Descriptors from 3 on that the program gets at the same numbers, beyond those that LISTEN_FDS announces. */
  preserveFds: number;
}

/**
 * Creates a container and leaves it waiting for `start`.
 *
 * @throws UsageError, SpecError, UnsupportedError, ExistsError, HelperError and others; a failure leaves nothing behind
 */
export async function createContainer(context: Context, options: CreateOptions): Promise<void> {
  const { launched, undo } = await makeContainer(context, options, "create");
  try {
    launched.conversation.go();
  } catch (error) {
    await undo();
    throw new ClocheError(`cannot create container ${JSON.stringify(options.id)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  // From here on the container stays, whatever becomes of this process.
  closeSync(launched.conversation.socket);
}
