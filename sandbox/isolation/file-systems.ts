/** What can be done to the ids of a file system, by the number that statfs(2) gives for its type (linux/magic.h). */

import { isAtLeast, type KernelVersion } from "../../specutils/kernel-version.ts";

/** The first kernel whose mounts of that type can be id-mapped (FS_ALLOW_IDMAP in fs/). */
const MAPPABLE: Readonly<Record<number, KernelVersion>> = {
  [0xef53]: [5, 12], // ext2, ext3, ext4
  [0x58465342]: [5, 12], // xfs
  [0x4d44]: [5, 12], // vfat
  [0x9123683e]: [5, 15], // btrfs
  [0xf2f52010]: [5, 18], // f2fs
  [0xe0f5e1e2]: [5, 19], // erofs
  [0x73717368]: [6, 3], // squashfs
  [0x01021994]: [6, 3], // tmpfs
  [0x00c36400]: [6, 7], // ceph
};

/** File systems that hold what the kernel says of itself, and no files of anybody's. Whose ids they have stays as it is. */
const KERNELS: ReadonlySet<number> = new Set([
  0x9fa0, // proc
  0x62656572, // sysfs
  0x27e0eb, // cgroup
  0x63677270, // cgroup2
  0x1cd1, // devpts
  0x64626720, // debugfs
  0x74726163, // tracefs
  0x73636673, // securityfs
  0xcafe4a11, // bpf
  0x19800202, // mqueue
  0x6e736673, // nsfs
  0x42494e4d, // binfmt_misc
  0xde5e81e4, // efivarfs
  0x6165676c, // pstore
  0x62656570, // configfs
  0xf97cff8c, // selinuxfs
  0x958458f6, // hugetlbfs
  0x187, // autofs
]);

/** File systems on which a file has more names than are written down: other cases, short ones. */
const IGNORE_CASE: ReadonlySet<number> = new Set([
  0x4d44, // vfat
  0x2011bab0, // exfat
  0x7366746e, // ntfs3
  0x5346544e, // ntfs
  0xff534d42, // cifs
  0xfe534d42, // smb
  0x482b, // hfsplus
  0x4244, // hfs
]);

/** Whether names that are written differently may be one there, so that no policy by names can hold. */
export function ignoresCase(magic: number): boolean {
  return IGNORE_CASE.has(magic);
}

/** Types of file systems that a user namespace may mount itself (FS_USERNS_MOUNT in fs/). */
export const USER_MOUNTABLE: ReadonlySet<string> = new Set([
  "cgroup",
  "cgroup2",
  "devpts",
  "fuse",
  "mqueue",
  "overlay",
  "proc",
  "ramfs",
  "sysfs",
  "tmpfs",
]);

/**
 * `map`: its mounts can have their ids shifted by the kernel. `keep`: there is nothing to shift. `serve`: files whose ids only
 * a server in between can shift.
 *
 * @param kernel major and minor number of the running kernel
 */
export function idMappingOf(magic: number, kernel: KernelVersion): "map" | "keep" | "serve" {
  const since = MAPPABLE[magic];
  if (since !== undefined) return isAtLeast(kernel, since) ? "map" : "serve";
  return KERNELS.has(magic) ? "keep" : "serve";
}
