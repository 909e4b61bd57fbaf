/**
 * The FUSE protocol as the kernel speaks it on /dev/fuse: numbers and offsets, nothing else (include/uapi/linux/fuse.h,
 * version 7.45). Structures are little-endian and padded to 8 bytes. Offsets are in bytes from the start of the structure.
 */

export const FUSE_MAJOR = 7;
export const FUSE_MINOR = 45;
/** Of the root of the served tree; its node never goes away. */
export const ROOT_ID = 1;

/** `opcode` of struct fuse_in_header. */
export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  INIT: 26,
  READDIR: 28,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Flags of INIT, the first 32 (FUSE_*). */
export const INIT = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

/** Flags of INIT beyond 32, shifted down (`flags2`). */
export const INIT2 = {
  PASSTHROUGH: 1 << 5,
  NO_EXPORT_SUPPORT: 1 << 6,
  ALLOW_IDMAP: 1 << 8,
  REQUEST_TIMEOUT: 1 << 10,
} as const;

/** `valid` of struct fuse_setattr_in (FATTR_*). */
export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

/** `open_flags` of struct fuse_open_out. */
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_NOFLUSH = 1 << 5;
export const FOPEN_PASSTHROUGH = 1 << 7;

/** `write_flags`: the page cache writes back, the file handle is any that may write. */
export const WRITE_CACHE = 1 << 0;
/** `setxattr_flags`: the set-group-ID bit goes with this change of the access ACL. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0;
/** `fsync_flags`: data only. */
export const FSYNC_FDATASYNC = 1 << 0;

/** struct fuse_in_header: what every request begins with. */
export const IN = { LENGTH: 0, OPCODE: 4, UNIQUE: 8, NODEID: 16, UID: 24, GID: 28, PID: 32, BYTES: 40 } as const;
/** struct fuse_out_header: what every reply begins with. */
export const OUT = { LENGTH: 0, ERROR: 4, UNIQUE: 8, BYTES: 16 } as const;

/** struct fuse_notify_inval_inode_out: node, offset, length; sent with the code in the place of the error, and no request's number. */
export const NOTIFY_INVAL_INODE = { CODE: 2, BYTES: 24 } as const;

/** struct fuse_notify_prune_out: how many nodes, and 64 bits for each behind it (Linux 6.18). */
export const NOTIFY_PRUNE = { CODE: 9, BYTES: 16 } as const;

/** struct fuse_entry_out, of which the last part is a struct fuse_attr. */
export const ENTRY = {
  NODEID: 0,
  GENERATION: 8,
  ENTRY_VALID: 16,
  ATTR_VALID: 24,
  ENTRY_NSEC: 32,
  ATTR_NSEC: 36,
  ATTR: 40,
  BYTES: 128,
} as const;
/** struct fuse_attr_out. */
export const ATTR_OUT = { VALID: 0, NSEC: 8, ATTR: 16, BYTES: 104 } as const;
/** struct fuse_open_out. */
export const OPEN_OUT = { FH: 0, FLAGS: 8, BACKING_ID: 12, BYTES: 16 } as const;
/** struct fuse_dirent; the name follows, padded to 8 bytes. */
export const DIRENT = { INO: 0, OFF: 8, NAME_LENGTH: 16, TYPE: 20, NAME: 24 } as const;
/** struct fuse_statx_out: `stat` is laid out as struct statx is. */
export const STATX_OUT = { VALID: 0, NSEC: 8, FLAGS: 12, STAT: 32, BYTES: 288 } as const;
/** struct fuse_init_out. */
export const INIT_OUT = {
  MAJOR: 0,
  MINOR: 4,
  MAX_READAHEAD: 8,
  FLAGS: 12,
  MAX_BACKGROUND: 16,
  CONGESTION_THRESHOLD: 18,
  MAX_WRITE: 20,
  TIME_GRAN: 24,
  MAX_PAGES: 28,
  FLAGS2: 32,
  MAX_STACK_DEPTH: 36,
  REQUEST_TIMEOUT: 40,
  BYTES: 64,
} as const;

/** _IOW(229, 1, struct fuse_backing_map): makes a backing id of a descriptor, `{ int32 fd, uint32 flags, uint64 padding }`. */
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501;
/** _IOW(229, 2, uint32_t): gives a backing id back. */
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502;
