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
 *
 * Here are the calls and what is exported; spawn.c starts children, signals.c has the signal handlers, engine.c what happens before main.
 */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SYSCALL_ARGS = 6, STRING_SPACE = 4096 };

napi_value type_error(napi_env env, const char *text) {
  /* Fails only when an exception is pending already, which then says enough. */
  (void)napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text);
  return NULL;
}

napi_value number(napi_env env, int64_t value) {
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
