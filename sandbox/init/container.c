/* The container stage: carries out the second half of the plan, in the container's namespaces, and becomes its program. */
#define _GNU_SOURCE
#include "init.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1
#define KEYCTL_JOIN_SESSION_KEYRING 1

static void bring_up_loopback(void) {
  struct ifreq request;
  int fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

  memset(&request, 0, sizeof(request));
  memcpy(request.ifr_name, "lo", sizeof("lo"));
  check(sys_ioctl(fd, SIOCGIFFLAGS, &request));
  request.ifr_flags |= IFF_UP;
  check(sys_ioctl(fd, SIOCSIFFLAGS, &request));
  (void)close(fd);
}

static void join_keyring(const char *name) {
  /* ENOSYS: a kernel without keyrings; EPERM, EACCES: a filter around the runtime. There is nothing to isolate then. */
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS)
    fail(errno);
}

static void run_container_op(uint32_t index, const struct plan_op *op) {
  st.current = index;
  if (run_common_op(op))
    return;
  switch (op->code) {
  case OP_TARGET: {
    uint64_t kind = op->arg[2];
    st.target_created = false;
    if (kind == TARGET_LIKE) {
      struct stat info;
      check(fstat(slot(op->arg[3]), &info));
      kind = S_ISDIR(info.st_mode) ? TARGET_DIRECTORY : TARGET_FILE;
    }
    mode_t mode = op->arg[2] == TARGET_LIKE ? 0755 : (mode_t)op->arg[3];
    set_slot(op->arg[0], resolve_target(slot(op->arg[1]), text(op, 0), kind, mode, op->flags & OP_FLAG_NO_SYMLINKS));
    return;
  }
  case OP_CHECK_NOT_PROC:
    check_not_proc(slot(op->arg[0]));
    return;
  case OP_ATTACH:
    attach_mount(op);
    return;
  case OP_COPY_MODE:
    if (!st.target_created)
      copy_mode(slot(op->arg[0]), slot(op->arg[1]));
    return;
  case OP_COPY_UP:
    copy_up(slot(op->arg[0]), slot(op->arg[1]));
    return;
  case OP_MKNOD:
    make_node(op);
    return;
  case OP_SYMLINK:
    make_symlink(op);
    return;
  case OP_PIVOT:
    pivot(slot(op->arg[0]), op->flags);
    return;
  case OP_MASK:
    mask_path(op);
    return;
  case OP_READONLY:
    readonly_path(op);
    return;
  case OP_HOSTNAME:
    check(sethostname(text(op, 0), text_length(op, 0)));
    return;
  case OP_DOMAINNAME:
    check(setdomainname(text(op, 0), text_length(op, 0)));
    return;
  case OP_CONSOLE:
    open_console(op);
    return;
  case OP_SCHEDULER:
    check(syscall(SYS_sched_setattr, 0, text(op, 0), 0));
    return;
  case OP_IO_PRIORITY:
    check(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, op->arg[0]));
    return;
  case OP_PERSONALITY:
    check(personality((unsigned long)op->arg[0]));
    return;
  case OP_KEYRING:
    join_keyring(text(op, 0));
    return;
  case OP_MEMORY_POLICY:
    check(syscall(SYS_set_mempolicy, op->arg[0], op->arg[1] ? text(op, 0) : NULL, op->arg[1]));
    return;
  case OP_LOOPBACK:
    bring_up_loopback();
    return;
  case OP_UMASK:
    (void)umask((mode_t)op->arg[0]);
    return;
  case OP_CHDIR:
    change_directory(op);
    return;
  case OP_USER:
    become_user(op);
    return;
  case OP_BOUNDING:
    keep_bounding(op->arg[0]);
    return;
  case OP_CAPABILITIES:
    set_capabilities(op->arg[0], op->arg[1], op->arg[2]);
    return;
  case OP_AMBIENT:
    raise_ambient(op->arg[0]);
    return;
  case OP_NO_NEW_PRIVS:
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return;
  case OP_SECCOMP:
    install_seccomp(op);
    return;
  case OP_HOOK:
    run_hook(op);
    return;
  case OP_FIND_EXECUTABLE:
    find_executable(op);
    return;
  case OP_WAIT_START:
    wait_for_start(op);
    return;
  case OP_PREPARE_EXECUTE:
    prepare_execute(op);
    return;
  case OP_EXECUTE:
    execute(op);
  default:
    fail(ENOSYS);
  }
}

void container_main(void) {
  /* PID 1 ignores what it has no handler for; until execve the signals that matter are read in wait_for_start. */
  check(sys_block_signals(true));
  check(setsid());
  for (uint32_t i = st.plan.header->container_first; i < st.plan.header->op_count; i++)
    run_container_op(i, &st.plan.ops[i]);
  die(st.plan.header->op_count - 1, EINVAL); /* a plan ends with OP_EXECUTE */
}
