/*
 * The plan that cloche (TypeScript) hands to cloche-init, and the messages the two exchange while it is carried out.
 *
 * The twin of this file is sandbox/protocol.ts; sandbox/protocol.test.ts compares every constant. A plan lives in a
 * sealed memfd, so it cannot change once validated. Layout: struct plan_header, header.op_count struct plan_op, then the
 * string area. All integers are host-endian: both sides run on one machine and come from one build.
 */
#ifndef CLOCHE_PROTOCOL_H
#define CLOCHE_PROTOCOL_H

#include <stdint.h>

#define PLAN_MAGIC 0x45484c43u /* "CLHE" */
#define PLAN_VERSION 1u
#define PLAN_MAX_BYTES (16u << 20)
#define PLAN_MAX_OPS 16384u
#define PLAN_SLOTS 2048u
#define NO_SLOT 0xffffffffu

struct plan_header {
  uint32_t magic;
  uint32_t version;
  uint32_t total_bytes;
  uint32_t op_count;
  uint32_t strings_bytes;
  uint32_t container_first; /* ops before this index are carried out by the host stage, from it on by the container stage */
};

/* A string of the plan: `length` bytes at `offset` of the string area, followed by a NUL that is not counted. */
struct plan_string {
  uint32_t offset;
  uint32_t length;
};

struct plan_op {
  uint32_t code;
  uint32_t flags;
  uint64_t arg[4];
  struct plan_string text[3];
};

_Static_assert(sizeof(struct plan_header) == 24, "HEADER_BYTES");
_Static_assert(sizeof(struct plan_op) == 64, "OP_BYTES");

/* "slot": index into the helper's table of file descriptors. Lists are strings, a NUL behind each, with their count in an arg. */
enum op_code {
  OP_OPEN = 1,         /* a0 slot, a1 open flags, t0 path; a2 directory slot or NO_SLOT */
  OP_ADOPT = 2,        /* a0 slot, a1 number of an inherited descriptor */
  OP_OPEN_TREE = 3,    /* a0 slot, a1 flags (AT_RECURSIVE), t0 path on the host: a detached copy of the mount */
  OP_MOUNT_SETATTR = 4,/* a0 slot, or NO_SLOT with t0 path; a1 set, a2 clear, a3 propagation | user namespace slot+1 << 32 */
  OP_ID_MAP = 5,       /* a0 slot that receives a user namespace with t0 uid_map, t1 gid_map */
  OP_SETNS = 6,        /* a0 slot, a1 CLONE_NEW* */
  OP_UNSHARE = 7,      /* a0 CLONE_NEW* */
  OP_SYNC = 8,         /* a0 sync code: tell the host and wait for its go */
  OP_SET_IDS = 9,      /* a0 uid, a1 gid: in a user namespace; in both stages */
  OP_SANDBOX = 10,     /* a0 record slot, a1 slot of the gofer's pidfd or NO_SLOT, a2 not 0: it tells its ipc namespace; start the sandbox process; OP_FLAG_INTERMEDIATE: as PID 1 of a new pid namespace */
  OP_CONTAINER = 11,   /* a0 CLONE_NEW* of the container process, a1 CLONE_NEWIPC: in the ipc namespace that the sandbox process told, or 0; ends the host stage */
  OP_WRITE = 12,       /* a0 directory slot or NO_SLOT, t0 path, t1 data: one write(2) to an existing file */
  OP_TARGET = 13,      /* a0 slot, a1 root slot, a2 TARGET_*, a3 mode, or slot for TARGET_LIKE; t0 path inside the root */
  OP_MOUNT = 14,       /* a0 slot, a1 MOUNT_ATTR_*, a2 number of options, t0 type, t1 source, t2 options (list) */
  OP_ATTACH = 15,      /* a0 mount slot, a1 target slot */
  OP_CLOSE = 16,       /* a0 slot */
  OP_COPY_UP = 17,     /* a0 directory slot to copy from, a1 mount slot to copy into */
  OP_MKNOD = 18,       /* a0 root slot, a1 mode with type, a2 major << 32 | minor, a3 uid << 32 | gid, t0 path */
  OP_SYMLINK = 19,     /* a0 root slot, t0 path, t1 target; an existing entry stays */
  OP_PIVOT = 20,       /* a0 root slot */
  OP_MASK = 21,        /* a0 /dev/null slot, a1 root slot, t0 path: absent is fine */
  OP_READONLY = 22,    /* a0 root slot, t0 path: absent is fine */
  OP_HOSTNAME = 23,    /* t0 */
  OP_DOMAINNAME = 24,  /* t0 */
  OP_CONSOLE = 25,     /* a0 root slot, a1 rows, a2 columns, a3 uid of the owner */
  OP_RLIMIT = 26,      /* a0 resource, a1 soft, a2 hard */
  OP_SCHEDULER = 27,   /* t0 struct sched_attr */
  OP_IO_PRIORITY = 28, /* a0 value for ioprio_set */
  OP_AFFINITY = 29,    /* t0 cpu mask; in both stages */
  OP_PERSONALITY = 30, /* a0 */
  OP_KEYRING = 31,     /* t0 name of the session keyring */
  OP_MEMORY_POLICY = 32,/* a0 mode | flags, t0 node mask, a1 bits in it */
  OP_LOOPBACK = 33,    /* bring up lo */
  OP_UMASK = 34,       /* a0 */
  OP_CHDIR = 35,       /* t0; must end inside the root */
  OP_USER = 36,        /* a0 uid, a1 gid, a2 number of groups, t0 the groups (uint32_t each) */
  OP_BOUNDING = 37,    /* a0 mask of what stays */
  OP_CAPABILITIES = 38,/* a0 effective, a1 permitted, a2 inheritable */
  OP_AMBIENT = 39,     /* a0 mask */
  OP_NO_NEW_PRIVS = 40,
  OP_SECCOMP = 41,     /* a0 flags, t0 struct sock_filter[]; with OP_FLAG_LISTENER the listener is sent to the host */
  OP_HOOK = 42,        /* a0 number of args, a1 number of env, a2 timeout in ms or 0, a3 index; t0 path, t1 args, t2 env */
  OP_FIND_EXECUTABLE = 43, /* t0 name, t1 PATH */
  OP_WAIT_START = 44,  /* a0 slot of a listening socket, or NO_SLOT: go on with the socket there is */
  OP_EXECUTE = 45,     /* a0 number of args, a1 number of env, t0 args, t1 env */
  OP_COPY_MODE = 46,   /* a0 slot of the OP_TARGET before, a1 mount slot: if the target existed its mode becomes the mount's */
  OP_CHECK_NOT_PROC = 47, /* a0 slot: refuse a target on procfs */
  OP_PREPARE_EXECUTE = 48, /* a0 lowest descriptor that the program must not inherit; signals are unblocked */
  OP_CGROUP = 49,      /* fetch from the host what the container process enters its cgroups with */
  OP_ENTER_SANDBOX = 50, /* a0 slot of a pidfd: the host stage goes on in that process's pid namespace, as a new process */
};

#define OP_FLAG_RECURSIVE 0x1u  /* OP_MOUNT_SETATTR, OP_OPEN_TREE */
#define OP_FLAG_RETRY 0x2u      /* OP_SETNS: EPERM leaves the slot for a later, optional OP_SETNS */
#define OP_FLAG_OPTIONAL 0x4u   /* OP_SETNS: an empty slot is fine. OP_WRITE: so is ENOENT. OP_CHDIR: so is EACCES.
                                 OP_SET_IDS: so is an id without mapping.
                                 OP_OPEN: EACCES leaves the slot as it is */
#define OP_FLAG_LISTENER 0x8u   /* OP_SECCOMP */
#define OP_FLAG_NO_SYMLINKS 0x10u /* OP_TARGET, OP_WRITE: no component may be a symbolic link */
#define OP_FLAG_REPLACE 0x20u   /* OP_PIVOT: move and chroot instead of pivot_root. OP_SYMLINK: replace what is there */
#define OP_FLAG_INTERMEDIATE 0x40u /* OP_SANDBOX, OP_CONTAINER: the container's pid namespace is new, nested in the sandbox's */
#define OP_FLAG_BIND_CONSOLE 0x80u /* OP_CONSOLE: also at /dev/console */
#define OP_FLAG_CHROOT 0x100u   /* OP_PIVOT: chroot, in a mount namespace that is not the container's own */
#define OP_FLAG_RECONFIGURE 0x200u /* OP_MOUNT: the slot holds a mount already, whose file system gets the options */
#define OP_FLAG_BY_SANDBOX 0x1000u /* of the host stage: carried out by the sandbox process instead, when that begins */
#define OP_FLAG_VISIBLE 0x800u  /* OP_SYNC: dumpable until answered: to an ordinary user /proc/PID/uid_map is closed otherwise */
#define OP_FLAG_CONFINED 0x400u /* OP_HOOK: under the limits, no_new_privs and filter of the ops that follow */

#define TARGET_DIRECTORY 0u
#define TARGET_FILE 1u
#define TARGET_LIKE 2u
#define TARGET_EXISTING 3u

#define MAX_CGROUP_FDS 32

enum message_kind {
  MESSAGE_SYNC = 1,  /* helper: value is the sync code */
  MESSAGE_ERROR = 2, /* helper: op failed with error; value is the op's code */
  MESSAGE_GO = 3,    /* host */
  MESSAGE_HOOK_FAILED = 4, /* helper: the hook of op ended with wait status value, or error ETIMEDOUT */
  MESSAGE_TELL = 5,  /* helper: value is a sync code, but nobody waits for an answer */
};

enum sync_code {
  SYNC_SANDBOX = 1,   /* told by the sandbox process: it is set up (its pid comes as credentials) */
  SYNC_MAPPINGS = 2,  /* the host stage waits for its uid_map and gid_map */
  SYNC_NAMESPACES = 3,/* the container process exists (its pid comes as credentials) */
  SYNC_CONSOLE = 4,   /* carries the master of the terminal */
  SYNC_HOOK = 5,      /* the host answers with two descriptors: the state for stdin, and a file for the output */
  SYNC_CREATED = 6,
  SYNC_LISTENER = 7,  /* carries the seccomp listener */
  SYNC_CGROUP = 9,    /* the host answers with v1 tasks files (message.value of them), then at most one v2 directory */
  SYNC_HOST = 10,     /* told by the host stage, which has become another process (its pid comes as credentials) */
  SYNC_ENVIRONMENT = 8, /* the mounts are in place, the root is not pivoted yet: prestart and createRuntime hooks */
};

struct message {
  uint32_t kind;
  uint32_t op;
  int32_t error;
  uint32_t value;
};

_Static_assert(sizeof(struct message) == 16, "MESSAGE_BYTES");

/* Exit status of a helper process that failed before execve; 126 and 127 are what shells use for a failed execve. */
#define EXIT_PLAN 125

#endif
