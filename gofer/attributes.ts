/** Operations on what a file is: getattr, setattr, statx, statfs, readlink. */
import { idInside } from "../specutils/host-ids.ts";
import { NR, sys } from "../specutils/syscall.ts";
import { AT } from "./arena.ts";
import { field, type Gofer, longField, putAttrValid, REPLY, REQUEST, replyAttr, withNode } from "./gofer.ts";
import { O_WRONLY, PATH_MAX } from "./host.ts";
import { FATTR, STATX_OUT } from "./protocol.ts";

/** struct fuse_setattr_in. */
const SET = { VALID: 0, SIZE: 16, ATIME: 32, MTIME: 40, ATIME_NSEC: 56, MTIME_NSEC: 60, MODE: 68, UID: 76, GID: 80 };
const UTIME_NOW = 0x3fffffff;
const UTIME_OMIT = 0x3ffffffe;
const S_ISGID = 0o2000;
/** What of struct statx describes the file; behind it come fields that a struct fuse_statx has no use for. */
const STATX_COPIED_BYTES = 144;

/** GETATTR: a struct fuse_attr_out of the node, as it is on the host now. */
export function getattr(gofer: Gofer): number {
  return withNode(gofer, (fd, node) => {
    const result = gofer.host.stat(fd);
    return result < 0 ? result : replyAttr(gofer, node);
  });
}

/** STATX: the same as a struct fuse_statx_out, with the time of birth. */
export function statx(gofer: Gofer): number {
  return withNode(gofer, (fd, node) => {
    const result = gofer.host.stat(fd);
    if (result < 0) return result;
    const { arena } = gofer;
    arena.u32.fill(0, REPLY >> 2, (REPLY + STATX_OUT.BYTES) >> 2);
    putAttrValid(gofer, node, (REPLY + STATX_OUT.VALID) >> 2, (REPLY + STATX_OUT.NSEC) >> 2);
    arena.copy(AT.stat, REPLY + STATX_OUT.STAT, STATX_COPIED_BYTES);
    return STATX_OUT.BYTES;
  });
}

/** Size, owner, mode, times, in the order in which none undoes another: changing the owner takes set-user-ID away. */
export function setattr(gofer: Gofer): number {
  return withNode(gofer, (fd, node) => {
    const { host } = gofer;
    const valid = field(gofer, SET.VALID);
    let result = 0;
    if ((valid & FATTR.SIZE) !== 0) result = resize(gofer, fd, valid);
    if (result >= 0 && (valid & (FATTR.UID | FATTR.GID)) !== 0) {
      const uid = (valid & FATTR.UID) !== 0 ? idInside(field(gofer, SET.UID)) : -1;
      const gid = (valid & FATTR.GID) !== 0 ? idInside(field(gofer, SET.GID)) : -1;
      result = host.chown(fd, uid, gid);
    }
    if (result >= 0 && (valid & FATTR.MODE) !== 0) result = chmod(gofer, fd, field(gofer, SET.MODE) & 0o7777);
    if (result >= 0 && (valid & (FATTR.ATIME | FATTR.MTIME)) !== 0) result = setTimes(gofer, fd, valid);
    if (result >= 0) result = host.stat(fd);
    return result < 0 ? result : replyAttr(gofer, node);
  });
}

/** ftruncate(2) moves the times in any case, truncate(2) only if there is another size: the handle says which it was. */
function resize(gofer: Gofer, fd: number, valid: number): number {
  const size = longField(gofer, SET.SIZE);
  if ((valid & FATTR.FH) === 0) return gofer.host.truncate(fd, size);
  const opened = gofer.host.reopen(fd, O_WRONLY);
  if (opened < 0) return opened;
  const result = sys(NR.ftruncate, opened, size);
  gofer.host.close(opened);
  return result;
}

/** The kernel has checked whether the caller may set set-group-ID; the host must not check the gofer instead. */
function chmod({ host }: Gofer, fd: number, mode: number): number {
  if ((mode & S_ISGID) === 0) return host.chmod(fd, mode);
  return host.withFsetid(() => host.chmod(fd, mode));
}

function setTimes(gofer: Gofer, fd: number, valid: number): number {
  const { arena } = gofer;
  const to = AT.scratch >> 2;
  const put = (at: number, seconds: number, nanoseconds: number, isGiven: boolean, isNow: boolean) => {
    arena.copy(REQUEST + seconds, at << 2, 8);
    arena.u32[at + 2] = !isGiven ? UTIME_OMIT : isNow ? UTIME_NOW : field(gofer, nanoseconds);
    arena.u32[at + 3] = 0;
  };
  put(to, SET.ATIME, SET.ATIME_NSEC, (valid & FATTR.ATIME) !== 0, (valid & FATTR.ATIME_NOW) !== 0);
  put(to + 4, SET.MTIME, SET.MTIME_NSEC, (valid & FATTR.MTIME) !== 0, (valid & FATTR.MTIME_NOW) !== 0);
  return gofer.host.utimens(fd, arena.base + AT.scratch);
}

/** READLINK: the text of a symbolic link, PATH_MAX bytes at most (readlinkat(2)). */
export function readlink(gofer: Gofer): number {
  const { base } = gofer.arena;
  return withNode(gofer, (fd) => sys(NR.readlinkat, fd, base + AT.empty, base + REPLY, PATH_MAX));
}

/** struct statfs and struct fuse_kstatfs, in 32-bit words. */
const STATFS = { BSIZE: 2, BLOCKS: 4, NAMELEN: 16, FRSIZE: 18, BYTES: 120 };
const KSTATFS = { BLOCKS: 0, BSIZE: 10, NAMELEN: 11, FRSIZE: 12, BYTES: 80 };

/** STATFS: a struct fuse_kstatfs, of the host's file system, less what a quota leaves (fstatfs(2)). */
export function statfs(gofer: Gofer): number {
  return withNode(gofer, (fd) => {
    const { u32, base } = gofer.arena;
    const result = sys(NR.fstatfs, fd, base + AT.list);
    if (result < 0) return result;
    const from = AT.list >> 2;
    const to = REPLY >> 2;
    u32.fill(0, to, to + (KSTATFS.BYTES >> 2));
    // blocks, bfree, bavail, files and ffree, 64 bits each.
    u32.copyWithin(to + KSTATFS.BLOCKS, from + STATFS.BLOCKS, from + STATFS.BLOCKS + 10);
    u32[to + KSTATFS.BSIZE] = u32[from + STATFS.BSIZE] ?? 0;
    u32[to + KSTATFS.NAMELEN] = u32[from + STATFS.NAMELEN] ?? 0;
    u32[to + KSTATFS.FRSIZE] = u32[from + STATFS.FRSIZE] ?? 0;
    gofer.hooks?.quota?.limitStatfs(gofer);
    return KSTATFS.BYTES;
  });
}
