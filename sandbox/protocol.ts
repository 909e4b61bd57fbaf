/**
 * The numbers that cloche and cloche-init share. The twin is init/protocol.h; protocol.test.ts compares every constant.
 */

export const PLAN_MAGIC = 0x45484c43;
export const PLAN_VERSION = 1;
export const PLAN_MAX_BYTES = 16 << 20;
export const PLAN_MAX_OPS = 16384;
export const PLAN_SLOTS = 2048;
export const NO_SLOT = 0xffffffff;
export const MAX_CGROUP_FDS = 32;

/** Bytes of struct plan_header, struct plan_op and struct message. */
export const HEADER_BYTES = 24;
export const OP_BYTES = 64;
export const MESSAGE_BYTES = 16;

/** enum op_code: what each means is said beside its twin. */
export const OP = {
  OPEN: 1,
  ADOPT: 2,
  OPEN_TREE: 3,
  MOUNT_SETATTR: 4,
  ID_MAP: 5,
  SETNS: 6,
  UNSHARE: 7,
  SYNC: 8,
  SET_IDS: 9,
  SANDBOX: 10,
  CONTAINER: 11,
  WRITE: 12,
  TARGET: 13,
  MOUNT: 14,
  ATTACH: 15,
  CLOSE: 16,
  COPY_UP: 17,
  MKNOD: 18,
  SYMLINK: 19,
  PIVOT: 20,
  MASK: 21,
  READONLY: 22,
  HOSTNAME: 23,
  DOMAINNAME: 24,
  CONSOLE: 25,
  RLIMIT: 26,
  SCHEDULER: 27,
  IO_PRIORITY: 28,
  AFFINITY: 29,
  PERSONALITY: 30,
  KEYRING: 31,
  MEMORY_POLICY: 32,
  LOOPBACK: 33,
  UMASK: 34,
  CHDIR: 35,
  USER: 36,
  BOUNDING: 37,
  CAPABILITIES: 38,
  AMBIENT: 39,
  NO_NEW_PRIVS: 40,
  SECCOMP: 41,
  HOOK: 42,
  FIND_EXECUTABLE: 43,
  WAIT_START: 44,
  EXECUTE: 45,
  COPY_MODE: 46,
  CHECK_NOT_PROC: 47,
  PREPARE_EXECUTE: 48,
  CGROUP: 49,
  ENTER_SANDBOX: 50,
} as const;

/** OP_FLAG_* */
export const OP_FLAG = {
  RECURSIVE: 0x1,
  RETRY: 0x2,
  OPTIONAL: 0x4,
  LISTENER: 0x8,
  NO_SYMLINKS: 0x10,
  REPLACE: 0x20,
  INTERMEDIATE: 0x40,
  BIND_CONSOLE: 0x80,
  CHROOT: 0x100,
  RECONFIGURE: 0x200,
  CONFINED: 0x400,
  VISIBLE: 0x800,
  BY_SANDBOX: 0x1000,
} as const;

/** TARGET_*: what OP.TARGET finds, or makes where nothing is. */
export const TARGET = { DIRECTORY: 0, FILE: 1, LIKE: 2, EXISTING: 3 } as const;

/** enum message_kind */
export const MESSAGE = { SYNC: 1, ERROR: 2, GO: 3, HOOK_FAILED: 4, TELL: 5 } as const;

/** enum sync_code */
export const SYNC = {
  SANDBOX: 1,
  MAPPINGS: 2,
  NAMESPACES: 3,
  CONSOLE: 4,
  HOOK: 5,
  CREATED: 6,
  LISTENER: 7,
  ENVIRONMENT: 8,
  CGROUP: 9,
  HOST: 10,
} as const;
