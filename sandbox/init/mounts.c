/*
 * File systems, seen from inside the container's mount namespace. Every path of the container is walked from a descriptor of its
 * root, one component at a time, and never leaves it: `..` and absolute links mean what they mean after the pivot.
 */
#define _GNU_SOURCE
#include "init.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROC_MAGIC 0x9fa0
#define FSCONFIG_SET_FLAG_CMD 0u
#define FSCONFIG_SET_STRING_CMD 1u
#define FSCONFIG_CREATE_CMD 6u
#define FSCONFIG_RECONFIGURE_CMD 7u
#define FSCONFIG_VALUE_MAX 256 /* with its NUL: fsconfig(2) takes no longer string */
#define MAX_LINKS 40           /* as the kernel's own walk */
#define MAX_DEPTH 64           /* of a directory tree that tmpcopyup copies */

/* Cuts the last component off `path`, which has no trailing slash. */
static void strip_last(char *path) {
  char *slash = strrchr(path, '/');
  *(slash ? slash : path) = '\0';
}

static int reopen(int root, const char *path) {
  return sys_openat2(root, *path ? path : ".", O_PATH | O_CLOEXEC | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

/* Creates the missing entry `name` as the last or an inner component; somebody else may win the race to do so. */
static void create_entry(int directory, const char *name, bool as_directory, mode_t mode) {
  int flags = O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC;
  int fd = as_directory ? mkdirat(directory, name, mode) : openat(directory, name, flags, mode);

  if (fd < 0 && errno != EEXIST)
    fail(errno);
  if (!as_directory)
    (void)close(fd);
}

/*
 * The slow walk, which creates what is missing. `done` is the path walked so far, free of links; a `..` goes back by walking it
 * again from the root, so that a rename elsewhere cannot lead out.
 */
static int walk_and_create(int root, const char *path, uint64_t kind, mode_t mode, bool no_symlinks) {
  static char rest[PATH_MAX], done[PATH_MAX], name[NAME_MAX + 1], link[PATH_MAX];
  int links = 0;
  int current = check(reopen(root, ""));

  done[0] = '\0';
  if (strlen(path) >= PATH_MAX)
    fail(ENAMETOOLONG);
  memcpy(rest, path, strlen(path) + 1);
  for (char *at = rest;;) {
    at += strspn(at, "/");
    size_t length = strcspn(at, "/");
    if (length == 0)
      return current;
    if (length > NAME_MAX)
      fail(ENAMETOOLONG);
    memcpy(name, at, length);
    name[length] = '\0';
    at += length;
    if (strcmp(name, ".") == 0)
      continue;
    if (strcmp(name, "..") == 0) {
      strip_last(done);
      (void)close(current);
      current = check(reopen(root, done));
      continue;
    }
    bool last = at[strspn(at, "/")] == '\0';
    int next = openat(current, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0 && errno == ENOENT && kind != TARGET_EXISTING) {
      bool as_directory = !last || kind == TARGET_DIRECTORY;
      create_entry(current, name, as_directory, as_directory && !last ? 0755 : mode);
      next = openat(current, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    check(next);
    struct stat info;
    check(fstat(next, &info));
    if (S_ISLNK(info.st_mode)) {
      if (no_symlinks || ++links > MAX_LINKS)
        fail(ELOOP);
      ssize_t size = check(readlinkat(next, "", link, sizeof(link) - 1));
      link[size] = '\0';
      (void)close(next);
      /* The link's text goes in front of what is left of the path. */
      size_t left = strlen(at);
      if ((size_t)size + left + 1 > sizeof(rest))
        fail(ENAMETOOLONG);
      memmove(rest + size, at, left + 1);
      memcpy(rest, link, (size_t)size);
      at = rest;
      if (link[0] == '/') {
        done[0] = '\0';
        (void)close(current);
        current = check(reopen(root, ""));
      }
      continue;
    }
    if (!last && !S_ISDIR(info.st_mode))
      fail(ENOTDIR);
    if (strlen(done) + length + 2 > sizeof(done))
      fail(ENAMETOOLONG);
    if (done[0])
      (void)strcat(done, "/");
    (void)strcat(done, name);
    (void)close(current);
    current = next;
  }
}

int resolve_target(int root, const char *path, uint64_t kind, mode_t mode, bool no_symlinks) {
  uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (no_symlinks ? RESOLVE_NO_SYMLINKS : 0);
  struct stat info;
  int fd = sys_openat2(root, path, O_PATH | O_CLOEXEC, 0, resolve);

  if (fd < 0) {
    if (errno != ENOENT || kind == TARGET_EXISTING)
      fail(errno);
    fd = walk_and_create(root, path, kind, mode, no_symlinks);
    st.target_created = true;
  }
  check(fstat(fd, &info));
  if (kind == TARGET_DIRECTORY && !S_ISDIR(info.st_mode))
    fail(ENOTDIR);
  /* The word that docker looks for to explain a file bound over a directory, too. */
  if (kind == TARGET_FILE && S_ISDIR(info.st_mode))
    fail(ENOTDIR);
  return fd;
}

void check_not_proc(int fd) {
  struct statfs info;

  check(fstatfs(fd, &info));
  /* A mount over part of /proc could hide what the runtime checks there, or be what it writes to (CVE-2019-19921). */
  if (info.f_type == PROC_MAGIC)
    fail(EPERM);
}

/* Options that are flags of mount(2) and words to fsconfig(2), which has none for the last one. */
static const struct mount_flag {
  const char *name;
  unsigned long flag;
} mount_flags[] = {
    {"ro", MS_RDONLY},       {"sync", MS_SYNCHRONOUS}, {"dirsync", MS_DIRSYNC},
    {"mand", MS_MANDLOCK},   {"lazytime", MS_LAZYTIME}, {"iversion", MS_I_VERSION},
};

static unsigned long mount_flag(const char *option) {
  for (size_t i = 0; i < sizeof(mount_flags) / sizeof(mount_flags[0]); i++)
    if (strcmp(option, mount_flags[i].name) == 0)
      return mount_flags[i].flag;
  return 0;
}

/*
 * What fsconfig(2) does not take: `iversion`, and values that are too long for it, an overlay's lowerdir as a rule. mount(2)
 * takes a page of options.
 */
static int mount_long(const char *type, const char *source, const struct plan_op *op) {
  static char data[4096];
  const char *option = text(op, 2);
  unsigned long flags = attribute_flags(op->arg[1]);
  size_t used = 0;

  for (uint64_t i = 0; i < op->arg[2]; i++, option += strlen(option) + 1) {
    unsigned long flag = mount_flag(option);
    flags |= flag;
    if (flag)
      continue;
    int wrote = snprintf(data + used, sizeof(data) - used, "%s%s", used ? "," : "", option);
    if (wrote < 0 || (size_t)wrote >= sizeof(data) - used)
      fail(E2BIG);
    used += (size_t)wrote;
  }
  /* A private tmpfs of one directory is the place where mount(2) can put it and open_tree(2) can take it up again. */
  int scratch_fs = check(sys_fsopen("tmpfs"));
  check(sys_fsconfig(scratch_fs, FSCONFIG_CREATE_CMD, NULL, NULL));
  int scratch = check(sys_fsmount(scratch_fs, 0));
  (void)close(scratch_fs);
  check(sys_move_mount(scratch, AT_FDCWD, "/", 0));
  check(fchdir(scratch));
  check(mkdir("m", 0700));
  check(mount(source, "m", type, flags, data));
  int fd = check(sys_open_tree(AT_FDCWD, "m", 0));
  check(umount2(".", MNT_DETACH));
  (void)close(scratch);
  check(chdir("/"));
  return fd;
}

static bool fits_fsconfig(const struct plan_op *op) {
  const char *option = text(op, 2);

  for (uint64_t i = 0; i < op->arg[2]; i++, option += strlen(option) + 1) {
    const char *value = strchr(option, '=');
    if ((value && strlen(value + 1) >= FSCONFIG_VALUE_MAX) || mount_flag(option) == MS_I_VERSION)
      return false;
  }
  return true;
}

void mount_op(const struct plan_op *op) {
  static char key[FSCONFIG_VALUE_MAX];
  const char *option = text(op, 2);
  const char *type = text(op, 0);

  bool reconfigure = op->flags & OP_FLAG_RECONFIGURE;

  if (!reconfigure && !fits_fsconfig(op)) {
    set_slot(op->arg[0], mount_long(type, text(op, 1), op));
    return;
  }
  int fs = check(reconfigure ? sys_fspick(slot(op->arg[0])) : sys_fsopen(type));
  if (!reconfigure && text_length(op, 1))
    check(sys_fsconfig(fs, FSCONFIG_SET_STRING_CMD, "source", text(op, 1)));
  for (uint64_t i = 0; i < op->arg[2]; i++, option += strlen(option) + 1) {
    const char *value = strchr(option, '=');
    if (!value) {
      check(sys_fsconfig(fs, FSCONFIG_SET_FLAG_CMD, option, NULL));
      continue;
    }
    size_t length = (size_t)(value - option);
    if (length >= sizeof(key))
      fail(EINVAL);
    memcpy(key, option, length);
    key[length] = '\0';
    check(sys_fsconfig(fs, FSCONFIG_SET_STRING_CMD, key, value + 1));
  }
  check(sys_fsconfig(fs, reconfigure ? FSCONFIG_RECONFIGURE_CMD : FSCONFIG_CREATE_CMD, NULL, NULL));
  if (!reconfigure)
    set_slot(op->arg[0], sys_fsmount(fs, (unsigned)op->arg[1]));
  (void)close(fs);
}

static void copy_attributes(int to, const struct stat *info) {
  struct timespec times[2] = {info->st_atim, info->st_mtim};

  check(fchown(to, info->st_uid, info->st_gid));
  check(fchmod(to, info->st_mode & 07777));
  check(futimens(to, times));
}

static void copy_file(int from, int to) {
  static char buffer[65536];
  ssize_t got;

  while ((got = read(from, buffer, sizeof(buffer))) > 0)
    for (ssize_t put = 0; put < got;)
      put += check(write(to, buffer + put, (size_t)(got - put)));
  check(got);
}

static void copy_tree(int from, int to, int depth);

static void copy_entry(int from, int to, const char *name, int depth) {
  struct stat info;
  static char link[PATH_MAX];

  check(fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW));
  if (S_ISLNK(info.st_mode)) {
    ssize_t size = check(readlinkat(from, name, link, sizeof(link) - 1));
    link[size] = '\0';
    check(symlinkat(link, to, name));
    check(fchownat(to, name, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW));
    return;
  }
  if (S_ISDIR(info.st_mode)) {
    check(mkdirat(to, name, 0700));
    int source = check(openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    int target = check(openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    copy_tree(source, target, depth + 1);
    (void)close(source);
    copy_attributes(target, &info);
    (void)close(target);
    return;
  }
  if (S_ISREG(info.st_mode)) {
    /* O_NONBLOCK: whoever shares the root may have put a FIFO there meanwhile. */
    int source = check(openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    /* Content and attributes are those of one file, or a name that changes hands could make any content setuid. */
    check(fstat(source, &info));
    if (!S_ISREG(info.st_mode))
      fail(ESTALE);
    int target = check(openat(to, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
    copy_file(source, target);
    copy_attributes(target, &info);
    (void)close(source);
    (void)close(target);
    return;
  }
  if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
    check(mknodat(to, name, info.st_mode, info.st_rdev));
    check(fchownat(to, name, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW));
  }
  /* A socket has no content: its server makes it anew. */
}

struct directory_entry {
  uint64_t inode;
  int64_t next;
  unsigned short length;
  unsigned char type;
  char name[];
};

static void copy_tree(int from, int to, int depth) {
  /* One buffer for each level, because an outer level is not finished while an inner one is read. */
  static _Alignas(struct directory_entry) char buffers[MAX_DEPTH][4096];
  long got;

  if (depth >= MAX_DEPTH)
    fail(ENAMETOOLONG);
  char *buffer = buffers[depth];
  while ((got = syscall(SYS_getdents64, from, buffer, sizeof(buffers[0]))) > 0)
    for (long at = 0; at < got;) {
      const struct directory_entry *entry = (const void *)(buffer + at);
      at += entry->length;
      if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
        copy_entry(from, to, entry->name, depth);
    }
  check(got);
}

void copy_mode(int from, int to) {
  struct stat info;
  /* The slot holds an O_PATH descriptor, which fchmod(2) refuses; "." can be opened from it. */
  int target = check(openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

  check(fstat(from, &info));
  check(fchmod(target, info.st_mode & 07777));
  (void)close(target);
}

void copy_up(int from, int to) {
  struct stat info;
  int source = check(openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int target = check(openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

  check(fstat(source, &info));
  copy_tree(source, target, 0);
  /* A directory that was created for this mount has nothing to say about it: the tmpfs keeps the mode that tmpfs gives. */
  if (!st.target_created)
    copy_attributes(target, &info);
  (void)close(source);
  (void)close(target);
}

/* Opens the directory of `path` inside the root, creating what is missing; `*name` is the last component. */
static int open_parent(int root, const char *path, const char **name) {
  static char parent[PATH_MAX];
  const char *slash = strrchr(path, '/');

  *name = slash ? slash + 1 : path;
  size_t length = (size_t)(*name - path);
  if (length >= sizeof(parent) || **name == '\0' || strcmp(*name, "..") == 0 || strcmp(*name, ".") == 0)
    fail(EINVAL);
  memcpy(parent, path, length);
  parent[length] = '\0';
  return resolve_target(root, length ? parent : "/", TARGET_DIRECTORY, 0755, false);
}

void make_node(const struct plan_op *op) {
  const char *name;
  dev_t device = makedev((unsigned)(op->arg[2] >> 32), (unsigned)op->arg[2]);
  mode_t mode = (mode_t)op->arg[1];
  int parent = open_parent(slot(op->arg[0]), text(op, 0), &name);

  if (mknodat(parent, name, mode, device) < 0 && errno != EEXIST)
    fail(errno);
  /* From here on by descriptor: in a root that is shared with another container the name may become a link at any time. */
  int node = check(openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  check(fstat(node, &info));
  /* What was there already must be the same node: config-linux.md#devices. */
  if ((info.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && info.st_rdev != device))
    fail(EEXIST);
  check(fchownat(node, "", (uid_t)(op->arg[3] >> 32), (gid_t)op->arg[3], AT_EMPTY_PATH));
  check(sys_chmod_fd(node, mode & 07777));
  (void)close(node);
  (void)close(parent);
}

void make_symlink(const struct plan_op *op) {
  const char *name;
  int parent = open_parent(slot(op->arg[0]), text(op, 0), &name);

  if (symlinkat(text(op, 1), parent, name) < 0) {
    if (errno != EEXIST)
      fail(errno);
    /* OP_FLAG_REPLACE: the link has to be ours (/dev/ptmx of an image may be a device of the host's kind). */
    if (op->flags & OP_FLAG_REPLACE) {
      check(unlinkat(parent, name, 0));
      check(symlinkat(text(op, 1), parent, name));
    }
  }
  (void)close(parent);
}

void pivot(int root, uint32_t flags) {
  check(fchdir(root));
  /* --no-pivot, for a root on ramfs, which pivot_root(2) refuses. What the old root holds stays mounted underneath. */
  if (flags & OP_FLAG_REPLACE)
    check(mount(".", "/", NULL, MS_MOVE, NULL));
  if (flags & (OP_FLAG_REPLACE | OP_FLAG_CHROOT)) {
    /* OP_FLAG_CHROOT: the mounts of the namespace are others' too and stay as they are; the root is mounted nowhere. */
    check(chroot("."));
  } else {
    /* The new root on itself: the old one ends up mounted over it, where it is detached without needing a directory. */
    check(sys_pivot_root(".", "."));
    check(umount2(".", MNT_DETACH));
  }
  check(chdir("/"));
}

/* Opens a path of the container for covering it; -1 when it does not exist. */
static int open_covered(int root, const char *path) {
  int fd = sys_openat2(root, path, O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

  if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
    fail(errno);
  return fd;
}

void mask_path(const struct plan_op *op) {
  struct stat info;
  int target = open_covered(slot(op->arg[1]), text(op, 0));

  if (target < 0)
    return;
  check(fstat(target, &info));
  int cover;
  if (S_ISDIR(info.st_mode)) {
    int fs = check(sys_fsopen("tmpfs"));
    check(sys_fsconfig(fs, FSCONFIG_SET_STRING_CMD, "size", "0"));
    check(sys_fsconfig(fs, FSCONFIG_SET_STRING_CMD, "mode", "0555"));
    check(sys_fsconfig(fs, FSCONFIG_SET_STRING_CMD, "nr_inodes", "2"));
    check(sys_fsconfig(fs, FSCONFIG_CREATE_CMD, NULL, NULL));
    cover = check(sys_fsmount(fs, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC));
    (void)close(fs);
  } else {
    /* The slot holds the host's /dev/null, opened before anything of the container's could stand in for it (CVE-2025-31133). */
    struct stat null;
    check(fstat(slot(op->arg[0]), &null));
    if (!S_ISCHR(null.st_mode) || null.st_rdev != makedev(1, 3))
      fail(ENODEV);
    cover = check(sys_open_tree(slot(op->arg[0]), "", AT_EMPTY_PATH));
  }
  /* Read-only, so that root in the container cannot chmod the host's node; a device can be written to all the same. */
  attach_cover(cover, target, ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC, false);
  (void)close(cover);
  (void)close(target);
}

void readonly_path(const struct plan_op *op) {
  int target = open_covered(slot(op->arg[0]), text(op, 0));

  if (target < 0)
    return;
  int cover = check(sys_open_tree(target, "", AT_EMPTY_PATH | AT_RECURSIVE));
  attach_cover(cover, target, ATTR_RDONLY, true);
  (void)close(cover);
  (void)close(target);
}
