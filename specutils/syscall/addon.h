/* What the parts of the addon share: how arguments are refused and numbers returned, and the functions that addon.c exports. */
#ifndef CLOCHE_ADDON_H
#define CLOCHE_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdint.h>

enum { MAX_SIGNAL = 64 };

/* Throws a TypeError; returns NULL, for the caller to return. */
napi_value type_error(napi_env env, const char *text);

/* A JavaScript number; NULL if there is none to be had, and then an exception is pending. */
napi_value number(napi_env env, int64_t value);

/* spawn.c: spawn(path, argv, env, fds, capabilities) */
napi_value spawn(napi_env env, napi_callback_info info);

/* signals.c: forwardSignals(pidfd), stopForwarding(), followTerminalSize(from, to), stopFollowing() */
napi_value forward_signals(napi_env env, napi_callback_info info);
napi_value stop_forwarding(napi_env env, napi_callback_info info);
napi_value follow_terminal_size(napi_env env, napi_callback_info info);
napi_value stop_following(napi_env env, napi_callback_info info);

#endif
