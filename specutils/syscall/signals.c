/* The addon's signal handlers, which work while JavaScript is blocked in a system call: signals passed on, a terminal's size followed. */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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

napi_value forward_signals(napi_env env, napi_callback_info info) {
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

napi_value stop_forwarding(napi_env env, napi_callback_info info) {
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

napi_value follow_terminal_size(napi_env env, napi_callback_info info) {
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

napi_value stop_following(napi_env env, napi_callback_info info) {
  (void)info;
  if (size_from >= 0)
    (void)sigaction(SIGWINCH, &resize_before, NULL);
  size_from = size_to = -1;
  return number(env, 0);
}
