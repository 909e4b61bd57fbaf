/**
 * The loop of the gofer: reads a request from /dev/fuse, carries it out, replies. One thread, one request at a time; it returns when
 * the connection has ended or nobody holds the other end of the control socket any more.
 *
 * Waiting: a read that finds nothing is repeated for some microseconds with sched_yield(2) between, and only then poll(2) puts the
 * process to sleep. Waking up on another processor costs more than the whole request; the time is cut when it does not pay.
 */

import { POLLIN } from "../specutils/syscall/constants.ts";
import { NR, poll, sys } from "../specutils/syscall.ts";
import { AT, MAX_TRANSFER } from "./arena.ts";
import { getattr, readlink, setattr, statfs, statx } from "./attributes.ts";
import { readdir, readdirplus } from "./directories.ts";
import { copyFileRange, create, fallocate, fsync, lseek, open, read, release, tmpfile, write } from "./files.ts";
import { type Gofer, NO_REPLY, type Operation } from "./gofer.ts";
import { EAGAIN, EINTR, EIO, ENODEV, ENOENT, ENOSYS } from "./host.ts";
import { batchForget, forget, link, lookup, mkdir, mknod, rename, rename2, rmdir, symlink, unlink } from "./names.ts";
import { IN, OP, OUT } from "./protocol.ts";
import { getxattr, listxattr, removexattr, setxattr } from "./xattrs.ts";

const operations: readonly (Operation | undefined)[] = operationTable();

/** What is not in the table is answered with ENOSYS, which the kernel remembers and does not ask again. */
function operationTable(): (Operation | undefined)[] {
  const table: (Operation | undefined)[] = [];
  table[OP.LOOKUP] = lookup;
  table[OP.FORGET] = forget;
  table[OP.GETATTR] = getattr;
  table[OP.SETATTR] = setattr;
  table[OP.READLINK] = readlink;
  table[OP.SYMLINK] = symlink;
  table[OP.MKNOD] = mknod;
  table[OP.MKDIR] = mkdir;
  table[OP.UNLINK] = unlink;
  table[OP.RMDIR] = rmdir;
  table[OP.RENAME] = rename;
  table[OP.LINK] = link;
  table[OP.OPEN] = open;
  table[OP.READ] = read;
  table[OP.WRITE] = write;
  table[OP.STATFS] = statfs;
  table[OP.RELEASE] = release;
  table[OP.FSYNC] = fsync;
  table[OP.SETXATTR] = setxattr;
  table[OP.GETXATTR] = getxattr;
  table[OP.LISTXATTR] = listxattr;
  table[OP.REMOVEXATTR] = removexattr;
  table[OP.READDIR] = readdir;
  table[OP.FSYNCDIR] = fsync;
  table[OP.CREATE] = create;
  // Every request is answered before the next one is read: there is never anything to interrupt.
  table[OP.INTERRUPT] = () => NO_REPLY;
  table[OP.DESTROY] = () => 0;
  table[OP.BATCH_FORGET] = batchForget;
  table[OP.FALLOCATE] = fallocate;
  table[OP.READDIRPLUS] = readdirplus;
  table[OP.RENAME2] = rename2;
  table[OP.LSEEK] = lseek;
  table[OP.COPY_FILE_RANGE] = copyFileRange;
  table[OP.TMPFILE] = tmpfile;
  table[OP.STATX] = statx;
  table[OP.COPY_FILE_RANGE_64] = copyFileRange;
  return table;
}

/** Milliseconds; the longest time that is spent looking for the next request before sleeping. */
const MAX_SPIN_MS = 0.05;
/** Looking is given up for as many requests as this after it was in vain. */
const IDLE_MS = 500;

export interface ServeOptions {
  fuseFd: number;
  /** Not watched if it is -1 (poll(2)). */
  controlFd: number;
  /** Called once when nothing has happened for half a second, until something does. */
  onIdle(): void;
}

/** Serves until the connection ends or the control socket closes. */
export function serve(gofer: Gofer, { fuseFd, controlFd, onIdle }: ServeOptions): void {
  const { arena, nodes } = gofer;
  const request = arena.base + AT.request;
  const size = MAX_TRANSFER + 4096;
  const waiting = [
    { fd: fuseFd, events: POLLIN },
    { fd: controlFd, events: POLLIN },
  ];
  let spinMs = MAX_SPIN_MS;
  let isTrimmed = false;
  for (;;) {
    let length = sys(NR.read, fuseFd, request, size);
    if (length === -EAGAIN && spinMs > 0) {
      const until = performance.now() + spinMs;
      do {
        sys(NR.sched_yield);
        length = sys(NR.read, fuseFd, request, size);
      } while (length === -EAGAIN && performance.now() < until);
      spinMs = length === -EAGAIN ? spinMs / 2 : Math.min(MAX_SPIN_MS, spinMs * 2);
      if (spinMs < MAX_SPIN_MS / 64) spinMs = 0;
    }
    if (length === -EAGAIN) {
      gofer.hooks?.rest();
      const [, control = 0] = poll(waiting, isTrimmed ? -1 : IDLE_MS);
      // Nothing is ever sent to a gofer: whatever happens on the control socket is its end.
      if (control !== 0) return;
      length = sys(NR.read, fuseFd, request, size);
      if (length === -EAGAIN) {
        if (!isTrimmed) onIdle();
        isTrimmed = true;
        continue;
      }
      // Slept for nothing much: perhaps the next one comes at once.
      if (spinMs === 0) spinMs = MAX_SPIN_MS / 16;
    }
    if (length > 0) {
      isTrimmed = false;
      nodes.trim();
      answer(gofer, fuseFd);
    } else if (length === -ENODEV) {
      return;
    } else if (length !== -EINTR && length !== -ENOENT && length !== -EAGAIN) {
      return;
    }
  }
}

/** Carries out the request in the arena and sends the reply. */
export function answer(gofer: Gofer, fuseFd: number): void {
  const { u32 } = gofer.arena;
  const opcode = u32[(AT.request + IN.OPCODE) >> 2] ?? 0;
  const operation = operations[opcode];
  const result = operation === undefined ? -ENOSYS : attempt(gofer, opcode, operation);
  if (result !== NO_REPLY) reply(gofer, fuseFd, result);
}

/** A mistake of ours costs one request, not the container. */
function attempt(gofer: Gofer, opcode: number, operation: Operation): number {
  try {
    return gofer.hooks === undefined ? operation(gofer) : gofer.hooks.run(gofer, opcode, operation);
  } catch {
    return -EIO;
  }
}

/** Sends a reply: its payload's length, which is in place, or -errno. */
export function reply({ arena }: Gofer, fuseFd: number, result: number): void {
  const { u32, i32 } = arena;
  const to = AT.reply >> 2;
  const length = OUT.BYTES + Math.max(0, result);
  u32[to] = length;
  i32[to + 1] = Math.min(0, result);
  u32[to + 2] = u32[(AT.request + IN.UNIQUE) >> 2] ?? 0;
  u32[to + 3] = u32[((AT.request + IN.UNIQUE) >> 2) + 1] ?? 0;
  // ENOENT: whoever asked was killed meanwhile. Anything else ends the loop with the next read.
  sys(NR.write, fuseFd, arena.base + AT.reply, length);
}
