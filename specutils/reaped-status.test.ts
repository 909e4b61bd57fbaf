import { expect, test } from "bun:test";
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { reapedStatus } from "./reaped-status.ts";
import { kill, pidfdOpen, spawnHelper, waitPid } from "./syscall.ts";

/** What the kernel says before and after the process is waited for. */
function statuses(script: string, signal?: number): (number | undefined)[] {
  const pid = spawnHelper("/bin/sh", ["sh", "-c", script], [], []);
  const pidfd = pidfdOpen(pid);
  const before = reapedStatus(pidfd);
  if (signal !== undefined) kill(pid, signal);
  waitPid(pid);
  const after = reapedStatus(pidfd);
  closeSync(pidfd);
  return [before, after];
}

/** Before Linux 6.15 it says nothing. */
const isKnown = statuses("exit 0")[1] !== undefined;

test.skipIf(!isKnown)("the status of a process that was waited for, not before", () => {
  expect(statuses("exit 6")).toEqual([undefined, 6 << 8]);
  expect(statuses("sleep 100", constants.signals.SIGTERM)).toEqual([undefined, constants.signals.SIGTERM]);
});
