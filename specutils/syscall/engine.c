/* What the addon tells the JavaScript engine of the compiled cloche, before that reads its options. */
#define _GNU_SOURCE
#include <errno.h> /* program_invocation_name */
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

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
