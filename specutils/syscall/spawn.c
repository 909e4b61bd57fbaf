/* spawn(path, argv, env, fds, capabilities) of the addon: a child with exactly the descriptors, signals and capabilities that were asked for. */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_CHILD_FDS = 64 };

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

napi_value spawn(napi_env env, napi_callback_info info) {
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
