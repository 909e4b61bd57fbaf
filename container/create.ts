/** `create`: makes a container, up to the point where its program would run (runtime.md#create). */
import { closeSync } from "node:fs";
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
  const { launched } = await makeContainer(context, options, "create");
  // The state is saved: from here on the container stays, whatever becomes of this process.
  launched.conversation.go();
  closeSync(launched.conversation.socket);
}
