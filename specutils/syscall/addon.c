/*
 * cloche-syscall.node: raw system calls for TypeScript, as one small N-API addon. Its twin is ../syscall.ts.
 *
 * Why it exists: node:fs has no mount, openat2, sendmsg, pidfd_open, wait4, bpf ...; and three things cannot be put
 * together from single calls made by a multi-threaded JavaScript engine: starting a child with exact descriptors, knowing
 * the address of a buffer, and a signal handler that works while JavaScript is blocked in a system call.
 *
 * What always holds: no policy, no state but what its signal handlers need, a failing call is the number -errno and never an
 * exception, and an argument that cannot be passed on exactly (a NUL inside a string, a missing value) is a TypeError.
 * The same file works under Bun and Node (Node-API 8).
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <node_api.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SYSCALL_ARGS = 6, STRING_SPACE = 4096, MAX_CHILD_FDS = 64, MAX_SIGNAL = 64 };

static napi_value type_error(napi_env env, const char *text) {
  /* Fails only when an exception is pending already, which then says enough. */
  (void)napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text);
  return NULL;
}

static napi_value number(napi_env env, int64_t value) {
  napi_value result = NULL;
  if (napi_create_int64(env, value, &result) != napi_ok)
    return NULL;
  return result;
}

/* ---- sys(nr, ...args) ---- */

/* The strings of one call: in `space` while they fit, in `heap` otherwise. */
struct strings {
  size_t used;
  char *heap[MAX_SYSCALL_ARGS];
  char space[STRING_SPACE];
};

static void free_strings(struct strings *strings) {
  for (size_t i = 0; i < MAX_SYSCALL_ARGS; i++)
    free(strings->heap[i]);
}

/* NUL-terminated copy of argument `index`; NULL if there is no memory or the text itself contains a NUL. */
static char *copy_string(napi_env env, napi_value value, struct strings *strings, size_t index) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok)
    return NULL;
  char *text;
  if (length < STRING_SPACE - strings->used) {
    text = strings->space + strings->used;
    strings->used += length + 1;
  } else {
    text = strings->heap[index] = malloc(length + 1);
    if (!text)
      return NULL;
  }
  if (napi_get_value_string_utf8(env, value, text, length + 1, &length) != napi_ok || strlen(text) != length)
    return NULL;
  return text;
}

static bool is_bytes(napi_env env, napi_value value, void **data) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  return napi_is_typedarray(env, value, &is_typed_array) == napi_ok && is_typed_array &&
         napi_get_typedarray_info(env, value, &type, NULL, data, NULL, NULL) == napi_ok;
}

/* What the kernel gets for a JavaScript value; false if the value cannot be passed on exactly. */
static bool to_argument(napi_env env, napi_value value, struct strings *strings, size_t index, long *out) {
  napi_valuetype type;
  int64_t integer = 0;
  double real = 0;
  bool lossless = false;
  void *data = NULL;

  /* Nearly all are numbers: one question for those. Of what is no number it is refused, and nothing else happens. */
  if (napi_get_value_double(env, value, &real) == napi_ok) {
    /* Out of this range, or for NaN, the conversion would not be defined. */
    if (!(real >= -0x1p63 && real < 0x1p63))
      return false;
    *out = (long)real;
    return (double)*out == real;
  }
  if (napi_typeof(env, value, &type) != napi_ok)
    return false;
  switch (type) {
  case napi_bigint:
    /* Bits are what counts: 2^63 and above are as good as the negative number of the same bits. */
    if (napi_get_value_bigint_int64(env, value, &integer, &lossless) != napi_ok)
      return false;
    *out = (long)integer;
    return true;
  case napi_string:
    *out = (long)copy_string(env, value, strings, index);
    return *out != 0;
  case napi_null:
    *out = 0;
    return true;
  case napi_object:
    if (!is_bytes(env, value, &data))
      return false;
    *out = (long)data;
    return true;
  default:
    return false;
  }
}

static napi_value sys(napi_env env, napi_callback_info info) {
  napi_value values[1 + MAX_SYSCALL_ARGS];
  size_t count = 1 + MAX_SYSCALL_ARGS;
  long args[MAX_SYSCALL_ARGS] = { 0 };
  int64_t nr = 0;
  /* 4 KiB are not worth zeroing for a call that takes 100 ns: what is read was written by copy_string. */
  __attribute__((uninitialized)) struct strings strings;

  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 1 ||
      count > 1 + MAX_SYSCALL_ARGS || napi_get_value_int64(env, values[0], &nr) != napi_ok)
    return type_error(env, "sys: a system call number and up to 6 arguments are wanted");
  strings.used = 0;
  memset(strings.heap, 0, sizeof(strings.heap));
  for (size_t i = 1; i < count; i++) {
    if (!to_argument(env, values[i], &strings, i - 1, &args[i - 1])) {
      free_strings(&strings);
      return type_error(
        env, "sys: an argument is an integer, bytes, null, or a string without NUL characters");
    }
  }
  long result = syscall((long)nr, args[0], args[1], args[2], args[3], args[4], args[5]);
  int64_t answer = result == -1 ? -errno : result;
  free_strings(&strings);
  return number(env, answer);
}

/*
 * sysRow(calls): system calls one after the other, with nothing of the engine's run between them, so that what the last one
 * waits with is what the ones before have left. Seven 64-bit numbers for each, the call's own first. The result of the last.
 */
static napi_value sys_row(napi_env env, napi_callback_info info) {
  enum { CALL_WORDS = 1 + MAX_SYSCALL_ARGS };
  napi_value value;
  size_t count = 1, length = 0;
  bool is_typed_array = false;
  napi_typedarray_type type = napi_int8_array;
  void *data = NULL;

  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count != 1 ||
      napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
      napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok ||
      type != napi_bigint64_array || length == 0 || length % CALL_WORDS != 0)
    return type_error(env, "sysRow: a BigInt64Array of system call numbers with 6 arguments each is wanted");
  long result = 0;
  const int64_t *end = (const int64_t *)data + length;
  for (const int64_t *call = data; call != end; call += CALL_WORDS)
    result = syscall((long)call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
  return number(env, result == -1 ? -errno : result);
}

/* The nanoseconds of the monotonic clock. */
static int64_t now(void) {
  struct timespec time = { 0 };
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/*
 * readSoon(fd, other, address, size, nanoseconds): sched_yield(2), then read(2) of a non-blocking descriptor, and of another one (-1
 * for none) if there is nothing to be read; the same again and again for as long as was asked. The result is read's or -errno of
 * the first; to a length are added READ_OTHER if it is the other one's and READ_LATER if it was not there at once. One call, as each costs
 * the engine's interpreter more than the read.
 */
static const int64_t READ_OTHER = 1LL << 32, READ_LATER = 1LL << 33;

static napi_value read_soon(napi_env env, napi_callback_info info) {
  enum { FD, OTHER, ADDRESS, SIZE, NANOSECONDS, COUNT };
  napi_value values[COUNT];
  int64_t arg[COUNT];
  size_t count = COUNT;
  int64_t until = 0;

  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count != COUNT)
    return type_error(env, "readSoon: five arguments are wanted");
  for (size_t i = 0; i < COUNT; i++)
    if (napi_get_value_int64(env, values[i], &arg[i]) != napi_ok)
      return type_error(env, "readSoon: an argument is an integer");
  for (bool is_later = false;; is_later = true) {
    const int fds[2] = { (int)arg[FD], (int)arg[OTHER] };
    (void)sched_yield();
    for (int which = 0; which < 2 && fds[which] >= 0; which++) {
      const ssize_t length = read(fds[which], (void *)(uintptr_t)arg[ADDRESS], (size_t)arg[SIZE]);
      if (length >= 0)
        return number(env, length + (which == 1 ? READ_OTHER : 0) + (is_later ? READ_LATER : 0));
      /* What is wrong with the other one shows when that one is read. */
      if (errno != EAGAIN && which == 0)
        return number(env, -errno);
    }
    const int64_t time = now();
    if (until == 0)
      until = time + arg[NANOSECONDS];
    if (time >= until)
      return number(env, -EAGAIN);
  }
}

static napi_value address_of(napi_env env, napi_callback_info info) {
  napi_value value, result = NULL;
  size_t count = 1;
  void *data = NULL;

  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count != 1 ||
      !is_bytes(env, value, &data))
    return type_error(env, "addressOf: bytes are wanted");
  if (napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)data, &result) != napi_ok)
    return NULL;
  return result;
}

/* ---- error texts ---- */

static napi_value error_text(napi_env env, napi_callback_info info) {
  napi_value value, result = NULL;
  size_t count = 1;
  int32_t number_of = 0;

  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_int32(env, value, &number_of) != napi_ok)
    return type_error(env, "errorText: a number is wanted");
  const char *text = strerrordesc_np(number_of);
  if (napi_create_string_utf8(env, text ? text : "", NAPI_AUTO_LENGTH, &result) != napi_ok)
    return NULL;
  return result;
}

static napi_value error_name(napi_env env, napi_callback_info info) {
  napi_value value, result = NULL;
  size_t count = 1;
  int32_t number_of = 0;

  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_int32(env, value, &number_of) != napi_ok)
    return type_error(env, "errorName: a number is wanted");
  const char *text = strerrorname_np(number_of);
  if (napi_create_string_utf8(env, text ? text : "", NAPI_AUTO_LENGTH, &result) != napi_ok)
    return NULL;
  return result;
}

/* ---- spawn(path, argv, env, fds, capabilities) ---- */

struct child {
  char *path;
  char **argv;
  char **envp;
  /* The capabilities that it may have, bit n for capability n; all bits: no limit. */
  uint64_t capabilities;
  size_t fd_count;
  /* Ascending by `wanted`, without doubles. */
  struct {
    int wanted;
    int given;
  } fds[MAX_CHILD_FDS];
};

static int close_on_exec(unsigned int first, unsigned int last) {
  if (syscall(SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) == 0) {
    return 0;
  }
  if (errno != EINVAL) {
    return -1;
  }
  /* CLOSE_RANGE_CLOEXEC came with Linux 5.11. */
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
    return -1;
  }
  for (unsigned int fd = first; fd <= last && fd < limit.rlim_max; fd++) {
    if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 && errno != EBADF) {
      return -1;
    }
  }
  return 0;
}

/*
 * In the child: has execve close everything outside the wanted numbers, which are ascending. Not before: the program itself may
 * be named by one of ours (/proc/self/fd/N).
 */
static int close_others(const struct child *child) {
  unsigned int next = 0;
  for (size_t i = 0; i < child->fd_count; i++) {
    unsigned int wanted = (unsigned int)child->fds[i].wanted;
    if (wanted > next && close_on_exec(next, wanted - 1) < 0)
      return -1;
    next = wanted + 1;
  }
  return close_on_exec(next, ~0U);
}

/* In the child: gives each descriptor its wanted number. All are moved out of the way first, so that none is overwritten. */
static int place_fds(const struct child *child) {
  const size_t count = child->fd_count;
  const int above = count == 0 ? 0 : child->fds[count - 1].wanted + 1;
  int moved[MAX_CHILD_FDS] = { 0 };

  for (size_t i = 0; i < count; i++) {
    moved[i] = fcntl(child->fds[i].given, F_DUPFD_CLOEXEC, above);
    if (moved[i] < 0)
      return -1;
  }
  for (size_t i = 0; i < count; i++)
    if (dup2(moved[i], child->fds[i].wanted) < 0)
      return -1;
  return close_others(child);
}

/* In the child: takes capabilities out of the bounding set, so that not even root has them after execve. */
static int limit_capabilities(uint64_t kept) {
  for (unsigned long capability = 0; capability < 64; capability++)
    if ((kept >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
      return -1; /* EINVAL: there is none of that number */
  return 0;
}

/* A caller that ignores SIGCHLD hands that on, and the kernel then throws away how children ended (wait(2)). */
static void wait_for_children(void) {
  struct sigaction action;

  if (sigaction(SIGCHLD, NULL, &action) < 0 || action.sa_handler != SIG_IGN)
    return;
  action.sa_handler = SIG_DFL;
  (void)sigaction(SIGCHLD, &action, NULL); /* cannot fail for this signal */
}

/*
 * vfork, for the parent's memory is large and not to be copied. The child runs in that memory: nothing is allocated, no
 * lock is taken, and signals stay blocked until every handler is gone, or a handler of the JavaScript engine would run in it.
 * Returns the pid, or -errno of the step that failed.
 */
static __attribute__((noinline)) int64_t spawn_child(const struct child *child) {
  sigset_t all, none, before;
  volatile int failure = 0;

  wait_for_children();
  (void)sigfillset(&all);
  (void)sigemptyset(&none);
  int error = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (error != 0)
    return -error;
  pid_t pid = vfork();
  if (pid == 0) {
    struct sigaction dfl = { .sa_handler = SIG_DFL };
    /* SIGKILL, SIGSTOP and glibc's own two are refused: the kernel's default holds for the former, exec resets the latter. */
    for (int signal_number = 1; signal_number <= MAX_SIGNAL; signal_number++)
      (void)sigaction(signal_number, &dfl, NULL);
    if (place_fds(child) == 0 && limit_capabilities(child->capabilities) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0)
      (void)execve(child->path, child->argv, child->envp);
    failure = errno;
    _exit(127);
  }
  int64_t result = pid < 0 ? -errno : pid;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid > 0 && failure != 0) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
      ;
    return -failure;
  }
  return result;
}

static char *heap_string(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok)
    return NULL;
  char *text = malloc(length + 1);
  if (!text)
    return NULL;
  if (napi_get_value_string_utf8(env, value, text, length + 1, &length) != napi_ok || strlen(text) != length) {
    free(text);
    return NULL;
  }
  return text;
}

static void free_list(char **list) {
  for (char **item = list; item && *item; item++)
    free(*item);
  free(list);
}

/* NULL-terminated copy of an array of strings; NULL if it is something else. */
static char **heap_list(napi_env env, napi_value value) {
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok)
    return NULL;
  char **list = calloc((size_t)length + 1, sizeof(*list));
  if (!list)
    return NULL;
  for (uint32_t i = 0; i < length; i++) {
    napi_value item;
    if (napi_get_element(env, value, i, &item) != napi_ok || !(list[i] = heap_string(env, item))) {
      free_list(list);
      return NULL;
    }
  }
  return list;
}

/* Reads pairs of (wanted, given) from an Int32Array. False if they are not ascending, negative or too many. */
static bool read_fds(napi_env env, napi_value value, struct child *child) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  size_t length = 0;
  void *data = NULL;

  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
      napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok ||
      type != napi_int32_array || length % 2 != 0 || length / 2 > MAX_CHILD_FDS)
    return false;
  child->fd_count = length / 2;
  for (size_t i = 0; i < child->fd_count; i++) {
    child->fds[i].wanted = ((const int32_t *)data)[2 * i];
    child->fds[i].given = ((const int32_t *)data)[2 * i + 1];
    if (child->fds[i].wanted < 0 || child->fds[i].given < 0 ||
        (i > 0 && child->fds[i].wanted <= child->fds[i - 1].wanted))
      return false;
  }
  return true;
}

static napi_value spawn(napi_env env, napi_callback_info info) {
  napi_value values[5];
  size_t count = 5;
  bool is_lossless = false;
  struct child child = { 0 };
  napi_value result = NULL;

  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) == napi_ok && count == 5 &&
      napi_get_value_bigint_uint64(env, values[4], &child.capabilities, &is_lossless) == napi_ok && is_lossless &&
      (child.path = heap_string(env, values[0])) && (child.argv = heap_list(env, values[1])) &&
      (child.envp = heap_list(env, values[2])) && read_fds(env, values[3], &child))
    result = number(env, spawn_child(&child));
  else
    (void)type_error(
      env, "spawn: a path, two lists of strings without NUL characters, at most 64 descriptors and a 64-bit set are wanted");
  free(child.path);
  free_list(child.argv);
  free_list(child.envp);
  return result;
}

/* ---- forwardSignals(pidfd), stopForwarding() ---- */

static volatile sig_atomic_t forward_to = -1;
static bool is_forwarded[MAX_SIGNAL + 1];
static struct sigaction action_before[MAX_SIGNAL + 1];

static void forward(int signal_number) {
  int errno_before = errno;
  /* The process may have ended a moment ago: then nobody is left to tell, and the wait for it returns. */
  (void)syscall(SYS_pidfd_send_signal, (int)forward_to, signal_number, NULL, 0);
  errno = errno_before;
}

/*
 * Not forwarded: what cannot be caught; what concerns this process alone (its children, its pipes, its terminal's size and
 * its being in the background: a restarted terminal read would spin); and, below, what the engine has a handler for
 * (faults, and the signal its garbage collector stops threads with).
 */
static bool may_forward(int signal_number) {
  switch (signal_number) {
  case SIGKILL:
  case SIGSTOP:
  case SIGCHLD:
  case SIGPIPE:
  case SIGURG:
  case SIGWINCH:
  case SIGTTIN:
  case SIGTTOU:
    return false;
  default:
    return true;
  }
}

static napi_value forward_signals(napi_env env, napi_callback_info info) {
  napi_value value;
  size_t count = 1;
  int32_t pidfd = -1;

  if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_int32(env, value, &pidfd) != napi_ok || pidfd < 0)
    return type_error(env, "forwardSignals: a descriptor is wanted");
  if (forward_to >= 0)
    return number(env, -EBUSY);
  forward_to = pidfd;
  struct sigaction action = { .sa_handler = forward, .sa_flags = SA_RESTART };
  (void)sigfillset(&action.sa_mask);
  for (int signal_number = 1; signal_number <= MAX_SIGNAL; signal_number++) {
    struct sigaction *before = &action_before[signal_number];
    /* Fails for the signals that glibc keeps for itself: they stay as they are. */
    if (!may_forward(signal_number) || sigaction(signal_number, NULL, before) != 0)
      continue;
    bool has_handler = (before->sa_flags & SA_SIGINFO) != 0 ||
           (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN);
    if (!has_handler && sigaction(signal_number, &action, NULL) == 0)
      is_forwarded[signal_number] = true;
  }
  return number(env, 0);
}

static napi_value stop_forwarding(napi_env env, napi_callback_info info) {
  (void)info;
  for (int signal_number = 1; signal_number <= MAX_SIGNAL; signal_number++) {
    if (is_forwarded[signal_number])
      (void)sigaction(signal_number, &action_before[signal_number], NULL);
    is_forwarded[signal_number] = false;
  }
  forward_to = -1;
  return number(env, 0);
}

/* ---- followTerminalSize(from, to), stopFollowing() ---- */

static volatile sig_atomic_t size_from = -1;
static volatile sig_atomic_t size_to = -1;
static struct sigaction resize_before;

/* Two calls of the kernel's, nothing else: it may run on any thread, at any time. */
static int copy_size(void) {
  struct winsize size;
  if (ioctl((int)size_from, TIOCGWINSZ, &size) < 0 || ioctl((int)size_to, TIOCSWINSZ, &size) < 0)
    return -errno;
  return 0;
}

static void resized(int signal_number) {
  int errno_before = errno;
  (void)signal_number;
  (void)copy_size(); /* a terminal that is gone has no size */
  errno = errno_before;
}

static napi_value follow_terminal_size(napi_env env, napi_callback_info info) {
  napi_value values[2];
  size_t count = 2;
  int32_t from = -1, to = -1;

  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_value_int32(env, values[0], &from) != napi_ok || napi_get_value_int32(env, values[1], &to) != napi_ok)
    return type_error(env, "followTerminalSize: two descriptors are wanted");
  if (size_from >= 0)
    return number(env, -EBUSY);
  size_from = from;
  size_to = to;
  /* The handler first: a change between the two would be lost the other way round. */
  struct sigaction action = { .sa_handler = resized, .sa_flags = SA_RESTART };
  (void)sigfillset(&action.sa_mask);
  int result = sigaction(SIGWINCH, &action, &resize_before) < 0 ? -errno : copy_size();
  if (result < 0) {
    (void)sigaction(SIGWINCH, &resize_before, NULL);
    size_from = size_to = -1;
  }
  return number(env, result);
}

static napi_value stop_following(napi_env env, napi_callback_info info) {
  (void)info;
  if (size_from >= 0)
    (void)sigaction(SIGWINCH, &resize_before, NULL);
  size_from = size_to = -1;
  return number(env, 0);
}

/* Removes every variable whose name begins with `prefix`. */
static void forget_variables(const char *prefix) {
  const size_t length = strlen(prefix);
  char name[256];
  char **entry = environ;

  while (entry != NULL && *entry != NULL) {
    const size_t name_length = strcspn(*entry, "=");
    if (strncmp(*entry, prefix, length) != 0 || name_length >= sizeof(name)) {
      entry++;
      continue;
    }
    memcpy(name, *entry, name_length);
    name[name_length] = '\0';
    (void)unsetenv(name); /* closes the gap: the next one is here now */
  }
}

/*
 * The compiled cloche has this file loaded at its start, before main (scripts/link-executable.ts), because its JavaScript engine takes
 * its options from the environment alone. What the caller's environment says to the engine is forgotten: BUN_OPTIONS and
 * BUN_INSPECT_PRELOAD run other code, BUN_BE_BUN makes cloche another program, and sudo may be told to keep them. A command is
 * over before compiled code would pay: making room for it and starting the threads of the compilers is a fifth of a short call
 * (docs/PERFORMANCE.md). In a gofer compiled code would save little, and be memory that is both written and executed.
 */
__attribute__((constructor)) static void choose_engine_options(void) {
  char executable[4096];
  const ssize_t length = readlink("/proc/self/exe", executable, sizeof(executable) - 1);
  if (length < 0)
    return;
  executable[length] = '\0';
  const char *name = strrchr(executable, '/');
  /* Under Bun or Node the engine has begun long ago, and its environment is not ours. */
  if (name == NULL || strcmp(name, "/cloche") != 0)
    return;
  forget_variables("BUN_");
  (void)setenv("BUN_JSC_useJIT", "0", 0);
  /* Otherwise the first collection comes after 32 MiB of garbage, and what was used once is seldom given back. */
  if (strcmp(program_invocation_name, "cloche-gofer") == 0)
    (void)setenv("BUN_JSC_largeHeapSize", "8388608", 0);
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor exported[] = {
    { "sys", NULL, sys, NULL, NULL, NULL, napi_enumerable, NULL },
    { "sysRow", NULL, sys_row, NULL, NULL, NULL, napi_enumerable, NULL },
    { "readSoon", NULL, read_soon, NULL, NULL, NULL, napi_enumerable, NULL },
    { "addressOf", NULL, address_of, NULL, NULL, NULL, napi_enumerable, NULL },
    { "errorName", NULL, error_name, NULL, NULL, NULL, napi_enumerable, NULL },
    { "errorText", NULL, error_text, NULL, NULL, NULL, napi_enumerable, NULL },
    { "spawn", NULL, spawn, NULL, NULL, NULL, napi_enumerable, NULL },
    { "forwardSignals", NULL, forward_signals, NULL, NULL, NULL, napi_enumerable, NULL },
    { "stopForwarding", NULL, stop_forwarding, NULL, NULL, NULL, napi_enumerable, NULL },
    { "followTerminalSize", NULL, follow_terminal_size, NULL, NULL, NULL, napi_enumerable, NULL },
    { "stopFollowing", NULL, stop_following, NULL, NULL, NULL, napi_enumerable, NULL },
  };
  if (napi_define_properties(env, exports, sizeof(exported) / sizeof(exported[0]), exported) != napi_ok)
    return NULL;
  return exports;
}
