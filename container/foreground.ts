/** Standing in for a program that runs in the foreground: `run` and `exec`. */

import { closeSync } from "node:fs";
import { reapEnded, waitForChild } from "../sandbox/children.ts";
import { pidfdOpen } from "../specutils/syscall.ts";
import { relayTerminal } from "./console.ts";

/** Waits for our child `pid`, relaying its terminal if that is ours, and returns the exit code that a shell would show. */
export function waitInForeground(pid: number, terminalFd: number | undefined): number {
  if (terminalFd !== undefined) {
    const pidfd = pidfdOpen(pid);
    try {
      relayTerminal(terminalFd, pidfd);
    } finally {
      closeSync(pidfd);
      closeSync(terminalFd);
    }
  }
  const end = waitForChild(pid);
  reapEnded();
  return end?.exitCode ?? 128 + (end?.signal ?? 0);
}
