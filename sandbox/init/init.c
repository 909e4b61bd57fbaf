/*
 * cloche-init: what has to happen inside new namespaces, and nothing else.
 *
 * Why C: a multi-threaded process (every JavaScript engine is one) cannot unshare or enter a user namespace, must not fork
 * without exec, and weighs megabytes where this weighs kilobytes in every idle container.
 *
 * What it does, in order:
 *   host stage       starts as a child of cloche, in the namespaces of the caller. Reads the plan (protocol.h) from a sealed
 *                    memfd, opens what must be opened on the host, enters and creates namespaces, starts the next two, ends.
 *   sandbox process  PID 1 of the sandbox's pid namespace (OP_SANDBOX). Waits for the container process to end, writes
 *                    down how it ended, ends, and with it the kernel ends all that is left in the sandbox.
 *   container        the process that engines see (OP_CONTAINER). Mounts, pivots, drops privileges, waits for `start`,
 *                    becomes the user's program.
 *
 * What it must never do: decide anything (cloche computed the plan), parse text of the user's, allocate after the first
 * fork, keep a descriptor over execve that the plan did not name, or go on after a failure.
 *
 * Every failure is one message to cloche: which op, which errno. cloche words it.
 */
#define _GNU_SOURCE
#include "init.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct state st;

/* Where the program was loaded, its ELF header first; from the linker. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/*
 * Makes what was relocated at start-up read-only (-z relro), which the start-up code of musl leaves out of static programs.
 * The segment ends at a page's end; its first page has nothing else in it.
 */
static void protect_relocations(void) {
  const ElfW(Ehdr) *header = (const void *)__ehdr_start;
  const ElfW(Phdr) *segments = (const void *)(__ehdr_start + header->e_phoff);

  for (size_t i = 0; i < header->e_phnum; i++) {
    if (segments[i].p_type != PT_GNU_RELRO)
      continue;
    uintptr_t from = (uintptr_t)__ehdr_start + segments[i].p_vaddr;
    uintptr_t end = from + segments[i].p_memsz;
    size_t page = (size_t)getpagesize();
    from -= from % page;
    if (mprotect((void *)from, end - from, PROT_READ) < 0)
      die(NO_OP, errno);
  }
}

static void load_plan(int plan_fd) {
  struct stat info;

  if (fstat(plan_fd, &info) < 0)
    die(NO_OP, errno);
  /* A seal on writing means that what is validated here is what is carried out later. */
  int seals = fcntl(plan_fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_WRITE) || !(seals & F_SEAL_SHRINK))
    die(NO_OP, EPERM);
  if (info.st_size < (off_t)sizeof(struct plan_header) || info.st_size > (off_t)PLAN_MAX_BYTES)
    die(NO_OP, EINVAL);
  const void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, plan_fd, 0);
  if (bytes == MAP_FAILED)
    die(NO_OP, errno);
  if (!plan_attach(&st.plan, bytes, (size_t)info.st_size))
    die(NO_OP, EINVAL);
  (void)close(plan_fd); /* the mapping stays */

  /* Pointer arrays for every list of the plan are laid out now: nothing is allocated after the first fork. */
  size_t pointers = plan_count_pointers(&st.plan);
  st.pointers_bytes = (pointers + 1) * sizeof(char *);
  st.pointers = mmap(NULL, st.pointers_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (st.pointers == MAP_FAILED)
    die(NO_OP, errno);
}

int main(int argc, char **argv) {
  if (argc != 3)
    return EXIT_PLAN;
  st.sync_fd = atoi(argv[1]);
  int plan_fd = atoi(argv[2]);
  int last = st.sync_fd > plan_fd ? st.sync_fd : plan_fd;
  if (st.sync_fd < 3 || plan_fd < 3 || fcntl(st.sync_fd, F_SETFD, FD_CLOEXEC) < 0)
    return EXIT_PLAN;
  protect_relocations();

  st.handover_fd = -1;
  for (size_t i = 0; i < MAX_CGROUP_FDS; i++)
    st.cgroup_fds[i] = -1;
  /* cloche passes adopted descriptors below these two; what lies above leaked from the caller. */
  if (sys_close_range((unsigned)last + 1, ~0u, 0) < 0)
    die(NO_OP, errno);
  /* Whatever runs before execve must not be traced or read through /proc by what it shares a namespace with (CVE-2016-9962). */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
    die(NO_OP, errno);
  /* Otherwise the number of the descriptor that it was executed by; cannot fail. */
  (void)prctl(PR_SET_NAME, "cloche-init", 0, 0, 0);
  (void)umask(0); /* the plan's modes are meant as written */
  load_plan(plan_fd);

  run_host_ops(false);
  return 0;
}
