/*
 * inject: runs a command and makes one system call of one of its processes fail, or kills a process in front of it.
 *
 * Why not `strace -e inject`: strace counts the calls of each process for itself, so a call in the container process can only be
 * hit where no process before it has made as many; and it counts the hundreds of calls that the engine of JavaScript makes
 * before the program's first line runs. This one names a call by process, system call and count, and starts to count where the
 * program's own work begins. Why C: ptrace(2) belongs to one thread, and must not be slow.
 *
 *     inject TRACE BEGIN MARK PROCESS NR COUNT ERRNO -- COMMAND [ARGUMENT…]
 *
 * Processes are numbered in the order in which they come to be, the command itself is 0. A process whose executable's path ends
 * with BEGIN counts its calls from the first call on whose path ends with MARK; other processes count all of theirs. Threads
 * beyond a process's first are let alone. TRACE gets a line for each counted call, `PROCESS NR COUNT RESULT PATH`, and for each
 * process and program, `PROCESS 0 PARENT fork -` and `PROCESS 0 0 exec PATH`.
 *
 * ERRNO above 0: call number COUNT of NR in PROCESS returns it without having happened. ERRNO 0: the process is killed by
 * SIGKILL instead of making the call. PROCESS -1: nothing is touched. Ends as the command did (128 + signal if one killed it);
 * what the command left running goes on, untraced. A command that takes longer than 10 seconds is killed: exit code 124.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TASKS 512
#define MAX_NR 600
#define TIME_LIMIT_S 10
#define TRACE_OPTIONS \
  (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)

struct task {
  pid_t tid;
  int process; /* number of the process; -1 for a thread that is not the first of its process */
  bool counts;
  bool inside; /* between a call's entry and its exit */
  bool failing;
  uint64_t nr;
  unsigned count;
  int engines_fd; /* of the engine's file, while it is open; -1 otherwise */
  char path[256];
};

static struct task tasks[MAX_TASKS];
static unsigned *counters; /* of the processes, MAX_NR each */
static int processes;
static const char *begin, *mark;
static int target_process, target_error;
static uint64_t target_nr;
static unsigned target_count;
static FILE *trace;

static volatile pid_t to_kill;

/* What hangs is killed; what it had started is told so by the end of its sockets. */
static void on_alarm(int signal) {
  (void)signal;
  (void)kill(to_kill, SIGKILL);
}

_Noreturn static void give_up(const char *what) {
  perror(what);
  exit(125);
}

static struct task *find(pid_t tid) {
  struct task *free_one = NULL;
  for (size_t i = 0; i < MAX_TASKS; i++) {
    if (tasks[i].tid == tid)
      return &tasks[i];
    if (!tasks[i].tid && !free_one)
      free_one = &tasks[i];
  }
  if (!free_one)
    give_up("too many tasks");
  return free_one;
}

/* Whether the thread is the first of its process, as seen in /proc. */
static bool leads(pid_t tid) {
  char path[64], line[128];
  int leader = -1;
  (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof(line), file))
    if (sscanf(line, "Tgid: %d", &leader) == 1)
      break;
  if (file)
    (void)fclose(file);
  return leader == tid;
}

/* Gives a process its number: when its parent's call says that it is there, so that the numbers follow the parents' calls. */
static struct task *introduce(pid_t tid, int parent) {
  struct task *task = find(tid);
  bool is_waiting = task->tid != 0;
  memset(task, 0, sizeof(*task));
  task->tid = tid;
  task->process = leads(tid) ? processes++ : -1;
  task->counts = true;
  task->engines_fd = -1;
  if (task->process >= 0) {
    counters = realloc(counters, (size_t)processes * MAX_NR * sizeof(*counters));
    if (!counters)
      give_up("realloc");
    memset(counters + (size_t)task->process * MAX_NR, 0, MAX_NR * sizeof(*counters));
    (void)fprintf(trace, "%d 0 %d fork -\n", task->process, parent);
  }
  if (is_waiting)
    (void)ptrace(PTRACE_SYSCALL, tid, 0, 0);
  return task;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), wanted = strlen(end);
  return wanted > 0 && length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static void read_string(pid_t tid, uint64_t address, char *out, size_t size) {
  struct iovec local = {out, size - 1}, remote = {(void *)(uintptr_t)address, size - 1};
  ssize_t got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
  if (got < 0) { /* the string may end before a page that is not there */
    local.iov_len = remote.iov_len = 4096 - address % 4096 < size ? 4096 - address % 4096 : size - 1;
    got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
  }
  out[got > 0 ? got : 0] = '\0';
}

/* Which argument is a path, for calls in which it helps to read the trace; -1 for others. */
static int path_argument(uint64_t nr) {
  switch (nr) {
  case SYS_openat:
  case SYS_openat2:
  case SYS_mkdirat:
  case SYS_mknodat:
  case SYS_unlinkat:
  case SYS_faccessat:
  case SYS_readlinkat:
  case SYS_open_tree:
  case SYS_newfstatat:
  case SYS_statx:
    return 1;
  case SYS_execve:
  case SYS_chdir:
  case SYS_umount2:
#ifdef __x86_64__
  case SYS_open:
  case SYS_mkdir:
  case SYS_rmdir:
  case SYS_unlink:
  case SYS_access:
  case SYS_readlink:
  case SYS_stat:
  case SYS_rename:
#endif
    return 0;
#ifdef __x86_64__
  case SYS_symlink:
    return 1;
#endif
  case SYS_symlinkat:
    return 2;
  default:
    return -1;
  }
}

/* The path of the descriptor that a call works on, where it has no path of its own. */
static void read_descriptor(struct task *task, uint64_t fd) {
  char link[64];
  (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)task->tid, (int)fd);
  ssize_t length = readlink(link, task->path, sizeof(task->path) - 1);
  task->path[length > 0 ? length : 0] = '\0';
}

static bool is_of_descriptor(uint64_t nr) {
  return nr == SYS_read || nr == SYS_pread64 || nr == SYS_write || nr == SYS_fstat || nr == SYS_ftruncate ||
         nr == SYS_newfstatat || nr == SYS_statx;
}

static void set_number(pid_t tid, int number) {
#if defined(__x86_64__)
  if (ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, orig_rax), (long)number) < 0)
    give_up("PTRACE_POKEUSER");
#elif defined(__aarch64__)
  struct iovec part = {&number, sizeof(number)};
  if (ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &part) < 0)
    give_up("PTRACE_SETREGSET");
#else
#error "no way known to change a system call on this machine"
#endif
}

static void set_result(pid_t tid, long result) {
#if defined(__x86_64__)
  if (ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rax), result) < 0)
    give_up("PTRACE_POKEUSER");
#else
  struct user_regs_struct regs;
  struct iovec all = {&regs, sizeof(regs)};
  if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all) < 0)
    give_up("PTRACE_GETREGSET");
  regs.regs[0] = (unsigned long)result;
  if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &all) < 0)
    give_up("PTRACE_SETREGSET");
#endif
}

/* The engine of JavaScript looks at its own memory now and then: what it does with that file is not counted. */
static const char ENGINES_FILE[] = "/proc/self/statm";

static bool is_engines(struct task *task, const struct __ptrace_syscall_info *info) {
  if (ends_with(task->path, ENGINES_FILE))
    return true;
  if (task->engines_fd < 0 || info->entry.args[0] != (uint64_t)task->engines_fd)
    return false;
  if (task->nr == SYS_close)
    task->engines_fd = -1;
  return true;
}

static void on_entry(struct task *task, const struct __ptrace_syscall_info *info) {
  task->inside = true;
  task->failing = false;
  task->nr = info->entry.nr;
  task->count = 0;
  task->path[0] = '\0';
  if (task->process < 0 || task->nr >= MAX_NR)
    return;
  int argument = path_argument(task->nr);
  if (argument >= 0)
    read_string(task->tid, info->entry.args[argument], task->path, sizeof(task->path));
  if (task->path[0] == '\0' && is_of_descriptor(task->nr))
    read_descriptor(task, info->entry.args[0]);
  if (!task->counts && ends_with(task->path, mark))
    task->counts = true;
  if (!task->counts || is_engines(task, info))
    return;
  task->count = ++counters[(size_t)task->process * MAX_NR + task->nr];
  if (task->process != target_process || task->nr != target_nr || task->count != target_count)
    return;
  (void)fprintf(trace, "%d %d %u hit %s\n", task->process, (int)task->nr, task->count, task->path);
  if (target_error == 0) {
    (void)kill(task->tid, SIGKILL);
  } else {
    task->failing = true;
    set_number(task->tid, -1);
  }
}

static void on_exit_of_call(struct task *task, const struct __ptrace_syscall_info *info) {
  if (task->inside && task->nr == SYS_openat && ends_with(task->path, ENGINES_FILE))
    task->engines_fd = (int)info->exit.rval;
  if (task->failing)
    set_result(task->tid, -(long)target_error);
  else if (task->count > 0 && info->exit.is_error && info->exit.rval <= -512 && info->exit.rval >= -516) {
    /* ERESTARTSYS and its like: a signal came in between, the call is made again and is still the same one. */
    counters[(size_t)task->process * MAX_NR + task->nr]--;
    task->count = 0;
  }
  if (task->inside && task->count > 0)
    (void)fprintf(trace, "%d %d %u %lld %s\n", task->process, (int)task->nr, task->count,
                  task->failing ? -(long long)target_error : (long long)info->exit.rval, task->path);
  task->inside = false;
}

static void on_call(struct task *task) {
  struct __ptrace_syscall_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof(info), &info) < 0)
    return; /* killed meanwhile */
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
    on_entry(task, &info);
  else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
    on_exit_of_call(task, &info);
}

/* A new program: whether it is one that begins to count later, and its call of execve is over. */
static void on_execve(struct task *task) {
  char link[64], path[4096];
  (void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)task->tid);
  ssize_t length = readlink(link, path, sizeof(path) - 1);
  path[length > 0 ? length : 0] = '\0';
  task->counts = !ends_with(path, begin);
  (void)fprintf(trace, "%d 0 0 exec %s\n", task->process, path);
}

static void on_stop(pid_t tid, int status) {
  struct task *task = find(tid);
  int signal = WSTOPSIG(status), event = status >> 16, pass_on = 0;

  if (!task->tid) {
    task->tid = tid; /* ahead of its parent's stop: it waits for its number */
    return;
  }

  if (signal == (SIGTRAP | 0x80)) {
    on_call(task);
  } else if (event == PTRACE_EVENT_STOP) {
    if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) {
      (void)ptrace(PTRACE_LISTEN, tid, 0, 0);
      return;
    }
  } else if (event == PTRACE_EVENT_EXEC) {
    on_execve(task);
  } else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
    unsigned long child;
    if (ptrace(PTRACE_GETEVENTMSG, tid, 0, &child) == 0)
      (void)introduce((pid_t)child, task->process);
  } else if (event == 0) {
    pass_on = signal;
  }
  (void)ptrace(PTRACE_SYSCALL, tid, 0, (long)pass_on); /* ESRCH: killed meanwhile */
}

static pid_t start(char **command) {
  int gate[2];
  char byte = 0;
  if (pipe2(gate, O_CLOEXEC) < 0)
    give_up("pipe");
  pid_t child = fork();
  if (child < 0)
    give_up("fork");
  if (child == 0) {
    (void)!read(gate[0], &byte, 1);
    (void)execvp(command[0], command);
    _exit(127);
  }
  if (ptrace(PTRACE_SEIZE, child, 0, (long)TRACE_OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, child, 0, 0) < 0)
    give_up("PTRACE_SEIZE");
  struct task *task = introduce(child, -1);
  task->counts = false; /* what it does before execve is not the command's */
  int status;
  if (waitpid(child, &status, 0) < 0 || ptrace(PTRACE_SYSCALL, child, 0, 0) < 0)
    give_up("PTRACE_SYSCALL");
  if (write(gate[1], &byte, 1) != 1)
    give_up("write");
  (void)close(gate[0]);
  (void)close(gate[1]);
  return child;
}

int main(int argc, char **argv) {
  if (argc < 10 || strcmp(argv[8], "--") != 0)
    return 125;
  trace = fopen(argv[1], "we");
  if (!trace)
    give_up(argv[1]);
  begin = argv[2];
  mark = argv[3];
  target_process = atoi(argv[4]);
  target_nr = (uint64_t)atoi(argv[5]);
  target_count = (unsigned)atoi(argv[6]);
  target_error = atoi(argv[7]);

  pid_t command = start(argv + 9);
  (void)signal(SIGALRM, on_alarm);
  to_kill = command;
  (void)alarm(TIME_LIMIT_S);
  for (;;) {
    int status;
    pid_t tid = waitpid(-1, &status, __WALL);
    if (tid < 0) {
      if (errno == EINTR)
        continue;
      give_up("waitpid");
    }
    if (WIFSTOPPED(status)) {
      on_stop(tid, status);
      continue;
    }
    struct task *task = find(tid);
    task->tid = 0;
    if (tid == command) {
      (void)fclose(trace);
      if (alarm(0) == 0)
        return 124;
      return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
}
