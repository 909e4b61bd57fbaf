/*
 * Fuzzes cloche-init's one input: plan_attach on arbitrary bytes and, if it accepts them, every access to slots, strings and
 * lists that the interpreters make after it. Built by scripts/fuzz with libFuzzer, AddressSanitizer and
 * UndefinedBehaviorSanitizer; seeds come from seeds.ts.
 */
#define _GNU_SOURCE
#include "../../sandbox/init/init.h"

#include <stdlib.h>
#include <string.h>

struct state st;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Any change, but mostly with a header that fits the new size again: else nothing but the header would ever be tried. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  struct plan_header header;

  size = LLVMFuzzerMutate(data, size, max_size);
  if (size < sizeof(header) || seed % 8 == 0)
    return size;
  memcpy(&header, data, sizeof(header));
  header.magic = PLAN_MAGIC;
  header.version = PLAN_VERSION;
  header.total_bytes = (uint32_t)size;
  size_t most = (size - sizeof(header)) / sizeof(struct plan_op);
  if (header.op_count > most)
    header.op_count = (uint32_t)most;
  header.strings_bytes = (uint32_t)(size - sizeof(header) - header.op_count * sizeof(struct plan_op));
  if (header.container_first > header.op_count)
    header.container_first = header.op_count;
  memcpy(data, &header, sizeof(header));
  return size;
}

static void want(bool holds) {
  if (!holds)
    abort();
}

/* The lists of ops, as run_hook, mount_op and execute use them: which text, counted by which argument. */
static void read_lists(const struct plan_op *op, char **pointers) {
  const char *option = text(op, 2);

  switch (op->code) {
  case OP_HOOK:
    list(op, 1, op->arg[0], pointers);
    list(op, 2, op->arg[1], pointers + op->arg[0] + 1);
    return;
  case OP_EXECUTE:
    list(op, 0, op->arg[0], pointers);
    list(op, 1, op->arg[1], pointers + op->arg[0] + 1);
    return;
  case OP_MOUNT:
    for (uint64_t i = 0; i < op->arg[2]; i++)
      option += strlen(option) + 1;
    want(option == text(op, 2) + text_length(op, 2));
    return;
  default:
    return;
  }
}

/* Arguments that index the table of descriptors; `NO_SLOT` where the interpreters ask for it first. */
static void read_slots(const struct plan_op *op) {
  const uint64_t *arg = op->arg;
  unsigned found = 0;

  switch (op->code) {
  case OP_TARGET:
    found += has_slot(arg[0]) + has_slot(arg[1]) + (arg[2] == TARGET_LIKE && has_slot(arg[3]));
    break;
  case OP_ATTACH:
  case OP_COPY_UP:
  case OP_COPY_MODE:
  case OP_MASK:
    found += has_slot(arg[0]) + has_slot(arg[1]);
    break;
  case OP_OPEN:
    found += has_slot(arg[0]) + (arg[2] != NO_SLOT && has_slot(arg[2]));
    break;
  case OP_MOUNT_SETATTR:
    found += (arg[0] != NO_SLOT && has_slot(arg[0])) + (arg[3] >> 32 && has_slot((uint32_t)(arg[3] >> 32) - 1));
    break;
  case OP_WRITE:
  case OP_WAIT_START:
    found += arg[0] != NO_SLOT && has_slot(arg[0]);
    break;
  case OP_ADOPT:
  case OP_OPEN_TREE:
  case OP_ID_MAP:
  case OP_SETNS:
  case OP_SANDBOX:
  case OP_MOUNT:
  case OP_CLOSE:
  case OP_MKNOD:
  case OP_SYMLINK:
  case OP_PIVOT:
  case OP_READONLY:
  case OP_CONSOLE:
  case OP_CHECK_NOT_PROC:
    found += has_slot(arg[0]);
    break;
  default:
    break;
  }
  want(found == 0); /* the table is empty: what is read is in bounds and zero */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* Memory of exactly this size, and aligned as a mapping is. */
  void *bytes = malloc(size ? size : 1);

  want(bytes != NULL);
  if (size)
    memcpy(bytes, data, size);
  memset(&st.plan, 0, sizeof(st.plan));
  if (plan_attach(&st.plan, bytes, size)) {
    char **pointers = calloc(plan_count_pointers(&st.plan) + 1, sizeof(char *));
    want(pointers != NULL);
    want(st.plan.header->container_first <= st.plan.header->op_count);
    for (uint32_t i = 0; i < st.plan.header->op_count; i++) {
      const struct plan_op *op = &st.plan.ops[i];
      for (unsigned index = 0; index < 3; index++)
        want(strnlen(text(op, index), text_length(op, index) + 1) <= text_length(op, index));
      read_lists(op, pointers);
      read_slots(op);
    }
    free(pointers);
  }
  free(bytes);
  return 0;
}
