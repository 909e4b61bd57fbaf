/*
 * Attributes and propagation of mounts: mount_setattr(2), and what stands in for it before Linux 5.12, where only a mount that is
 * attached can be changed. There OP_MOUNT_SETATTR of a detached mount waits for its OP_ATTACH, which finds it in the plan; in
 * between the mount is in the container's namespace, where nothing of the container's runs yet.
 */
#define _GNU_SOURCE
#include "init.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#define ATTR_ATIME_FIELD 0x70u
#define ATTR_NOATIME 0x10u
#define ATTR_STRICTATIME 0x20u
#define ATTR_NODIRATIME 0x80u
#define ATTR_NOSYMFOLLOW 0x200000u
#define SAME_BITS 0xfu /* MOUNT_ATTR_ and MS_ agree on RDONLY, NOSUID, NODEV and NOEXEC, as do the flags of statfs(2) */
#define ST_NOATIME_FLAG 0x400
#define ST_NODIRATIME_FLAG 0x800
#define ST_RELATIME_FLAG 0x1000
#define ST_NOSYMFOLLOW_FLAG 0x2000
#define MS_NOSYMFOLLOW_FLAG 0x100u

/* Set once the kernel has said that it lacks mount_setattr(2). */
static bool lacks_setattr;

struct change {
  uint64_t set, clear, propagation;
  int userns;
  bool recursive;
};

static struct change change_of(const struct plan_op *op) {
  uint32_t userns = (uint32_t)(op->arg[3] >> 32);
  struct change change = {op->arg[1], op->arg[2], (uint32_t)op->arg[3], userns ? slot(userns - 1) : -1, op->flags & OP_FLAG_RECURSIVE};
  return change;
}

/* Returns false when the kernel lacks the call. */
static bool set_attributes(int dirfd, const char *path, const struct change *change) {
  unsigned flags = (*path ? 0 : (unsigned)AT_EMPTY_PATH) | (change->recursive ? AT_RECURSIVE : 0);

  if (sys_mount_setattr(dirfd, path, flags, change->set, change->clear, change->propagation, change->userns) == 0)
    return true;
  /* Ids can be mapped in no other way. */
  if (errno != ENOSYS || change->userns >= 0)
    fail(errno);
  lacks_setattr = true;
  return false;
}

static uint64_t present_attributes(const char *path) {
  struct statfs info;

  check(statfs(path, &info));
  unsigned long flags = (unsigned long)info.f_flags;
  uint64_t attributes = flags & SAME_BITS;
  if (flags & ST_NOATIME_FLAG)
    attributes |= ATTR_NOATIME;
  else if (!(flags & ST_RELATIME_FLAG))
    attributes |= ATTR_STRICTATIME;
  if (flags & ST_NODIRATIME_FLAG)
    attributes |= ATTR_NODIRATIME;
  return flags & ST_NOSYMFOLLOW_FLAG ? attributes | ATTR_NOSYMFOLLOW : attributes;
}

unsigned long attribute_flags(uint64_t attributes) {
  uint64_t atime = attributes & ATTR_ATIME_FIELD;
  unsigned long flags = attributes & SAME_BITS;

  flags |= atime == ATTR_NOATIME ? MS_NOATIME : atime == ATTR_STRICTATIME ? MS_STRICTATIME : MS_RELATIME;
  flags |= attributes & ATTR_NODIRATIME ? MS_NODIRATIME : 0;
  return flags | (attributes & ATTR_NOSYMFOLLOW ? MS_NOSYMFOLLOW_FLAG : 0);
}

static void remount(const char *path, const struct change *change) {
  if (change->set || change->clear) {
    uint64_t wanted = (present_attributes(path) & ~change->clear) | change->set;

    /* Attributes of a whole tree take a walk through it, which this call has no form of. */
    if (change->recursive)
      fail(ENOSYS);
    check(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | attribute_flags(wanted), NULL));
  }
  if (change->propagation)
    check(mount(NULL, path, NULL, change->propagation | (change->recursive ? MS_REC : 0), NULL));
}

static void remount_fd(int fd, const struct change *change) {
  char path[32];

  (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  remount(path, change);
}

/* Whether the mount in a slot was attached by an op before the current one. */
static bool is_attached(uint64_t index) {
  for (uint32_t i = 0; i < st.current; i++)
    if (st.plan.ops[i].code == OP_ATTACH && st.plan.ops[i].arg[0] == index)
      return true;
  return false;
}

void change_attributes(const struct plan_op *op) {
  struct change change = change_of(op);

  if (op->arg[0] == NO_SLOT) {
    if (!set_attributes(AT_FDCWD, text(op, 0), &change))
      remount(text(op, 0), &change);
    return;
  }
  if (!set_attributes(slot(op->arg[0]), "", &change) && is_attached(op->arg[0]))
    remount_fd(slot(op->arg[0]), &change);
}

void attach_mount(const struct plan_op *op) {
  int fd = slot(op->arg[0]);

  check(sys_move_mount(fd, slot(op->arg[1]), "", MOVE_MOUNT_T_EMPTY_PATH));
  for (uint32_t i = 0; lacks_setattr && i < st.current; i++) {
    const struct plan_op *earlier = &st.plan.ops[i];
    if (earlier->code == OP_MOUNT_SETATTR && earlier->arg[0] == op->arg[0]) {
      struct change change = change_of(earlier);
      remount_fd(fd, &change);
    }
  }
}

void attach_cover(int cover, int target, uint64_t set, bool recursive) {
  struct change change = {set, 0, 0, -1, recursive};
  bool done = set_attributes(cover, "", &change);

  check(sys_move_mount(cover, target, "", MOVE_MOUNT_T_EMPTY_PATH));
  change.recursive = false; /* what lies deeper keeps its attributes on such a kernel, as it does with runc */
  if (!done)
    remount_fd(cover, &change);
}
