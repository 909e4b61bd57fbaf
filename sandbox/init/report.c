/* Messages between cloche-init and cloche, and the end of everything that fails. */
#define _GNU_SOURCE
#include "init.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The program's seccomp filter may be in force and refuse this too, which would make _exit(2) try for ever. */
static _Noreturn void end(void) {
  (void)syscall(SYS_exit_group, EXIT_PLAN);
  __builtin_trap();
}

void send_message(int socket, const struct message *message, int fd) {
  struct iovec data = {(void *)(uintptr_t)message, sizeof(*message)};
  union {
    char space[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct msghdr header;

  memset(&header, 0, sizeof(header));
  memset(&control, 0, sizeof(control));
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.space;
    header.msg_controllen = sizeof(control.space);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  }
  while (sendmsg(socket, &header, MSG_NOSIGNAL) < 0)
    /* Nobody is left to tell, or cannot be told: who waits for an answer to what was not sent would wait for ever. */
    if (errno != EINTR)
      end();
}

bool receive_message(int socket, struct message *message, int *fds, int max_fds) {
  struct iovec data = {message, sizeof(*message)};
  union {
    char space[CMSG_SPACE(MAX_CGROUP_FDS * sizeof(int))];
    struct cmsghdr align;
  } control;
  struct msghdr header;
  ssize_t received;

  memset(&header, 0, sizeof(header));
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.space;
  header.msg_controllen = sizeof(control.space);
  do
    received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received != (ssize_t)sizeof(*message))
    return false;
  for (int i = 0; i < max_fds; i++)
    fds[i] = -1;
  /* All descriptors of a message are in one part, and nothing else asks for control messages on this side. */
  const struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
  if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
    return true;
  int count = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  for (int i = 0; i < count; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(rights) + (size_t)i * sizeof(int), sizeof(int));
    if (i < max_fds)
      fds[i] = fd;
    else
      (void)close(fd);
  }
  return true;
}

void die(uint32_t op, int error) {
  bool known = st.plan.header && op < st.plan.header->op_count;
  struct message message = {MESSAGE_ERROR, op, error, known ? st.plan.ops[op].code : 0};

  send_message(st.sync_fd, &message, -1);
  end();
}

void fail(int error) {
  die(st.current, error);
}

int check(long result) {
  if (result < 0)
    fail(errno);
  return (int)result;
}

uint32_t sync_with_host(uint32_t code, int fd, int *fds, int max_fds) {
  struct message message = {MESSAGE_SYNC, st.current, 0, code};

  send_message(st.sync_fd, &message, fd);
  /* End of file: cloche was killed or gave up. Nothing that was begun here may outlive it. */
  if (!receive_message(st.sync_fd, &message, fds, max_fds) || message.kind != MESSAGE_GO)
    _exit(EXIT_PLAN);
  return message.value;
}

void tell_host(uint32_t code) {
  struct message message = {MESSAGE_TELL, st.current, 0, code};

  send_message(st.sync_fd, &message, -1);
}

void write_whole(int fd, const void *data, size_t length) {
  if ((size_t)check(write(fd, data, length)) != length)
    fail(EIO);
}

bool has_slot(uint64_t index) {
  return st.slots[index] > 0;
}

int slot(uint64_t index) {
  if (!has_slot(index))
    fail(EBADF);
  return st.slots[index] - 1;
}

void set_slot(uint64_t index, int fd) {
  check(fd); /* first, while errno is that of the call that should have given it */
  close_slot(index);
  st.slots[index] = fd + 1;
}

void close_slot(uint64_t index) {
  if (!has_slot(index))
    return; /* and nothing is written: see `slots` */
  (void)close(slot(index));
  st.slots[index] = 0;
}
