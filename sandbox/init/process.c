/* What the container process does to itself between its mounts and its execve: terminal, user, capabilities, filter, hooks. */
#define _GNU_SOURCE
#include "init.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CLOSE_RANGE_CLOEXEC_FLAG 4u
#define SECCOMP_LISTENER_FLAGS 0x38u /* SECCOMP_FILTER_FLAG_NEW_LISTENER, _TSYNC_ESRCH, _WAIT_KILLABLE_RECV */
#define DEVPTS_MAGIC 0x1cd1
#define NR_FACCESSAT2 439
#define AT_EACCESS_FLAG 0x200
#define SECCOMP_SET_MODE_FILTER_CMD 1
#define SOCK_FILTER_BYTES 8
#define TIOCGPTPEER_REQUEST _IO('T', 0x41)

/*
 * A terminal from the container's own devpts. Nothing is looked up by a name that the container could have replaced: the
 * multiplexer must be character device 5:2 on a devpts, the other end comes from the first by ioctl (CVE-2025-52565).
 */
void open_console(const struct plan_op *op) {
  struct statfs fs;
  struct stat info;
  int root = slot(op->arg[0]);
  int unlock = 0;

  int pts = check(sys_openat2(root, "dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
  check(fstatfs(pts, &fs));
  if (fs.f_type != DEVPTS_MAGIC)
    fail(ENODEV);
  int master = check(openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC));
  check(fstat(master, &info));
  if (!S_ISCHR(info.st_mode) || info.st_rdev != makedev(5, 2))
    fail(ENODEV);
  check(sys_ioctl(master, TIOCSPTLCK, &unlock));
  int terminal = check(ioctl(master, TIOCGPTPEER_REQUEST, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (op->arg[1] || op->arg[2]) {
    struct winsize size = {(unsigned short)op->arg[1], (unsigned short)op->arg[2], 0, 0};
    check(sys_ioctl(master, TIOCSWINSZ, &size));
  }
  /* The owner may have no mapping in the user namespace: the terminal then stays root's, as devpts made it. */
  if (fchown(terminal, (uid_t)op->arg[3], (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM)
    fail(errno);
  if (op->flags & OP_FLAG_BIND_CONSOLE) {
    int target = resolve_target(root, "/dev/console", TARGET_FILE, 0600, true);
    int node = check(sys_open_tree(terminal, "", AT_EMPTY_PATH));
    check(sys_move_mount(node, target, "", MOVE_MOUNT_T_EMPTY_PATH));
    (void)close(node);
    (void)close(target);
  }
  sync_with_host(SYNC_CONSOLE, master, NULL, 0);
  (void)close(master);
  (void)close(pts);
  check(ioctl(terminal, TIOCSCTTY, 0));
  for (int fd = 0; fd < 3; fd++)
    check(dup2(terminal, fd));
  if (terminal > 2)
    (void)close(terminal);
}

void change_directory(const struct plan_op *op) {
  static char where[PATH_MAX];
  static bool entered;

  /* The first try is root's, as with runc: the working directory of many an image is one that its user may not enter. */
  if (entered && !(op->flags & OP_FLAG_OPTIONAL))
    return;
  if (chdir(text(op, 0)) < 0) {
    if (errno == EACCES && (op->flags & OP_FLAG_OPTIONAL))
      return; /* tried again as the container's user */
    fail(errno);
  }
  entered = true;
  /* A directory outside of the root, reached by a leaked descriptor, is reported as "(unreachable)…" (CVE-2024-21626). */
  long length = check(syscall(SYS_getcwd, where, sizeof(where)));
  if (length < 1 || where[0] != '/')
    fail(EXDEV);
}

/* The program's standard streams belong to its user, so that it can open /dev/stdout anew. */
static void own_standard_streams(uid_t uid) {
  struct stat info;

  for (int fd = 0; fd < 3; fd++) {
    if (fstat(fd, &info) < 0)
      continue; /* closed by the caller, and closed it stays */
    bool is_null = S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);
    if (info.st_uid == uid || is_null)
      continue;
    if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS)
      fail(errno);
  }
}

void become_user(const struct plan_op *op) {
  const uint32_t *groups = (const uint32_t *)(const void *)text(op, 0);
  uid_t uid = (uid_t)op->arg[0];
  gid_t gid = (gid_t)op->arg[1];

  own_standard_streams(uid);
  /* Capabilities are set by a later op; without this a change to a non-root user would clear them all. */
  check(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
  /* EPERM with no groups wanted: setgroups is denied in the user namespace (user_namespaces(7)). */
  if (syscall(SYS_setgroups, op->arg[2], groups) < 0 && !(errno == EPERM && op->arg[2] == 0))
    fail(errno);
  check(syscall(SYS_setresgid, gid, gid, gid));
  check(syscall(SYS_setresuid, uid, uid, uid));
}

void keep_bounding(uint64_t mask) {
  for (unsigned capability = 0; capability < 64; capability++) {
    if (mask & (1ull << capability))
      continue;
    int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present < 0 && errno == EINVAL)
      return; /* beyond the last capability that the kernel knows */
    check(present);
    if (present)
      check(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
  }
}

void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  check(sys_capset(effective, permitted, inheritable));
}

void raise_ambient(uint64_t mask) {
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  for (unsigned capability = 0; capability < 64; capability++)
    if (mask & (1ull << capability))
      check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
}

static int load_filter(const struct plan_op *op, uint64_t flags) {
  /* struct sock_fprog of linux/filter.h. */
  struct {
    unsigned short length;
    const void *filter;
  } program = {(unsigned short)(text_length(op, 0) / SOCK_FILTER_BYTES), text(op, 0)};
  return check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER_CMD, flags, &program));
}

void install_seccomp(const struct plan_op *op) {
  int result = load_filter(op, op->arg[0]);

  if (op->flags & OP_FLAG_LISTENER) {
    sync_with_host(SYNC_LISTENER, result, NULL, 0);
    (void)close(result);
  }
}

static long long now_ms(void) {
  struct timespec now;

  (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until `child` ends or the time is up. Returns its wait status, or -1 after killing it. */
static int wait_child(pid_t child, int pidfd, uint64_t timeout_ms) {
  long long deadline = now_ms() + (long long)timeout_ms;
  struct pollfd watch = {pidfd, POLLIN, 0};
  int status;

  if (timeout_ms) {
    int ready;
    do {
      long long left = deadline - now_ms();
      ready = poll(&watch, 1, left > INT_MAX ? INT_MAX : left > 0 ? (int)left : 0);
    } while ((ready < 0 && errno == EINTR) || (ready == 0 && now_ms() < deadline));
    if (ready == 0) {
      check(sys_pidfd_send_signal(pidfd, SIGKILL));
      check(waitpid(child, &status, 0));
      return -1;
    }
  }
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR)
      fail(errno);
  return status;
}

/*
 * What the plan has in store for the program, for a hook whose file is the container's as well: limits, no_new_privs, filter.
 * Actions that ask a listener fail with ENOSYS in it, since the listener is the program's (seccomp_unotify(2)).
 */
static void confine_hook(void) {
  for (uint32_t i = st.current + 1; i < st.plan.header->op_count; i++) {
    const struct plan_op *op = &st.plan.ops[i];
    if (op->code == OP_RLIMIT)
      (void)run_common_op(op);
    else if (op->code == OP_NO_NEW_PRIVS)
      check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    else if (op->code == OP_SECCOMP)
      (void)load_filter(op, op->arg[0] & ~(uint64_t)SECCOMP_LISTENER_FLAGS);
    else if (op->code == OP_CAPABILITIES)
      set_capabilities(op->arg[0], op->arg[1], op->arg[2]);
  }
}

/*
 * createContainer and startContainer hooks: children in the container's namespaces, with the state on standard input. What the
 * hook prints goes to a file of cloche's, which quotes it when the hook fails.
 */
void run_hook(const struct plan_op *op) {
  int fds[2];
  int pidfd;
  char **args = st.pointers;
  char **env = st.pointers + op->arg[0] + 1;

  sync_with_host(SYNC_HOOK, -1, fds, 2);
  if (fds[0] < 0 || fds[1] < 0)
    fail(EBADF);
  list(op, 1, op->arg[0], args);
  list(op, 2, op->arg[1], env);
  pid_t child = check(sys_clone(0, &pidfd, -1));
  if (child == 0) {
    if (dup2(fds[0], 0) < 0 || dup2(fds[1], 1) < 0 || dup2(fds[1], 2) < 0 || sys_block_signals(false) < 0 ||
        sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC_FLAG) < 0)
      _exit(126);
    if (op->flags & OP_FLAG_CONFINED)
      confine_hook();
    (void)execve(text(op, 0), args, env);
    _exit(errno == ENOENT ? 127 : 126);
  }
  int status = wait_child(child, pidfd, op->arg[2]);
  (void)close(pidfd);
  (void)close(fds[0]);
  (void)close(fds[1]);
  if (status != 0) {
    struct message message = {MESSAGE_HOOK_FAILED, st.current, status < 0 ? ETIMEDOUT : 0, status < 0 ? 0 : (uint32_t)status};
    send_message(st.sync_fd, &message, -1);
    _exit(EXIT_PLAN);
  }
}

/* 0 when `path` can be executed by the user that this process has become, an errno otherwise. */
static int executable_error(const char *path) {
  struct stat info;

  if (stat(path, &info) < 0)
    return errno;
  if (S_ISDIR(info.st_mode))
    return EISDIR;
  return syscall(NR_FACCESSAT2, AT_FDCWD, path, X_OK, AT_EACCESS_FLAG) < 0 ? errno : 0;
}

void find_executable(const struct plan_op *op) {
  const char *name = text(op, 0);
  const char *path = text(op, 1);
  int denied = 0;

  if (strchr(name, '/')) {
    int error = executable_error(name);
    if (error)
      fail(error);
    if (text_length(op, 0) >= sizeof(st.executable))
      fail(ENAMETOOLONG);
    memcpy(st.executable, name, text_length(op, 0) + 1);
    return;
  }
  for (;;) {
    size_t length = strcspn(path, ":");
    int wrote = snprintf(st.executable, sizeof(st.executable), "%.*s/%s", length ? (int)length : 1, length ? path : ".", name);
    if (wrote > 0 && (size_t)wrote < sizeof(st.executable)) {
      int error = executable_error(st.executable);
      if (error == 0)
        return;
      if (error == EACCES)
        denied = EACCES;
    }
    if (path[length] == '\0')
      break;
    path += length + 1;
  }
  /* ESRCH cannot come from a file system: cloche words it as "executable file not found in $PATH". */
  fail(denied ? denied : ESRCH);
}

/* Whether a process without a handler for `signal` would end by it (signal(7)). */
static bool ends_process(uint32_t signal) {
  return signal != SIGCHLD && signal != SIGCONT && signal != SIGURG && signal != SIGWINCH && signal != SIGTSTP &&
         signal != SIGTTIN && signal != SIGTTOU;
}

void wait_for_start(const struct plan_op *op) {
  struct signalfd_siginfo info;

  int listener = op->arg[0] == NO_SLOT ? -1 : slot(op->arg[0]);
  int signals = check(sys_signalfd());
  /* Whoever is told that the container is created goes away: from here on only `start` hears of a failure. */
  sync_with_host(SYNC_CREATED, -1, NULL, 0);
  for (;;) {
    struct pollfd watch[2] = {{listener < 0 ? st.sync_fd : listener, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(watch, 2, -1) < 0) {
      if (errno == EINTR)
        continue;
      fail(errno);
    }
    /* PID 1 is spared by signals that it does not handle: `kill` on a created container has to be obeyed here. */
    while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
      if (ends_process(info.ssi_signo))
        _exit(128 + (int)info.ssi_signo);
    if (watch[0].revents)
      break;
  }
  (void)close(signals);
  if (listener >= 0) {
    int connection = check(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    (void)close(st.sync_fd);
    st.sync_fd = connection;
    close_slot(op->arg[0]);
  }
  struct message message;
  if (!receive_message(st.sync_fd, &message, NULL, 0) || message.kind != MESSAGE_GO)
    _exit(EXIT_PLAN);
}

void prepare_execute(const struct plan_op *op) {
  /* All that is ours is close-on-exec already; this holds for whatever else was inherited (CVE-2024-21626). */
  check(sys_close_range((unsigned)op->arg[0], ~0u, CLOSE_RANGE_CLOEXEC_FLAG));
  check(sys_block_signals(false));
}

/* A seccomp filter may be in force: between it and execve(2) come no other calls than those that the filter must allow. */
void execute(const struct plan_op *op) {
  char **args = st.pointers;
  char **env = st.pointers + op->arg[0] + 1;

  list(op, 0, op->arg[0], args);
  list(op, 1, op->arg[1], env);
  (void)execve(st.executable, args, env);
  fail(errno);
}
