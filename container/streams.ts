/** What a program gets of the descriptors of whoever called cloche: standard streams, preserved ones, a terminal. */
import { fchownSync, fstatSync } from "node:fs";
import type { IdRange } from "../sandbox/isolation/spec.ts";
import { UsageError } from "../specutils/errors.ts";
import type { Process } from "../specutils/spec.ts";

/**
 * Gives the pipes among our standard streams, which go to the program, to its user, so that it can open /dev/stdout anew, as
 * servers that log to it do. cloche-init does so at level `oci` (own_standard_streams); in a user namespace it has no right to.
 * Files and terminals keep their owners: somebody else uses them after the container.
 */
export function giveStreams(process: Process | undefined, range: IdRange | undefined): void {
  if (process === undefined || range === undefined) return;
  for (let fd = 0; fd < 3; fd++) {
    try {
      if (fstatSync(fd).isFIFO()) fchownSync(fd, range.uid + process.user.uid, range.gid + process.user.gid);
    } catch {
      // Closed by the caller, or on a file system without owners: the program can use what it was given all the same.
    }
  }
}

/** Descriptors that are to be passed on must be there: a gap would be filled with one of ours. */
export function checkPreserved(count: number): void {
  for (let fd = 3; fd < 3 + count; fd++) {
    try {
      fstatSync(fd);
    } catch {
      throw new UsageError(`cannot preserve file descriptor ${fd}: it is not open (see --preserve-fds and LISTEN_FDS)`);
    }
  }
}

/** @throws UsageError when nobody would hold the master end, or a socket is given for nothing */
export function checkTerminal(wanted: boolean, socket: string | undefined, canRelay: boolean): void {
  if (!wanted) {
    if (socket === undefined) return;
    throw new UsageError("cannot use --console-socket: the process has no terminal (process.terminal is not true)");
  }
  if (socket !== undefined) {
    if (!canRelay) return;
    throw new UsageError("cannot use --console-socket: it needs --detach, or `create`");
  }
  if (canRelay) return;
  throw new UsageError("cannot allocate a terminal: process.terminal is true, so --console-socket is required");
}
