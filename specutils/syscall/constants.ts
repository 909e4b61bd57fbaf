/** Constants of the kernel's interface that node:fs lacks, the same on x86-64 and arm64 (fcntl.h, poll.h). */

export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;

export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_RECURSIVE = 0x8000;

export const POLLIN = 0x1;
export const POLLOUT = 0x4;
