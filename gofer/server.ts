/**
 * The loop of the gofer: takes a request, carries it out, replies. One thread, one request at a time; it returns when the
 * last connection has ended.
 */
import { NR, sys } from "../specutils/syscall.ts";
import { AT } from "./arena.ts";
import { getattr, readlink, setattr, statfs, statx } from "./attributes.ts";
import type { Connections } from "./connections.ts";
import type { Descriptors } from "./descriptors.ts";
import { readdir, readdirplus } from "./directories.ts";
import { copyFileRange, create, fallocate, fsync, lseek, open, read, release, tmpfile, write } from "./files.ts";
import { type Gofer, NO_REPLY, type Operation } from "./gofer.ts";
import { EIO, ENOSYS } from "./host.ts";
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

/** Serves until there are no requests any more. */
export function serve(connections: Connections, descriptors: Descriptors): void {
  connections.run((gofer) => {
    descriptors.trim();
    answer(gofer, gofer.fuseFd);
  });
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
  gofer.host.actAsSelf();
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
