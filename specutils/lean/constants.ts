/** Numbers of <fcntl.h> and <errno.h> that `lean/fs.ts` needs. A test compares them with node's. */

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;

export const ENOENT = 2;
export const EINTR = 4;

const isArm64 = process.arch === "arm64";

export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  DIRECTORY: isArm64 ? 0o40000 : 0o200000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;
