/*
 * The plan's validation. It comes from cloche, through a sealed memfd; it is checked all the same, because cloche built it from
 * a config.json that a stranger may have written. After plan_attach every op code, slot, string and list is within bounds.
 */
#include "init.h"

#include <string.h>

/* Which of an op's arguments are slots, and which strings are lists whose count an argument holds. */
struct shape {
  uint8_t slots;      /* bit i: arg[i] is a slot */
  uint8_t optional;   /* bit i: arg[i] may be NO_SLOT */
  int8_t count_of[3]; /* text[i] is a list whose count is arg[count_of[i]]; -1: a plain string */
};

#define PLAIN {-1, -1, -1}

static const struct shape shapes[] = {
    [OP_OPEN] = {0x5, 0x4, PLAIN},
    [OP_ADOPT] = {0x1, 0, PLAIN},
    [OP_OPEN_TREE] = {0x1, 0, PLAIN},
    [OP_MOUNT_SETATTR] = {0x1, 0x1, PLAIN},
    [OP_ID_MAP] = {0x1, 0, PLAIN},
    [OP_SETNS] = {0x1, 0, PLAIN},
    [OP_UNSHARE] = {0, 0, PLAIN},
    [OP_SYNC] = {0, 0, PLAIN},
    [OP_SET_IDS] = {0, 0, PLAIN},
    [OP_SANDBOX] = {0x3, 0x2, PLAIN},
    [OP_CONTAINER] = {0, 0, PLAIN},
    [OP_WRITE] = {0x1, 0x1, PLAIN},
    [OP_TARGET] = {0x3, 0, PLAIN},
    [OP_MOUNT] = {0x1, 0, {-1, -1, 2}},
    [OP_ATTACH] = {0x3, 0, PLAIN},
    [OP_CLOSE] = {0x1, 0, PLAIN},
    [OP_COPY_UP] = {0x3, 0, PLAIN},
    [OP_MKNOD] = {0x1, 0, PLAIN},
    [OP_SYMLINK] = {0x1, 0, PLAIN},
    [OP_PIVOT] = {0x1, 0, PLAIN},
    [OP_MASK] = {0x3, 0, PLAIN},
    [OP_READONLY] = {0x1, 0, PLAIN},
    [OP_HOSTNAME] = {0, 0, PLAIN},
    [OP_DOMAINNAME] = {0, 0, PLAIN},
    [OP_CONSOLE] = {0x1, 0, PLAIN},
    [OP_RLIMIT] = {0, 0, PLAIN},
    [OP_SCHEDULER] = {0, 0, PLAIN},
    [OP_IO_PRIORITY] = {0, 0, PLAIN},
    [OP_AFFINITY] = {0, 0, PLAIN},
    [OP_PERSONALITY] = {0, 0, PLAIN},
    [OP_KEYRING] = {0, 0, PLAIN},
    [OP_MEMORY_POLICY] = {0, 0, PLAIN},
    [OP_LOOPBACK] = {0, 0, PLAIN},
    [OP_UMASK] = {0, 0, PLAIN},
    [OP_CHDIR] = {0, 0, PLAIN},
    [OP_USER] = {0, 0, PLAIN},
    [OP_BOUNDING] = {0, 0, PLAIN},
    [OP_CAPABILITIES] = {0, 0, PLAIN},
    [OP_AMBIENT] = {0, 0, PLAIN},
    [OP_NO_NEW_PRIVS] = {0, 0, PLAIN},
    [OP_SECCOMP] = {0, 0, PLAIN},
    [OP_HOOK] = {0, 0, {-1, 0, 1}},
    [OP_FIND_EXECUTABLE] = {0, 0, PLAIN},
    [OP_WAIT_START] = {0x1, 0x1, PLAIN},
    [OP_EXECUTE] = {0, 0, {0, 1, -1}},
    [OP_COPY_MODE] = {0x3, 0, PLAIN},
    [OP_CHECK_NOT_PROC] = {0x1, 0, PLAIN},
    [OP_PREPARE_EXECUTE] = {0, 0, PLAIN},
    [OP_CGROUP] = {0, 0, PLAIN},
    [OP_ENTER_SANDBOX] = {0x1, 0, PLAIN},
};

/* -1 leaves ids unchanged (setresuid(2)), and a larger number is cut: either way the program would stay root. */
#define NO_ID 0xffffffffu

#define OP_CODES (sizeof(shapes) / sizeof(shapes[0]))

/* A list's length counts the NUL behind each of its strings, so that [""] and [] differ. */
static bool valid_list(const char *bytes, size_t length, uint64_t count) {
  uint64_t seen = 0;

  for (size_t at = 0; at < length; at++)
    if (bytes[at] == '\0')
      seen++;
  return seen == count && (length == 0 || bytes[length - 1] == '\0');
}

#define NAMESPACE_FLAGS 0x7e020080u /* CLONE_NEWCGROUP, IPC, NET, NS, PID, TIME, USER, UTS */

static bool valid_op(const struct plan *plan, const struct plan_op *op) {
  if (op->code == 0 || op->code >= OP_CODES)
    return false;
  const struct shape *shape = &shapes[op->code];

  for (unsigned i = 0; i < 4; i++) {
    if (!(shape->slots & (1u << i)))
      continue;
    bool absent = op->arg[i] == NO_SLOT && (shape->optional & (1u << i));
    if (!absent && op->arg[i] >= PLAN_SLOTS)
      return false;
  }
  for (unsigned i = 0; i < 3; i++) {
    uint64_t end = (uint64_t)op->text[i].offset + op->text[i].length;
    if (end >= plan->header->strings_bytes || plan->strings[end] != '\0')
      return false;
    if (shape->count_of[i] >= 0 &&
        !valid_list(plan->strings + op->text[i].offset, op->text[i].length, op->arg[shape->count_of[i]]))
      return false;
  }
  switch (op->code) {
  case OP_UNSHARE:
  case OP_CONTAINER: /* a clone flag such as CLONE_VM would have two processes on one stack */
    return ((op->arg[0] | op->arg[1]) & ~(uint64_t)NAMESPACE_FLAGS) == 0;
  case OP_TARGET:
    return op->arg[2] <= TARGET_EXISTING && (op->arg[2] != TARGET_LIKE || op->arg[3] < PLAN_SLOTS);
  case OP_MOUNT_SETATTR:
    return (op->arg[3] >> 32) <= PLAN_SLOTS;
  case OP_SET_IDS:
    return op->arg[0] < NO_ID && op->arg[1] < NO_ID;
  case OP_USER:
    return op->arg[0] < NO_ID && op->arg[1] < NO_ID && op->text[0].length % sizeof(uint32_t) == 0 && op->text[0].length / sizeof(uint32_t) == op->arg[2] &&
           op->text[0].offset % sizeof(uint32_t) == 0;
  case OP_SCHEDULER: /* sched_setattr(2) reads as many bytes as struct sched_attr says of itself in the first four */
    return op->text[0].length >= 48 && op->text[0].offset % sizeof(uint64_t) == 0 &&
           *(const uint32_t *)(const void *)(plan->strings + op->text[0].offset) == op->text[0].length;
  case OP_SECCOMP: /* struct sock_filter is 8 bytes; seccomp(2) wants at most 4096 of them */
    return op->text[0].length % 8 == 0 && op->text[0].length / 8 <= 4096 && op->text[0].offset % 8 == 0;
  case OP_MEMORY_POLICY:
    return op->text[0].length % sizeof(unsigned long) == 0 && op->arg[1] <= op->text[0].length * 8 &&
           op->text[0].offset % sizeof(unsigned long) == 0;
  default:
    return true;
  }
}

bool plan_attach(struct plan *plan, const void *bytes, size_t size) {
  const struct plan_header *header = bytes;

  if (size < sizeof(*header) || header->magic != PLAN_MAGIC || header->version != PLAN_VERSION)
    return false;
  if (header->total_bytes != size || header->op_count == 0 || header->op_count > PLAN_MAX_OPS)
    return false;
  size_t strings_at = sizeof(*header) + (size_t)header->op_count * sizeof(struct plan_op);
  if (strings_at > size || header->strings_bytes != size - strings_at || header->strings_bytes == 0)
    return false;
  if (header->container_first > header->op_count)
    return false;
  plan->header = header;
  plan->ops = (const struct plan_op *)(const void *)((const char *)bytes + sizeof(*header));
  plan->strings = (const char *)bytes + strings_at;
  for (uint32_t i = 0; i < header->op_count; i++)
    if (!valid_op(plan, &plan->ops[i]))
      return false;
  return true;
}

size_t plan_count_pointers(const struct plan *plan) {
  size_t most = 0;

  for (uint32_t i = 0; i < plan->header->op_count; i++) {
    const struct plan_op *op = &plan->ops[i];
    size_t needed = 0;
    for (unsigned t = 0; t < 3; t++)
      if (shapes[op->code].count_of[t] >= 0)
        needed += (size_t)op->arg[shapes[op->code].count_of[t]] + 1;
    if (needed > most)
      most = needed;
  }
  return most;
}

const char *text(const struct plan_op *op, unsigned index) {
  return st.plan.strings + op->text[index].offset;
}

size_t text_length(const struct plan_op *op, unsigned index) {
  return op->text[index].length;
}

void list(const struct plan_op *op, unsigned index, uint64_t count, char **out) {
  const char *at = text(op, index);

  for (uint64_t i = 0; i < count; i++) {
    /* execve's prototype lacks the const that it keeps. */
    out[i] = (char *)(uintptr_t)at;
    at += strlen(at) + 1;
  }
  out[count] = NULL;
}
