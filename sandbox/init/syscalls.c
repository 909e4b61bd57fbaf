/* System calls that the C library lacks, or wraps in state that does not survive a bare clone. */
#define _GNU_SOURCE
#include "init.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The numbers are the same on every architecture for calls added since 5.1 (asm-generic/unistd.h). */
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_OPEN_TREE 428
#define NR_MOVE_MOUNT 429
#define NR_FSOPEN 430
#define NR_FSCONFIG 431
#define NR_FSMOUNT 432
#define NR_FSPICK 433
#define NR_CLONE3 435
#define NR_CLOSE_RANGE 436
#define NR_OPENAT2 437
#define NR_MOUNT_SETATTR 442
#define NR_FCHMODAT2 452

#define CLONE_PIDFD_FLAG 0x1000ull
#define CLONE_INTO_CGROUP_FLAG 0x200000000ull

int sys_close_range(unsigned first, unsigned last, unsigned flags) {
  int result = (int)syscall(NR_CLOSE_RANGE, first, last, flags);

  if (result == 0 || errno != EINVAL || flags == 0)
    return result;
  /* CLOSE_RANGE_CLOEXEC came with Linux 5.11. */
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
    return -1;
  for (unsigned fd = first; fd <= last && fd < limit.rlim_max; fd++)
    if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 && errno != EBADF)
      return -1;
  return 0;
}

int sys_open_tree(int dirfd, const char *path, unsigned flags) {
  return (int)syscall(NR_OPEN_TREE, dirfd, path, flags | OPEN_TREE_CLONE | (unsigned)O_CLOEXEC);
}

int sys_move_mount(int from, int to, const char *to_path, unsigned flags) {
  return (int)syscall(NR_MOVE_MOUNT, from, "", to, to_path, flags | MOVE_MOUNT_F_EMPTY_PATH);
}

int sys_mount_setattr(int dirfd, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation, int userns) {
  struct {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
  } attributes = {set, clear, propagation, userns < 0 ? 0 : (uint64_t)userns};
  return (int)syscall(NR_MOUNT_SETATTR, dirfd, path, flags, &attributes, sizeof(attributes));
}

int sys_fsopen(const char *type) {
  return (int)syscall(NR_FSOPEN, type, 1u /* FSOPEN_CLOEXEC */);
}

int sys_fspick(int mount) {
  return (int)syscall(NR_FSPICK, mount, "", 0x9u /* FSPICK_CLOEXEC | FSPICK_EMPTY_PATH */);
}

int sys_fsconfig(int fs, unsigned command, const char *key, const char *value) {
  return (int)syscall(NR_FSCONFIG, fs, command, key, value, 0);
}

int sys_fsmount(int fs, unsigned attributes) {
  return (int)syscall(NR_FSMOUNT, fs, 1u /* FSMOUNT_CLOEXEC */, attributes);
}

int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct {
    uint64_t flags, mode, resolve;
  } how = {flags, mode, resolve};
  for (;;) {
    int fd = (int)syscall(NR_OPENAT2, dirfd, path, &how, sizeof(how));
    /* EAGAIN: something was renamed or mounted during a scoped walk; the walk is safe to repeat (openat2(2)). */
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
      return fd;
  }
}

int sys_pivot_root(const char *new_root, const char *put_old) {
  return (int)syscall(SYS_pivot_root, new_root, put_old);
}

pid_t sys_clone(uint64_t flags, int *pidfd, int cgroup_fd) {
  struct {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
  } args;
  memset(&args, 0, sizeof(args));
  args.flags = flags;
  if (pidfd) {
    args.flags |= CLONE_PIDFD_FLAG;
    args.pidfd = (uint64_t)(uintptr_t)pidfd;
  }
  if (cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP_FLAG;
    args.cgroup = (uint64_t)cgroup_fd;
  }
  /* With CLONE_PARENT the signal is the parent's own, and clone3 insists on none being named. */
  args.exit_signal = (flags & 0x8000u /* CLONE_PARENT */) ? 0 : SIGCHLD;
  return (pid_t)syscall(NR_CLONE3, &args, sizeof(args));
}

int sys_block_signals(bool blocked) {
  uint64_t mask = blocked ? ~0ull : 0;
  return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

int sys_signalfd(void) {
  uint64_t mask = ~0ull;
  return (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK);
}

int sys_ioctl(int fd, unsigned long request, void *argument) {
  return (int)syscall(SYS_ioctl, fd, request, argument);
}

int sys_chmod_fd(int fd, mode_t mode) {
  char path[32];

  if (syscall(NR_FCHMODAT2, fd, "", mode, AT_EMPTY_PATH) == 0)
    return 0;
  if (errno != ENOSYS)
    return -1;
  /* Linux before 6.6. What the link of /proc leads to is the open file itself. */
  (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  return chmod(path, mode);
}

int sys_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct {
    uint32_t version;
    int pid;
  } header = {0x20080522u /* _LINUX_CAPABILITY_VERSION_3 */, 0};
  struct {
    uint32_t effective, permitted, inheritable;
  } data[2] = {
      {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
      {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
  };
  return (int)syscall(SYS_capset, &header, data);
}

int sys_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(NR_PIDFD_SEND_SIGNAL, pidfd, signal, NULL, 0);
}
