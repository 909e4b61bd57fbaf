/** inotify(7): being told by the kernel that a file has changed, instead of looking again and again. */

import { closeSync } from "node:fs";
import { constants } from "node:os";
import { NR, sys, throwErrno } from "./syscall.ts";

/** IN_* of inotify(7): what is to be told of. */
export const IN = {
  /** It was written to. */
  MODIFY: 0x2,
  /** Its attributes have changed, its number of links among them: also when another file was renamed over it. */
  ATTRIB: 0x4,
  /** Another file has got a name in the directory by rename(2). */
  MOVED_TO: 0x80,
  /** Its last link is gone, and nobody has it open. */
  DELETE_SELF: 0x400,
} as const;

/** O_NONBLOCK | O_CLOEXEC, under the names that eventfd2(2) and inotify_init1(2) give them. */
export const O_NONBLOCK_CLOEXEC = 0o2004000;

/** Room for some struct inotify_event; an eventfd gives 8 bytes. */
const EVENT_BYTES = 4096;

/** A set of watched files. Which of them has changed is not kept: who is told looks at what it cares about. */
export class Inotify {
  /** Readable, in the sense of poll(2), when something has changed. */
  readonly fd: number;

  /** @throws SyscallError, with EMFILE when the user has too many of them (fs.inotify.max_user_instances) */
  constructor() {
    this.fd = throwErrno("inotify_init1", "", sys(NR.inotify_init1, O_NONBLOCK_CLOEXEC));
  }

  /**
   * Watches what `file` names now. Watching the same file again changes nothing; one that is gone is forgotten.
   *
   * @returns whether there is such a file
   * @throws SyscallError
   */
  watch(file: string, mask: number): boolean {
    const result = sys(NR.inotify_add_watch, this.fd, file, mask);
    if (result === -constants.errno.ENOENT) return false;
    throwErrno("inotify_add_watch", file, result);
    return true;
  }

  /** Takes what was told so far. Returns whether it was anything. Does not block. */
  take(): boolean {
    return drain(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Reads what there is to read from a descriptor that does not block. Returns whether there was anything. */
export function drain(fd: number): boolean {
  const buffer = new Uint8Array(new ArrayBuffer(EVENT_BYTES));
  let isAny = false;
  while (sys(NR.read, fd, buffer, buffer.length) > 0) isAny = true;
  return isAny;
}
