/**
 * Undoes everything that `create` made and that is written down in the record: processes, cgroup, resctrl group, start
 * socket. Each step accepts that its work is done already, so that it can be repeated after a failure or a SIGKILL.
 */

import { rmdirSync } from "node:fs";
import { constants } from "node:os";
import { isPresent } from "../specutils/process-ref.ts";
import { removeFile } from "../statefile/atomic-file.ts";
import type { ProcessRef, SavedContainer } from "./record.ts";
import { killProcess, signalProcess, waitForEnd } from "./signal-process.ts";

const KILL_TIMEOUT_MS = 10_000;

/** How long a process that was killed may wait for its gofer. */
const ANSWER_TIMEOUT_MS = 1000;

/** How long to wait for the sandbox process after everything that it waits for is gone. */
const SANDBOX_TIMEOUT_MS = 1000;

/** What of a record is needed to undo what it stands for. */
export type Remains = Pick<
  SavedContainer,
  | "id"
  | "sandboxId"
  | "creator"
  | "process"
  | "sandbox"
  | "cgroup"
  | "reservedCgroupDirs"
  | "intelRdtDir"
  | "startSocket"
  | "isolation"
  | "gofer"
>;

/**
 * Kills what runs in the container and removes what it holds. The state file stays, as the sign that there may be more
 * to do.
 *
 * Preconditions: the caller holds the container's lock.
 * @throws ClocheError, SyscallError, UnsupportedError: what cannot be killed or removed
 */
export async function destroyContainer(container: Remains): Promise<void> {
  const { process, cgroup, reservedCgroupDirs, sandbox, gofer, intelRdtDir, startSocket } = container;
  const hasMembers = cgroup !== undefined && cgroup.driver !== "disabled";
  if (process !== undefined) signalProcess(process, constants.signals.SIGKILL);
  // A gofer that does not answer keeps it from dying. Not sooner: its end before the process's would be told as the reason of that.
  if (process !== undefined && gofer !== undefined && !waitForEnd(process, ANSWER_TIMEOUT_MS)) await end(gofer, 0);
  if (hasMembers) {
    // Also thaws what is paused, and kills what a shared pid namespace keeps alive.
    const { killCgroup } = await import("../sandbox/cgroups/members.ts");
    killCgroup(cgroup, constants.signals.SIGKILL);
  }
  if (process !== undefined) killProcess(process, KILL_TIMEOUT_MS);
  if (sandbox !== undefined) endSandbox(container);
  if (gofer !== undefined) await end(gofer);
  if (hasMembers) {
    const { removeCgroup } = await import("../sandbox/cgroups/remove.ts");
    await removeCgroup(cgroup);
  }
  if (reservedCgroupDirs !== undefined) {
    const { removeReserved } = await import("../sandbox/cgroups/reserve.ts");
    removeReserved(reservedCgroupDirs);
  }
  if (intelRdtDir !== undefined) removeDirectory(intelRdtDir);
  if (startSocket !== undefined) removeFile(startSocket);
}

async function end(gofer: ProcessRef, patienceMs?: number): Promise<void> {
  const { endGofer } = await import("./gofer.ts");
  endGofer(gofer, patienceMs);
}

/**
 * The sandbox process is PID 1 of a pid namespace. The kernel ends it only when nobody is left in there, zombies included,
 * and the container process is a zombie until its parent, which is our caller's business, has waited for it. So the wait
 * is for the rest of the cases, and giving up is no failure: the process can do nothing any more. While it is being created
 * it is the creator who has to wait for its processes.
 */
function endSandbox({ sandbox, process, creator }: Remains): void {
  if (sandbox === undefined || !signalProcess(sandbox, constants.signals.SIGKILL)) return;
  const isWaitedFor = [process, creator].some((ref) => ref !== undefined && isPresent(ref));
  if (!isWaitedFor) waitForEnd(sandbox, SANDBOX_TIMEOUT_MS);
}

function removeDirectory(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
