/** Operations on regular files: open, create, read, write, release, fsync, fallocate, lseek, copy_file_range. */
import { NR, sys } from "../specutils/syscall.ts";
import { AT, MAX_TRANSFER } from "./arena.ts";
import {
  actAsCaller,
  addressIn,
  expireAttributes,
  field,
  type Gofer,
  longField,
  nodeOf,
  putEntry,
  REPLY,
  REQUEST,
  withName,
  withNode,
} from "./gofer.ts";
import {
  EEXIST,
  EINVAL,
  ENOSYS,
  ESTALE,
  O_ACCMODE,
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_NOATIME,
  O_RDWR,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  TYPE,
} from "./host.ts";
import {
  ENTRY,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PASSTHROUGH,
  FSYNC_FDATASYNC,
  OPEN_OUT,
  WRITE_CACHE,
} from "./protocol.ts";

const S_ISGID = 0o2000;
/** pwritev2(2): write where asked, although the file was opened to append (Linux 6.9). */
const RWF_NOAPPEND = 0x20;

/** What of an opener's flags concerns the host. O_DIRECT is left out: the gofer's buffers are not aligned for it. */
const HOST_FLAGS = O_ACCMODE | O_APPEND | O_SYNC | O_NOATIME;

/** OPEN: a regular file, with what of the flags concerns the host. The kernel has checked who may (`default_permissions`). */
export function open(gofer: Gofer): number {
  const flags = field(gofer, 0);
  return withNode(gofer, (fd, node) => {
    // Opening a FIFO or a device would block, or do something: the kernel opens those itself and does not ask.
    if (gofer.nodes.types[node] !== TYPE.regular) return -EINVAL;
    if ((flags & O_TRUNC) !== 0) {
      const result = empty(gofer, fd, flags);
      if (result < 0) return result;
    }
    return replyOpen(gofer, REPLY, node, fd, flags);
  });
}

/** What O_TRUNC does, and by it: truncate(2) leaves the times of an empty file alone on some file systems. */
function empty({ host }: Gofer, fd: number, flags: number): number {
  const opened = host.reopen(fd, (flags & O_ACCMODE) | O_TRUNC);
  if (opened >= 0) host.close(opened);
  return opened;
}

/** A struct fuse_open_out: passed through, or with a descriptor of the gofer's as the file handle. */
function replyOpen(gofer: Gofer, at: number, node: number, fd: number, flags: number): number {
  const { arena, passthrough, nodes, host } = gofer;
  let backing = 0;
  if (passthrough.isEnabled) {
    backing = passthrough.open(nodes, node, fd);
    if (backing <= 0 && passthrough.isEnabled) return backing;
  }
  const to = at >> 2;
  arena.u32[to + 1] = 0;
  if (backing > 0) {
    arena.u32[to] = 0;
    arena.u32[to + 2] = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH;
    arena.i32[to + 3] = backing;
    return OPEN_OUT.BYTES;
  }
  const handle = host.openHandle(fd, flags & HOST_FLAGS);
  if (handle < 0) return handle;
  gofer.handles.add(handle);
  arena.u32[to] = handle;
  // Below its cache the kernel cuts what is written at the ends of pages: of two that append, lines would come mixed.
  const isLog = (flags & (O_ACCMODE | O_APPEND)) === (O_WRONLY | O_APPEND);
  arena.u32[to + 2] = FOPEN_NOFLUSH | (isLog ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE);
  arena.i32[to + 3] = 0;
  return OPEN_OUT.BYTES;
}

/** struct fuse_create_in. */
const CREATE = { FLAGS: 0, MODE: 4, UMASK: 8, BYTES: 16 };

/**
 * The new file is opened for reading only, whatever the caller wants: the descriptor becomes the node's, and one that may write
 * would keep the file from being executed.
 */
export function create(gofer: Gofer): number {
  const flags = field(gofer, CREATE.FLAGS);
  const { host, nodes } = gofer;
  return withName(gofer, CREATE.BYTES, (parentFd, address, name, parent) => {
    const fd = make(gofer, (mode) => host.openAt(parentFd, address, O_CREAT | O_EXCL, mode));
    if (fd >= 0) return replyCreated(gofer, fd, flags, () => nodes.seen(parent, name));
    // The host has made it since the kernel looked. The kernel, which does not ask whether somebody may open what it creates, looks again.
    return fd === -EEXIST && (flags & O_EXCL) === 0 ? -ESTALE : fd;
  });
}

/** A file without a name, that may be given one (link). It has to be opened for writing at first: open(2) demands it. */
export function tmpfile(gofer: Gofer): number {
  const flags = field(gofer, CREATE.FLAGS);
  const { host, nodes, arena } = gofer;
  return withNode(gofer, (parentFd) => {
    const dot = arena.base + AT.dot;
    const isExclusive = flags & O_EXCL;
    const writable = make(gofer, (mode) => host.openAt(parentFd, dot, O_TMPFILE | O_RDWR | isExclusive, mode));
    if (writable < 0) return writable;
    const fd = host.reopen(writable, 0);
    host.close(writable);
    if (fd < 0) return fd;
    return replyCreated(gofer, fd, flags, () => {
      const node = nodes.seen(0, "");
      nodes.keep(node, fd);
      nodes.pin(node);
      return node;
    });
  });
}

function make(gofer: Gofer, call: (mode: number) => number): number {
  const mode = field(gofer, CREATE.MODE) & 0o7777;
  actAsCaller(gofer, field(gofer, CREATE.UMASK));
  const result = (mode & S_ISGID) === 0 ? call(mode) : gofer.host.withFsetid(() => call(mode));
  gofer.host.actAsSelf();
  return result;
}

/** struct fuse_entry_out, then struct fuse_open_out. Takes `fd` over. */
function replyCreated(gofer: Gofer, fd: number, flags: number, nodeOfStat: () => number): number {
  const { host, nodes } = gofer;
  const looked = host.stat(fd);
  const isRegular = ((gofer.arena.u32[(AT.stat + 28) >> 2] ?? 0) & 0xf000) >> 12 === TYPE.regular;
  if (looked < 0 || !isRegular) {
    host.close(fd);
    return looked < 0 ? looked : -ESTALE;
  }
  const node = nodeOfStat();
  putEntry(gofer, REPLY, node);
  if (nodes.fds[node] !== fd) nodes.keep(node, fd);
  const result = replyOpen(gofer, REPLY + ENTRY.BYTES, node, nodes.fd(node), flags);
  if (result >= 0) return ENTRY.BYTES + result;
  nodes.forget(node, 1);
  return result;
}

/** struct fuse_release_in. */
export function release(gofer: Gofer): number {
  const handle = field(gofer, 0);
  if (handle === 0) gofer.passthrough.close(gofer.nodes, nodeOf(gofer));
  else if (gofer.handles.delete(handle)) gofer.host.close(handle);
  return 0;
}

/** struct fuse_read_in; only for files that are not passed through, as with `write`. */
export function read(gofer: Gofer): number {
  const { base } = gofer.arena;
  const size = Math.min(field(gofer, 16), MAX_TRANSFER);
  return sys(NR.pread64, field(gofer, 0), base + REPLY, size, longField(gofer, 8));
}

/** struct fuse_write_in, which the data follows. */
const WRITE_IN_BYTES = 40;

/** WRITE: a struct fuse_write_out with how many bytes were written (pwrite64(2)). */
export function write(gofer: Gofer): number {
  const { arena } = gofer;
  const handle = field(gofer, 0);
  const size = Math.min(field(gofer, 16), MAX_TRANSFER);
  const data = addressIn(gofer, WRITE_IN_BYTES);
  const isWriteback = (field(gofer, 20) & WRITE_CACHE) !== 0;
  const written = isWriteback
    ? writeInPlace(gofer, handle, data, size)
    : sys(NR.pwrite64, handle, data, size, longField(gofer, 8));
  if (written < 0) return written;
  arena.u32[REPLY >> 2] = written;
  arena.u32[(REPLY >> 2) + 1] = 0;
  return 8;
}

/** What the page cache writes back comes with any handle of the file, also with one that appends. */
function writeInPlace(gofer: Gofer, handle: number, data: number, size: number): number {
  const { arena } = gofer;
  arena.setU64(AT.scratch, data);
  arena.setU64(AT.scratch + 8, size);
  const offset = longField(gofer, 8);
  const written = sys(NR.pwritev2, handle, arena.base + AT.scratch, 1, offset, 0, RWF_NOAPPEND);
  return written === -95 ? sys(NR.pwrite64, handle, data, size, offset) : written;
}

/** Runs `body` with the request's file opened: its handle, or one for the moment. */
function withOpened(gofer: Gofer, node: number, handle: number, flags: number, body: (fd: number) => number): number {
  if (handle !== 0) return body(handle);
  const path = gofer.nodes.fd(node);
  if (path < 0) return path;
  const fd = gofer.host.reopen(path, flags);
  if (fd < 0) return fd;
  const result = body(fd);
  gofer.host.close(fd);
  return result;
}

/** struct fuse_fsync_in. Directories have no handles and are opened for the moment. */
export function fsync(gofer: Gofer): number {
  const call = (field(gofer, 8) & FSYNC_FDATASYNC) !== 0 ? NR.fdatasync : NR.fsync;
  const handle = gofer.nodes.types[nodeOf(gofer)] === TYPE.directory ? 0 : field(gofer, 0);
  return withOpened(gofer, nodeOf(gofer), handle, 0, (fd) => sys(call, fd));
}

/** struct fuse_fallocate_in. */
export function fallocate(gofer: Gofer): number {
  const node = nodeOf(gofer);
  const result = withOpened(gofer, node, field(gofer, 0), O_WRONLY, (fd) =>
    sys(NR.fallocate, fd, field(gofer, 24), longField(gofer, 8), longField(gofer, 16)),
  );
  // Also one that fails can have taken set-user-ID away, which the kernel does not expect.
  if (result < 0) expireAttributes(gofer, node);
  return result;
}

/** struct fuse_lseek_in: SEEK_DATA and SEEK_HOLE, the kernel does the others. */
export function lseek(gofer: Gofer): number {
  return withOpened(gofer, nodeOf(gofer), field(gofer, 0), 0, (fd) => {
    const result = sys(NR.lseek, fd, longField(gofer, 8), field(gofer, 16));
    if (result < 0) return result;
    gofer.arena.setU64(REPLY, result);
    return 8;
  });
}

/** The host copies as much as it is asked to, without a pause, and nobody else is served meanwhile. Callers ask again for the rest. */
export const MAX_COPY = 16 << 20;

/** struct fuse_copy_file_range_in. */
const COPY = { FH_IN: 0, OFF_IN: 8, NODE_OUT: 16, FH_OUT: 24, OFF_OUT: 32, LENGTH: 40 };

/** COPY_FILE_RANGE: how many bytes were copied, {@link MAX_COPY} at most (copy_file_range(2)). */
export function copyFileRange(gofer: Gofer): number {
  const { arena, passthrough } = gofer;
  // Where the kernel can copy by itself, what it takes is the caller's, and in the limits of its cgroup.
  if (passthrough.isEnabled) return -ENOSYS;
  return withOpened(gofer, nodeOf(gofer), field(gofer, COPY.FH_IN), 0, (from) =>
    withOpened(gofer, field(gofer, COPY.NODE_OUT), field(gofer, COPY.FH_OUT), O_WRONLY, (to) => {
      arena.copy(REQUEST + COPY.OFF_IN, AT.scratch, 8);
      arena.copy(REQUEST + COPY.OFF_OUT, AT.scratch + 8, 8);
      const offsets = arena.base + AT.scratch;
      const length = Math.min(Number(longField(gofer, COPY.LENGTH)), MAX_COPY);
      const copied = sys(NR.copy_file_range, from, offsets, to, offsets + 8, length, 0);
      if (copied < 0) return copied;
      // What was read from has another access time now, which the kernel does not expect.
      expireAttributes(gofer, nodeOf(gofer));
      // The older form of the reply has 32 bits, and as many of padding: one layout serves both.
      arena.setU64(REPLY, copied);
      return 8;
    }),
  );
}
