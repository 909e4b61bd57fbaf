/* What the stages of cloche-init share: the validated plan, the table of descriptors, the socket to cloche. */
#ifndef CLOCHE_INIT_H
#define CLOCHE_INIT_H

#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NO_OP 0xffffffffu

struct plan {
  const struct plan_header *header;
  const struct plan_op *ops;
  const char *strings;
};

struct state {
  struct plan plan;
  int sync_fd;
  uint32_t current; /* the op being carried out, for error reports */
  /* One more than the descriptor, 0 when empty: pages that are never written to cost no memory. */
  int slots[PLAN_SLOTS];
  char **pointers; /* room for the argument lists, laid out before the first fork */
  size_t pointers_bytes;
  int handover_fd; /* a socket to the sandbox process, for the container's pidfd; -1 when there is none */
  int cgroup_fds[MAX_CGROUP_FDS]; /* v1 tasks files first, then the v2 directory if there is one; -1 ends them */
  uint32_t cgroup_tasks;
  bool target_created; /* whether the last OP_TARGET had to create it */
  char executable[4096];
};

extern struct state st;

/* plan.c: validation of the one input, and access to it. */
bool plan_attach(struct plan *plan, const void *bytes, size_t size);
size_t plan_count_pointers(const struct plan *plan);
const char *text(const struct plan_op *op, unsigned index);
size_t text_length(const struct plan_op *op, unsigned index);
/* Fills `out` with the `count` strings of a list and a NULL. */
void list(const struct plan_op *op, unsigned index, uint64_t count, char **out);

/* report.c: messages to cloche. */
_Noreturn void die(uint32_t op, int error);
_Noreturn void fail(int error);
/* Reports the current op as failed with errno when `result` is negative; returns it otherwise. */
int check(long result);
/* Tells cloche `code` with up to one descriptor, waits for its go, takes up to `max_fds` descriptors from it (-1 marks the
 * ones that did not come), and returns the value it sent along. */
uint32_t sync_with_host(uint32_t code, int fd, int *fds, int max_fds);
/* Tells cloche `code` and goes on: for a process that is not alone on the socket, and might be given another's answer. */
void tell_host(uint32_t code);
void send_message(int socket, const struct message *message, int fd);
/* Receives one message; returns false at end of file. Unasked-for descriptors are closed. */
bool receive_message(int socket, struct message *message, int *fds, int max_fds);

/* Writes all of it in one write(2), as the files of /proc want it, or fails. */
void write_whole(int fd, const void *data, size_t length);

/* slots; `index` is below PLAN_SLOTS, which plan_attach has seen to. */
bool has_slot(uint64_t index);
int slot(uint64_t index);
void set_slot(uint64_t index, int fd);
void close_slot(uint64_t index);

/* host.c, container.c: the two interpreters; neither returns after OP_CONTAINER, OP_EXECUTE. */
void run_host_ops(bool by_sandbox);
_Noreturn void container_main(void);
/* Ops that make sense in both stages; false when `op` is not one of them. */
bool run_common_op(const struct plan_op *op);

/* sandbox.c */
_Noreturn void sandbox_main(int record_fd, int gofer_fd, int handover_fd, bool tells_ipc);

/* mounts.c: file systems, as seen from inside. */
int resolve_target(int root, const char *path, uint64_t kind, mode_t mode, bool no_symlinks);
void mount_op(const struct plan_op *op);
void copy_up(int from, int to);
void copy_mode(int from, int to);
void make_node(const struct plan_op *op);
void make_symlink(const struct plan_op *op);
void pivot(int root, uint32_t flags);
void mask_path(const struct plan_op *op);
void readonly_path(const struct plan_op *op);
void check_not_proc(int fd);

/* attributes.c */
/* MOUNT_ATTR_* as the MS_* flags of mount(2). */
unsigned long attribute_flags(uint64_t attributes);
void change_attributes(const struct plan_op *op);
void attach_mount(const struct plan_op *op);
/* Attaches a detached mount with attributes of its own. */
void attach_cover(int cover, int target, uint64_t set, bool recursive);

/* process.c: what the container process does to itself. */
void open_console(const struct plan_op *op);
void change_directory(const struct plan_op *op);
void become_user(const struct plan_op *op);
void keep_bounding(uint64_t mask);
void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable);
void raise_ambient(uint64_t mask);
void install_seccomp(const struct plan_op *op);
void run_hook(const struct plan_op *op);
void find_executable(const struct plan_op *op);
void wait_for_start(const struct plan_op *op);
void prepare_execute(const struct plan_op *op);
_Noreturn void execute(const struct plan_op *op);

/* syscalls.c: calls that the C library lacks or wraps in state of its own. */
int sys_close_range(unsigned first, unsigned last, unsigned flags);
int sys_open_tree(int dirfd, const char *path, unsigned flags);
int sys_move_mount(int from, int to, const char *to_path, unsigned flags);
int sys_mount_setattr(int dirfd, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation, int userns);
int sys_fsopen(const char *type);
int sys_fspick(int mount);
int sys_fsconfig(int fs, unsigned command, const char *key, const char *value);
int sys_fsmount(int fs, unsigned attributes);
int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int sys_pivot_root(const char *new_root, const char *put_old);
/* clone3(2) as fork does it, with `flags` on top; a pidfd when `pidfd` is not NULL; into the v2 cgroup `cgroup_fd` if >= 0. */
pid_t sys_clone(uint64_t flags, int *pidfd, int cgroup_fd);
/* Blocks or unblocks all 64 signals: the C library's sets leave out those that it keeps for threads. */
int sys_block_signals(bool blocked);
/* A non-blocking signalfd(2) for all signals. */
int sys_signalfd(void);
int sys_ioctl(int fd, unsigned long request, void *argument);
/* chmod(2) of what an O_PATH descriptor stands for. */
int sys_chmod_fd(int fd, mode_t mode);
int sys_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);
int sys_pidfd_send_signal(int pidfd, int signal);

/* Constants of the kernel's interface that the C library's headers may lack. */
#define OPEN_TREE_CLONE 1u
#define MOVE_MOUNT_F_EMPTY_PATH 0x4u
#define MOVE_MOUNT_T_EMPTY_PATH 0x40u
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define ATTR_RDONLY 0x1u
#define ATTR_NOSUID 0x2u
#define ATTR_NODEV 0x4u
#define ATTR_NOEXEC 0x8u
#define ATTR_IDMAP 0x100000u
#define RESOLVE_NO_MAGICLINKS 0x02u
#define RESOLVE_NO_SYMLINKS 0x04u
#define RESOLVE_IN_ROOT 0x10u

#endif
