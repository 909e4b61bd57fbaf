/** Starts a gofer and takes its mount over. */
import { closeSync } from "node:fs";
import { ClocheError } from "../specutils/errors.ts";
import { receiveMessage, socketPair, spawnHelper, waitPid } from "../specutils/syscall.ts";
import { GOFER_CAPABILITIES } from "./confine.ts";
import type { GoferOptions } from "./options.ts";

const CONTROL_FD = 3;
const TREE_FD = 4;
const AUDIT_FD = 5;

export interface RunningGofer {
  pid: number;
  /** The detached mount; the caller's to close. When its last use is gone the gofer ends. */
  mountFd: number;
  /** When nobody holds it any more the gofer ends, and every request to it fails. */
  controlFd: number;
  /** Whether file data goes straight to the host's files. */
  hasPassthrough: boolean;
}

/**
 * Starts a gofer for a tree and waits until it serves: from then on its mount can be id-mapped and mounted.
 *
 * @param program what to execute, and its arguments up to `gofer`: the executable of cloche
 * @param stderrFd where the gofer says why it ended; it says nothing else
 * @param auditFd a file opened to append, for the audit stream: a line of JSON for each event (audit.ts); none unless given
 * @throws SyscallError, ClocheError if it ends before it serves
 */
export function startGofer(
  program: readonly [file: string, ...args: string[]],
  treeFd: number,
  options: Partial<GoferOptions>,
  stderrFd: number,
  auditFd?: number,
): RunningGofer {
  const [ours, theirs] = socketPair();
  const [file, ...args] = program;
  const audit: [number, number][] = auditFd === undefined ? [] : [[AUDIT_FD, auditFd]];
  const given = auditFd === undefined ? options : { ...options, auditFd: AUDIT_FD };
  const flags = ["--control-fd", String(CONTROL_FD), "--tree-fd", String(TREE_FD), "--options", JSON.stringify(given)];
  let pid: number;
  try {
    pid = spawnHelper(
      file,
      ["cloche-gofer", ...args, "gofer", ...flags],
      [],
      [[2, stderrFd], [CONTROL_FD, theirs], [TREE_FD, treeFd], ...audit],
      GOFER_CAPABILITIES,
    );
  } catch (thrown) {
    closeSync(ours);
    throw thrown;
  } finally {
    closeSync(theirs);
  }
  const { data, fds } = receiveMessage(ours, 16);
  const [mountFd] = fds;
  if (mountFd === undefined) {
    closeSync(ours);
    const end = waitPid(pid);
    throw new ClocheError(`cannot start the gofer: it ended with ${end?.exitCode ?? `signal ${end?.signal}`}`);
  }
  return { pid, mountFd, controlFd: ours, hasPassthrough: data[0] === 1 };
}
