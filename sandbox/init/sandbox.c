/*
 * The sandbox process: PID 1 of the sandbox's pid namespace. It holds that namespace, watches the root container, and is the
 * reason why nothing of a sandbox survives it: when PID 1 ends, the kernel kills every process of the namespace. For a
 * container without a pid namespace of its own it is only a process of the same namespace, and watches.
 *
 * After set-up its only link to the host is the write-only descriptor of the exit record. It has no capability, no file
 * system, no controlling terminal, and is not dumpable.
 */
#define _GNU_SOURCE
#include "init.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* struct pidfd_info of linux/pidfd.h, first published size. */
struct pidfd_info_v0 {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid, tgid, ppid, ids[8];
  int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info_v0) == 64, "PIDFD_INFO_SIZE_VER0");

#define NOBODY 65534
#if defined(__x86_64__)
#define NATIVE_ARCH 0xc000003eu /* AUDIT_ARCH_X86_64 */
#elif defined(__aarch64__)
#define NATIVE_ARCH 0xc00000b7u /* AUDIT_ARCH_AARCH64 */
#else
#error "name the seccomp architecture of this machine"
#endif
/* struct sock_filter of linux/filter.h, and offsets in struct seccomp_data of linux/seccomp.h. */
struct filter_op {
  uint16_t code;
  uint8_t jump_true, jump_false;
  uint32_t value;
};
#define DATA_NUMBER 0
#define DATA_ARCH 4
/* The low half of an argument: both architectures are little-endian, and what is compared is an int. */
#define DATA_ARGUMENT(index) (16 + 8 * (index))
#define LOAD(offset) {0x20 /* BPF_LD | BPF_W | BPF_ABS */, 0, 0, offset}
#define UNLESS(wanted, skip) {0x15 /* BPF_JMP | BPF_JEQ | BPF_K */, 0, skip, (uint32_t)(wanted)}
#define ALLOW {0x06 /* BPF_RET | BPF_K */, 0, 0, 0x7fff0000u /* SECCOMP_RET_ALLOW */}
#define KILL {0x06 /* BPF_RET | BPF_K */, 0, 0, 0x80000000u /* SECCOMP_RET_KILL_PROCESS */}
#define SET_MODE_FILTER 1
#define PIDFD_INFO_EXIT_BIT (1ull << 3)
#define PIDFD_GET_INFO_REQUEST _IOWR(0xFF, 11, struct pidfd_info_v0)

static void record_exit(int record_fd, int pidfd, bool gofer_ended) {
  struct pidfd_info_v0 info;
  struct timespec now;
  char line[96];
  int length;

  memset(&info, 0, sizeof(info));
  info.mask = PIDFD_INFO_EXIT_BIT;
  bool known = sys_ioctl(pidfd, PIDFD_GET_INFO_REQUEST, &info) == 0 && (info.mask & PIDFD_INFO_EXIT_BIT);
  (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
  unsigned long long at = (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
  if (gofer_ended)
    length = snprintf(line, sizeof(line), "gofer 9 %llu\n", at); /* our own end is SIGKILL for all that is left */
  else if (!known)
    length = snprintf(line, sizeof(line), "ended 0 %llu\n", at); /* Linux before 6.15 tells only the parent how it ended */
  else if (WIFSIGNALED(info.exit_code))
    length = snprintf(line, sizeof(line), "signaled %d %llu\n", WTERMSIG(info.exit_code), at);
  else
    length = snprintf(line, sizeof(line), "exited %d %llu\n", WEXITSTATUS(info.exit_code), at);
  /* One write of a short line: it is there whole or not at all. The file has had the space for it since `create`. */
  if (length > 0 && write(record_fd, line, (size_t)length) < 0)
    _exit(EXIT_PLAN);
}

/* Returns whether it was the gofer that ended, if there is one. */
static bool wait_for(int pidfd, short events, int gofer_fd) {
  struct pollfd watch[2] = {{pidfd, events, 0}, {gofer_fd, POLLIN, 0}};

  while (poll(watch, 2, -1) < 0 && errno == EINTR)
    continue;
  return watch[0].revents == 0;
}

/*
 * Returns once the process has ended and, where the kernel tells its status after that alone, has been reaped; or true once the
 * gofer has ended, which serves it its files.
 */
static bool wait_for_end(int pidfd, int gofer_fd) {
  struct pidfd_info_v0 info;

  if (wait_for(pidfd, POLLIN, gofer_fd))
    return true;
  memset(&info, 0, sizeof(info));
  /* Kernels that know this request (6.13) also report POLLHUP, asked for or not, when the zombie is gone. */
  if (sys_ioctl(pidfd, PIDFD_GET_INFO_REQUEST, &info) == 0 || errno == ESRCH)
    (void)wait_for(pidfd, 0, -1);
  return false;
}

/*
 * EINVAL: 65534 has no mapping in the sandbox's user namespace; EPERM: setgroups is denied there. Without capabilities the id
 * matters little then.
 */
static void drop(long result) {
  if (result < 0 && errno != EINVAL && errno != EPERM)
    fail(errno);
}

/* Gives up everything that is not needed to wait and to write one line. */
static void confine(void) {
  (void)prctl(PR_SET_NAME, "cloche-sandbox", 0, 0, 0);
  check(setsid());
  /*
   * A directory of /proc that goes away with this process: nothing can be opened below it. Kernels such as 5.10 let only its
   * owner in, and that is the host's root while the process is not dumpable: nobody shares a pid namespace with it so far.
   */
  check(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
  check(chroot("/proc/self/fdinfo"));
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
  check(chdir("/"));
  drop(syscall(SYS_setgroups, 0, NULL));
  drop(syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY));
  drop(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
  check(sys_capset(0, 0, 0));
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/* Keeps these descriptors, three at least, above the standard streams and no others: engines wait for the end of what they gave us. */
static void keep_only(int *fds, unsigned count) {
  for (unsigned i = 0; i < count; i++) /* out of the way first */
    fds[i] = fds[i] < 0 ? -1 : check(fcntl(fds[i], F_DUPFD_CLOEXEC, (int)(2 * count)));
  check(sys_close_range(0, 2 * count - 1, 0));
  for (unsigned i = 0; i < count; i++)
    if (fds[i] >= 0)
      fds[i] = check(dup2(fds[i], (int)(count + i)));
  check(sys_close_range(2 * count, ~0u, 0));
}

/*
 * From here on there is waiting, reading the clock, and one line to write: anything else is not this program any more, and
 * ends it. restart_syscall is how the kernel resumes a poll after the process was stopped or frozen (restart_syscall(2)).
 */
static void allow_waiting_only(int record_fd, int pidfd) {
  const struct filter_op filter[] = {
      LOAD(DATA_ARCH),
      UNLESS(NATIVE_ARCH, 1), /* what is loaded then is no number of a system call, and gets to the end */
      LOAD(DATA_NUMBER),
#ifdef SYS_poll
      UNLESS(SYS_poll, 1),
      ALLOW,
#endif
      UNLESS(SYS_ppoll, 1),
      ALLOW,
      UNLESS(SYS_restart_syscall, 1),
      ALLOW,
      UNLESS(SYS_clock_gettime, 1),
      ALLOW,
      UNLESS(SYS_exit_group, 1),
      ALLOW,
      UNLESS(SYS_write, 3),
      LOAD(DATA_ARGUMENT(0)),
      UNLESS(record_fd, 7),
      ALLOW,
      UNLESS(SYS_ioctl, 5),
      LOAD(DATA_ARGUMENT(0)),
      UNLESS(pidfd, 3),
      LOAD(DATA_ARGUMENT(1)),
      UNLESS(PIDFD_GET_INFO_REQUEST, 1),
      ALLOW,
      KILL,
  };
  const struct {
    unsigned short length;
    const struct filter_op *ops;
  } program = {sizeof(filter) / sizeof(filter[0]), filter};

  /* EINVAL, ENOSYS: a kernel without filters, where those of containers are refused by name. Nothing is left to misuse. */
  if (syscall(SYS_seccomp, SET_MODE_FILTER, 0, &program) < 0 && errno != EINVAL && errno != ENOSYS)
    _exit(EXIT_PLAN);
}

/* The plan has served its purpose here; its memory lasts as long as it is mapped anywhere. */
static void forget_plan(void) {
  (void)munmap((void *)(uintptr_t)st.plan.header, st.plan.header->total_bytes);
  (void)munmap(st.pointers, st.pointers_bytes);
  memset(&st.plan, 0, sizeof(st.plan));
}

void sandbox_main(int record_fd, int gofer_fd, int handover_fd, bool tells_ipc) {
  struct message message = {MESSAGE_GO, st.current, 0, 0};
  int pidfd = -1;

  check(sys_block_signals(true));
  /* Orphans of the namespace are its children: the kernel reaps them. */
  check(signal(SIGCHLD, SIG_IGN) == SIG_ERR ? -1 : 0);
  run_host_ops(true);
  st.current = message.op;
  int ipc = tells_ipc ? check(open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC)) : -1;
  confine();
  tell_host(SYNC_SANDBOX);
  send_message(handover_fd, &message, ipc);
  forget_plan();
  /* End of file: there will be no container process. */
  if (!receive_message(handover_fd, &message, &pidfd, 1) || pidfd < 0)
    _exit(EXIT_PLAN);
  int fds[3] = {record_fd, pidfd, gofer_fd};
  keep_only(fds, 3);
  allow_waiting_only(fds[0], fds[1]);
  record_exit(fds[0], fds[1], wait_for_end(fds[1], fds[2]));
  for (;;)
    (void)syscall(SYS_exit_group, 0); /* the sanitizers' _exit calls more than the filter allows */
}
