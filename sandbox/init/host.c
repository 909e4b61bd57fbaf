/* The host stage: ops that open what lies on the host, enter and create namespaces, and start the other two processes. */
#define _GNU_SOURCE
#include "init.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_file(const char *path, const char *data, size_t length) {
  int fd = check(open(path, O_WRONLY | O_CLOEXEC));
  write_whole(fd, data, length);
  (void)close(fd);
}

/*
 * A user namespace made only to carry the mappings of an id-mapped mount: mount_setattr(2) takes them in no other form. A child
 * is born in it and waits to be killed while its mappings are written and the namespace is opened.
 */
static int make_id_map(const struct plan_op *op) {
  int hold[2];
  char path[64];

  check(pipe2(hold, O_CLOEXEC));
  pid_t child = check(sys_clone(CLONE_NEWUSER, NULL, -1));
  if (child == 0) {
    char byte;
    (void)close(hold[1]);
    /* Ends by SIGKILL, or by end of file when the host stage died first. */
    while (read(hold[0], &byte, 1) < 0 && errno == EINTR)
      continue;
    _exit(0);
  }
  (void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)child);
  write_file(path, text(op, 0), text_length(op, 0));
  (void)snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)child);
  write_file(path, text(op, 1), text_length(op, 1));
  (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)child);
  int fd = check(open(path, O_RDONLY | O_CLOEXEC));
  (void)kill(child, SIGKILL);
  check(waitpid(child, NULL, 0));
  (void)close(hold[0]);
  (void)close(hold[1]);
  return fd;
}

static void enter_namespace(const struct plan_op *op) {
  if (!has_slot(op->arg[0]) && (op->flags & OP_FLAG_OPTIONAL))
    return; /* entered the first time round */
  if (setns(slot(op->arg[0]), (int)op->arg[1]) < 0) {
    if ((op->flags & OP_FLAG_RETRY) && errno == EPERM)
      return; /* owned by a user namespace that a later op enters first */
    fail(errno);
  }
  close_slot(op->arg[0]);
}

/* EINVAL: the user namespace does not map the id. The capabilities that come with entering it are enough for what follows. */
static void become_id(long result, const struct plan_op *op) {
  if (result < 0 && !(errno == EINVAL && (op->flags & OP_FLAG_OPTIONAL)))
    fail(errno);
}

/* A pid namespace can be made only by who lives in its parent, and nobody can move there: a child goes on in our place. */
static void enter_sandbox(const struct plan_op *op) {
  check(setns(slot(op->arg[0]), CLONE_NEWPID));
  close_slot(op->arg[0]);
  if (check(sys_clone(CLONE_PARENT, NULL, -1)) > 0)
    _exit(0);
  tell_host(SYNC_HOST);
}

static void start_sandbox(const struct plan_op *op) {
  int pair[2];

  check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
  /*
   * With unshare(2) the sandbox process is the first to be born in the new pid namespace, and the container process comes
   * into it without setns(2), which needs more rights than a user namespace gives. A container process that stays outside
   * has to be seen by the sandbox process all the same, or the kernel does not tell that one how it ended. CLONE_PARENT: a
   * child of cloche's, so that it is orphaned to the engine's monitor and not to this short-lived stage.
   */
  if (op->flags & OP_FLAG_INTERMEDIATE)
    check(unshare(CLONE_NEWPID));
  pid_t pid = check(sys_clone(CLONE_PARENT, NULL, -1));
  if (pid == 0) {
    (void)close(pair[0]);
    sandbox_main(slot(op->arg[0]), op->arg[1] == NO_SLOT ? -1 : slot(op->arg[1]), pair[1], op->arg[2] != 0);
  }
  (void)close(pair[1]);
  st.handover_fd = pair[0];
  close_slot(op->arg[0]);
}

/*
 * Until the sandbox process is set up there must be nothing that it would have to end. This also orders what cloche hears:
 * the sandbox process's word comes before any of the container process's.
 */
static void await_sandbox(uint64_t namespaces) {
  struct message message;
  int ipc;

  if (st.handover_fd < 0)
    return;
  /* End of file: it failed, and has told cloche why. */
  if (!receive_message(st.handover_fd, &message, &ipc, 1))
    _exit(EXIT_PLAN);
  if (namespaces)
    check(setns(ipc, (int)namespaces));
  (void)close(ipc);
}

static void fetch_cgroups(void) {
  uint32_t tasks = sync_with_host(SYNC_CGROUP, -1, st.cgroup_fds, MAX_CGROUP_FDS);

  if (tasks >= MAX_CGROUP_FDS)
    fail(EINVAL);
  st.cgroup_tasks = tasks;
}

/*
 * The container process moves itself: a single thread that writes 0 to a v1 `tasks` file, or is cloned into a v2 cgroup, is
 * spared the RCU grace period (5 to 13 ms) that moving any other process costs. For the latter it is born with the ids of
 * cloche, to whom the cgroup belongs, and takes those of its user namespace afterwards.
 */
static void enter_cgroups(void) {
  for (uint32_t i = 0; i < st.cgroup_tasks; i++)
    write_whole(st.cgroup_fds[i], "0", 1);
  for (uint32_t i = 0; i < MAX_CGROUP_FDS; i++)
    (void)close(st.cgroup_fds[i]);
}

_Noreturn static void start_container(const struct plan_op *op) {
  int pidfd;

  await_sandbox(op->arg[1]);
  if (op->flags & OP_FLAG_INTERMEDIATE) {
    /* A pid namespace cannot be created by who is not in the parent namespace yet: a process born inside does it. */
    pid_t inner = check(sys_clone(CLONE_PARENT, NULL, -1));
    if (inner > 0)
      _exit(0);
  }
  pid_t pid = check(sys_clone(op->arg[0] | CLONE_PARENT, &pidfd, st.cgroup_fds[st.cgroup_tasks]));
  if (pid == 0) {
    enter_cgroups();
    (void)close(st.handover_fd);
    container_main();
  }
  struct message message = {MESSAGE_GO, st.current, 0, 0};
  if (st.handover_fd >= 0)
    send_message(st.handover_fd, &message, pidfd);
  _exit(0);
}

bool run_common_op(const struct plan_op *op) {
  switch (op->code) {
  case OP_OPEN: {
    int directory = op->arg[2] == NO_SLOT ? AT_FDCWD : slot(op->arg[2]);
    int fd = openat(directory, text(op, 0), (int)op->arg[1] | O_CLOEXEC);
    if (fd >= 0 || errno != EACCES || !(op->flags & OP_FLAG_OPTIONAL))
      set_slot(op->arg[0], fd);
    return true;
  }
  case OP_OPEN_TREE:
    set_slot(op->arg[0], sys_open_tree(AT_FDCWD, text(op, 0), (unsigned)op->arg[1]));
    return true;
  case OP_MOUNT_SETATTR:
    change_attributes(op);
    return true;
  case OP_MOUNT:
    mount_op(op);
    return true;
  case OP_WRITE: {
    int directory = op->arg[0] == NO_SLOT ? AT_FDCWD : slot(op->arg[0]);
    uint64_t resolve = op->flags & OP_FLAG_NO_SYMLINKS ? RESOLVE_NO_SYMLINKS : 0;
    int fd = sys_openat2(directory, text(op, 0), O_WRONLY | O_CLOEXEC, 0, resolve);
    if (fd < 0 && errno == ENOENT && (op->flags & OP_FLAG_OPTIONAL))
      return true;
    check(fd);
    write_whole(fd, text(op, 1), text_length(op, 1));
    check(close(fd));
    return true;
  }
  case OP_CLOSE:
    close_slot(op->arg[0]);
    return true;
  case OP_SETNS:
    enter_namespace(op);
    return true;
  case OP_UNSHARE:
    check(unshare((int)op->arg[0]));
    return true;
  case OP_SYNC:
    if (op->flags & OP_FLAG_VISIBLE)
      check(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    sync_with_host((uint32_t)op->arg[0], -1, NULL, 0);
    if (op->flags & OP_FLAG_VISIBLE)
      check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    return true;
  case OP_RLIMIT: {
    struct rlimit limit = {op->arg[1], op->arg[2]};
    check(setrlimit((int)op->arg[0], &limit));
    return true;
  }
  case OP_AFFINITY:
    check(syscall(SYS_sched_setaffinity, 0, text_length(op, 0), text(op, 0)));
    return true;
  case OP_SET_IDS:
    /* Bare system calls: the C library's versions are about threads, which do not exist here. */
    become_id(syscall(SYS_setresgid, op->arg[1], op->arg[1], op->arg[1]), op);
    become_id(syscall(SYS_setresuid, op->arg[0], op->arg[0], op->arg[0]), op);
    return true;
  default:
    return false;
  }
}

static void run_host_op(uint32_t index, const struct plan_op *op) {
  st.current = index;
  if (run_common_op(op))
    return;
  switch (op->code) {
  case OP_ADOPT:
    /* Duplicated, not kept: the numbers from 3 on belong to the container's preserved descriptors. */
    set_slot(op->arg[0], fcntl((int)op->arg[1], F_DUPFD_CLOEXEC, 3));
    (void)close((int)op->arg[1]);
    return;
  case OP_ID_MAP:
    set_slot(op->arg[0], make_id_map(op));
    return;
  case OP_CGROUP:
    fetch_cgroups();
    return;
  case OP_ENTER_SANDBOX:
    enter_sandbox(op);
    return;
  case OP_SANDBOX:
    start_sandbox(op);
    return;
  case OP_CONTAINER:
    start_container(op);
  default:
    fail(ENOSYS);
  }
}

void run_host_ops(bool by_sandbox) {
  for (uint32_t i = 0; i < st.plan.header->container_first; i++)
    if (!(st.plan.ops[i].flags & OP_FLAG_BY_SANDBOX) == !by_sandbox)
      run_host_op(i, &st.plan.ops[i]);
}
