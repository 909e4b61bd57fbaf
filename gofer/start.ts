/** Starts a gofer and takes its mounts over. */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { ClocheError, SyscallError } from "../specutils/errors.ts";
import { receiveMessage, sendMessage, socketPair, spawnHelper, waitPid } from "../specutils/syscall.ts";
import { GOFER_CAPABILITIES } from "./confine.ts";
import type { GoferOptions } from "./options.ts";
import { goferFilter } from "./seccomp.ts";

/** Of the socket, when the gofer has ended. */
const GONE: readonly number[] = [constants.errno.EPIPE, constants.errno.ECONNRESET];

const CONTROL_FD = 3;
const FIRST_TREE_FD = 4;

/** How many trees one gofer serves; a child gets no more than 64 descriptors from us. */
export const MAX_TREES = 48;

/** What is executed, and its arguments up to `gofer`: the executable of cloche. */
type Program = readonly [file: string, ...args: string[]];

export interface RunningGofer {
  pid: number;
  /** The detached mounts in the order of the trees; the caller's to close. When the last use of all is gone the gofer ends. */
  mountFds: number[];
}

/**
 * Starts a gofer for trees, {@link MAX_TREES} at most, and waits until it serves: from then on its mounts can be id-mapped and
 * mounted.
 *
 * @param stderrFd where the gofer says why it ended; it says nothing else
 * @param auditFd a file opened to append, for the audit stream: a line of JSON for each event (audit.ts); none unless given
 * @param filter of the system calls that it may make
 * @throws SyscallError, ClocheError if it ends before it serves
 */
export function startGofer(
  program: Program,
  treeFds: readonly number[],
  options: Partial<GoferOptions>,
  stderrFd: number,
  { auditFd, filter = goferFilter() }: { auditFd?: number | undefined; filter?: Uint8Array } = {},
): RunningGofer {
  const [ours, theirs] = socketPair();
  const [file, ...args] = program;
  const trees = treeFds.map((fd, index): [number, number] => [FIRST_TREE_FD + index, fd]);
  const ownAuditFd = FIRST_TREE_FD + treeFds.length;
  const audit: [number, number][] = auditFd === undefined ? [] : [[ownAuditFd, auditFd]];
  const given = auditFd === undefined ? options : { ...options, auditFd: ownAuditFd };
  const flags = ["--control-fd", String(CONTROL_FD), "--tree-fd", String(FIRST_TREE_FD)];
  let pid: number;
  try {
    pid = spawnHelper(
      file,
      ["cloche-gofer", ...args, "gofer", ...flags, "--options", JSON.stringify(given)],
      [],
      [[2, stderrFd], [CONTROL_FD, theirs], ...trees, ...audit],
      GOFER_CAPABILITIES,
    );
  } catch (thrown) {
    closeSync(ours);
    throw thrown;
  } finally {
    closeSync(theirs);
  }
  const mountFds = converse(ours, filter);
  closeSync(ours);
  if (mountFds.length !== treeFds.length) {
    for (const fd of mountFds) closeSync(fd);
    const end = waitPid(pid);
    throw new ClocheError(`cannot start the gofer: it ended with ${end?.exitCode ?? `signal ${end?.signal}`}`);
  }
  return { pid, mountFds };
}

/** Gives the gofer its filter, and gets its mounts; none if it has ended. */
function converse(socket: number, filter: Uint8Array): number[] {
  try {
    sendMessage(socket, filter);
    return receiveMessage(socket, 1).fds;
  } catch (error) {
    if (error instanceof SyscallError && GONE.includes(error.errno)) return [];
    throw error;
  }
}
