/** Handing the descriptor of SCMP_ACT_NOTIFY to the agent that answers for it (config-linux.md#containerprocessstate). */
import { closeSync } from "node:fs";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { sendTo } from "../specutils/unix-socket.ts";
import type { SavedContainer } from "./record.ts";
import { hookState } from "./state.ts";

/** Sends `listener` to the container's agent and closes it. @throws ClocheError when there is no agent */
export function sendListener(record: SavedContainer, listener: number): void {
  const { seccompListener, process } = record;
  try {
    if (seccompListener === undefined) throw new ClocheError("there is no listenerPath");
    const state = {
      ociVersion: record.ociVersion,
      fds: ["seccompFd"],
      pid: process?.pid ?? 0,
      metadata: seccompListener.metadata ?? "",
      state: hookState(record),
    };
    sendTo(seccompListener.path, new TextEncoder().encode(JSON.stringify(state)), [listener]);
  } catch (error) {
    throw new ClocheError(`linux.seccomp.listenerPath: cannot send the listener: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    closeSync(listener);
  }
}
