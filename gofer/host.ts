/**
 * System calls of the gofer on files of the host. Files are named by descriptors, and by single names in a directory that is
 * a descriptor; never by a path. What a descriptor opened with O_PATH cannot do by itself is done by its name in
 * /proc/self/fd, which is the working directory. All results are what the call returns, or `-errno`.
 */
import { constants } from "node:os";
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_PATH } from "../specutils/syscall/constants.ts";
import { NR, sys } from "../specutils/syscall.ts";
import { type Arena, AT } from "./arena.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_NO_AUTOMOUNT = 0x800;
/** STATX_BASIC_STATS | STATX_BTIME. */
const STATX_ALL = 0xfff;

const { errno } = constants;
export const { EACCES, EAGAIN, EBADF, EEXIST, EINVAL, EIO, ENAMETOOLONG, ENODATA, ENODEV, ENOENT } = errno;
export const { ENOSYS, EOPNOTSUPP, EPERM, ERANGE, EROFS, ESTALE, EDQUOT, EINTR, ENOTCONN, EXDEV, EMFILE } = errno;

export const O_ACCMODE = 0o3;
export const O_WRONLY = 0o1;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
/** O_DSYNC | __O_SYNC. */
export const O_SYNC = 0o4010000;
export const O_NOATIME = 0o1000000;
/** These three differ between architectures (asm/fcntl.h). */
export const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
export const O_NOFOLLOW = process.arch === "arm64" ? 0o100000 : 0o400000;
export const O_DIRECT = process.arch === "arm64" ? 0o200000 : 0o40000;
/** __O_TMPFILE | O_DIRECTORY. */
export const O_TMPFILE = 0o20000000 | O_DIRECTORY;

/** Bytes of a path or of a symbolic link's text, the NUL included (limits.h). */
export const PATH_MAX = 4096;

/** File types, `mode >> 12`. */
export const TYPE = { fifo: 1, directory: 4, regular: 8, symlink: 10, socket: 12 } as const;

/** struct statx: what is read of it, in bytes. */
export const STAT = {
  MASK: 0,
  BLKSIZE: 4,
  NLINK: 16,
  UID: 20,
  GID: 24,
  MODE: 28,
  INO: 32,
  SIZE: 40,
  BLOCKS: 48,
} as const;
export const STAT_TIME = { ATIME: 64, BTIME: 80, CTIME: 96, MTIME: 112 } as const;
export const STAT_DEV = { RDEV_MAJOR: 128, RDEV_MINOR: 132, MAJOR: 136, MINOR: 140 } as const;

/** Descriptors that no file of the container's gets which it keeps open. */
const RESERVED_FDS = 256;

/** The calls, with the identity in which they are made. */
export class Host {
  readonly arena: Arena;
  /** Puts CAP_FSETID in force, or out of it; confine.ts has it. */
  setFsetid: (isInForce: boolean) => void = () => {};
  #uid = 0;
  #gid = 0;
  #umask = -1;

  readonly #fdLimit: number;

  /** @param fdLimit how many descriptors there can be (RLIMIT_NOFILE) */
  constructor(arena: Arena, fdLimit: number) {
    this.arena = arena;
    this.#fdLimit = fdLimit;
  }

  /** Fills `AT.stat` with what `name`, an address, is in a directory; symbolic links are not followed. */
  statAt(dirFd: number, name: number): number {
    const { base } = this.arena;
    return sys(NR.statx, dirFd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_ALL, base + AT.stat);
  }

  /** Fills `AT.stat` with what a descriptor stands for. */
  stat(fd: number): number {
    const { base } = this.arena;
    return sys(NR.statx, fd, base + AT.empty, AT_EMPTY_PATH, STATX_ALL, base + AT.stat);
  }

  /** A descriptor that stands for a name in a directory, whatever it is, and has opened nothing. */
  openPathAt(dirFd: number, name: number): number {
    return sys(NR.openat, dirFd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  }

  openAt(dirFd: number, name: number, flags: number, mode: number): number {
    return sys(NR.openat, dirFd, name, flags | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, mode);
  }

  openDirectory(fd: number): number {
    return sys(NR.openat, fd, this.arena.base + AT.dot, O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
  }

  /** Opens what a descriptor stands for, a regular file, for reading or writing. */
  reopen(fd: number, flags: number): number {
    return sys(NR.openat, AT_FDCWD, this.#fdName(fd), flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  }

  /**
   * The same, for as long as the container has it open; -EMFILE where that would leave too few descriptors for everything else: the
   * kernel gives the lowest number that is free.
   */
  openHandle(fd: number, flags: number): number {
    const handle = this.reopen(fd, flags);
    if (handle < this.#fdLimit - RESERVED_FDS) return handle;
    this.close(handle);
    return -EMFILE;
  }

  /** Closing cannot fail in a way that matters: nothing of the container's is written back by it. */
  close(fd: number): void {
    sys(NR.close, fd);
  }

  chmod(fd: number, mode: number): number {
    return sys(NR.fchmodat, AT_FDCWD, this.#fdName(fd), mode);
  }

  /** -1 leaves an id as it is. */
  chown(fd: number, uid: number, gid: number): number {
    return sys(NR.fchownat, fd, this.arena.base + AT.empty, uid, gid, AT_EMPTY_PATH);
  }

  truncate(fd: number, size: number | bigint): number {
    return sys(NR.truncate, this.#fdName(fd), size);
  }

  /** Two struct timespec are at `times`, an address. */
  utimens(fd: number, times: number): number {
    return sys(NR.utimensat, fd, this.arena.base + AT.empty, times, AT_EMPTY_PATH);
  }

  /** Gives what a descriptor stands for another name. */
  linkAt(fd: number, dirFd: number, name: number): number {
    return sys(NR.linkat, AT_FDCWD, this.#fdName(fd), dirFd, name, AT_SYMLINK_FOLLOW);
  }

  getXattr(fd: number, name: number, value: number, size: number): number {
    return sys(NR.getxattr, this.#fdName(fd), name, value, size);
  }

  setXattr(fd: number, name: number, value: number, size: number, flags: number): number {
    return sys(NR.setxattr, this.#fdName(fd), name, value, size, flags);
  }

  listXattr(fd: number, list: number, size: number): number {
    return sys(NR.listxattr, this.#fdName(fd), list, size);
  }

  removeXattr(fd: number, name: number): number {
    return sys(NR.removexattr, this.#fdName(fd), name);
  }

  /**
   * What is made from now on belongs to `uid` and `gid`, and gets its permissions less `umask`. The capabilities stay (SECBIT_NO_SETUID_FIXUP,
   * confine.ts), so the host refuses nothing that the kernel has allowed the caller.
   */
  actAs(uid: number, gid: number, umask: number): void {
    if (uid !== this.#uid) {
      sys(NR.setfsuid, uid);
      this.#uid = uid;
    }
    if (gid !== this.#gid) {
      sys(NR.setfsgid, gid);
      this.#gid = gid;
    }
    if (umask !== this.#umask) {
      sys(NR.umask, umask);
      this.#umask = umask;
    }
  }

  /** Whoever has created something last, what comes now is the gofer's doing: a server may judge by the ids (NFS). */
  actAsSelf(): void {
    if (this.#uid !== 0 || this.#gid !== 0) this.actAs(0, 0, this.#umask);
  }

  /**
   * Runs `body` with CAP_FSETID, which is not in force otherwise: without it the host takes set-user-ID and set-group-ID away from
   * a file that is written to, with it the bits stay as the kernel wants them set.
   */
  withFsetid(body: () => number): number {
    this.setFsetid(true);
    const result = body();
    this.setFsetid(false);
    return result;
  }

  /** The name of a descriptor in the working directory, /proc/self/fd. */
  #fdName(fd: number): number {
    return this.arena.putText(AT.fdName, String(fd));
  }
}
