/** Makes the FUSE superblock, mounted nowhere yet: its mount is a descriptor that the sandbox puts where it belongs. */
import { constants, openSync } from "node:fs";
import { O_CLOEXEC } from "../specutils/syscall/constants.ts";
import { NR, sys, throwErrno } from "../specutils/syscall.ts";

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_NOSUID = 0x2;
const MOUNT_ATTR_NODEV = 0x4;
const MOUNT_ATTR_NOEXEC = 0x8;

export interface FuseMount {
  /** The connection, /dev/fuse, non-blocking. Whoever holds a copy of it keeps a dead gofer's clients waiting. */
  fuseFd: number;
  /** The detached mount. */
  mountFd: number;
}

/**
 * Makes the superblock. The context of fsopen(2) is closed: it would keep the superblock alive after the last unmount.
 *
 * @param rootMode `st_mode` of the root of the tree
 * @throws SyscallError
 */
export function makeFuseMount(
  rootMode: number,
  { isReadOnly, isNoexec }: { isReadOnly: boolean; isNoexec: boolean },
): FuseMount {
  const fuseFd = openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK | O_CLOEXEC);
  const context = throwErrno("fsopen", "fuse", sys(NR.fsopen, "fuse", FSOPEN_CLOEXEC));
  try {
    const set = (key: string, value: string) =>
      throwErrno("fsconfig", key, sys(NR.fsconfig, context, FSCONFIG_SET_STRING, key, value, 0));
    const flag = (key: string) =>
      throwErrno("fsconfig", key, sys(NR.fsconfig, context, FSCONFIG_SET_FLAG, key, null, 0));
    set("source", "cloche");
    set("fd", String(fuseFd));
    set("rootmode", rootMode.toString(8));
    set("user_id", "0");
    set("group_id", "0");
    flag("default_permissions");
    flag("allow_other");
    if (isReadOnly) flag("ro");
    throwErrno("fsconfig", "create", sys(NR.fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0));
    const own = (isReadOnly ? MOUNT_ATTR_RDONLY : 0) | (isNoexec ? MOUNT_ATTR_NOEXEC : 0);
    const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | own;
    const mountFd = throwErrno("fsmount", "fuse", sys(NR.fsmount, context, FSMOUNT_CLOEXEC, attributes));
    return { fuseFd, mountFd };
  } finally {
    sys(NR.close, context);
  }
}
