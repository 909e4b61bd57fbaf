/**
 * Extended attributes. `user.*`, file capabilities and POSIX ACLs are the host's; `trusted.*` and what else belongs to the
 * host's administration can neither be seen nor changed.
 */
import { idInside } from "../specutils/host-ids.ts";
import { AT, LIST_BYTES, MAX_TRANSFER } from "./arena.ts";
import { addressIn, field, type Gofer, REPLY, REQUEST, withNode } from "./gofer.ts";
import { ENODATA, EOPNOTSUPP, EPERM, ERANGE, STAT } from "./host.ts";
import { SETXATTR_ACL_KILL_SGID } from "./protocol.ts";

const CAPABILITY = "security.capability";
const ACL_ACCESS = "system.posix_acl_access";
const ACL_DEFAULT = "system.posix_acl_default";
const S_ISGID = 0o2000;
/** XATTR_SIZE_MAX. */
const MAX_VALUE = 65_536;

type Use = "read" | "write";

/** 0, or why an attribute cannot be used. */
function refusal(name: string, use: Use): number {
  if (name.startsWith("user.") || name === CAPABILITY || name === ACL_ACCESS || name === ACL_DEFAULT) return 0;
  if (name.startsWith("trusted.") || name.startsWith("security.")) return use === "read" ? -ENODATA : -EPERM;
  return -EOPNOTSUPP;
}

/** struct fuse_getxattr_in, then the name. A size of 0 asks for the size. */
export function getxattr(gofer: Gofer): number {
  const { arena, host } = gofer;
  const refused = refusal(arena.textAt(REQUEST + 8), "read");
  if (refused !== 0) return refused;
  const size = Math.min(field(gofer, 0), MAX_VALUE);
  return withNode(gofer, (fd) => {
    const result = host.getXattr(fd, addressIn(gofer, 8), arena.base + REPLY, size);
    return result < 0 || size !== 0 ? result : replySize(gofer, result);
  });
}

/** struct fuse_setxattr_in. */
const SET_BYTES = 16;

/** SETXATTR: struct fuse_setxattr_in, the name, the value (setxattr(2)). */
export function setxattr(gofer: Gofer): number {
  const { arena, host } = gofer;
  const name = arena.textAt(REQUEST + SET_BYTES);
  const refused = refusal(name, "write");
  if (refused !== 0) return refused;
  const address = addressIn(gofer, SET_BYTES);
  const size = Math.min(field(gofer, 0), MAX_TRANSFER);
  return withNode(gofer, (fd) => {
    putIdsInside(gofer, name, SET_BYTES + name.length + 1, size);
    // The host would ask whether the gofer may keep set-group-ID; the kernel has asked that of the caller.
    const set = () => host.setXattr(fd, address, address + name.length + 1, size, field(gofer, 4));
    const result = name === ACL_ACCESS ? host.withFsetid(set) : set();
    if (result < 0 || name !== ACL_ACCESS || (field(gofer, 8) & SETXATTR_ACL_KILL_SGID) === 0) return result;
    const looked = host.stat(fd);
    const mode = (arena.u32[(AT.stat + STAT.MODE) >> 2] ?? 0) & 0o7777;
    return looked < 0 || (mode & S_ISGID) === 0 ? looked : host.chmod(fd, mode & ~S_ISGID);
  });
}

/** Where the first id is in a value, and how far apart they are: a struct posix_acl_xattr, a struct vfs_ns_cap_data. */
const ACL_IDS = { FIRST: 8, STEP: 8 };
const CAPABILITY_IDS = { FIRST: 20, STEP: 4 };

/** Ids in the value of an ACL or of file capabilities, which begins where it likes. */
function putIdsInside({ arena: { bytes } }: Gofer, name: string, offset: number, size: number): void {
  if (name.startsWith("user.")) return;
  const { FIRST, STEP } = name === CAPABILITY ? CAPABILITY_IDS : ACL_IDS;
  const start = REQUEST + offset;
  for (let at = start + FIRST; at + 4 <= start + size; at += STEP)
    bytes.writeUInt32LE(idInside(bytes.readUInt32LE(at)), at);
}

/** struct fuse_getxattr_in. */
export function listxattr(gofer: Gofer): number {
  const { arena, host } = gofer;
  const size = field(gofer, 0);
  return withNode(gofer, (fd) => {
    const length = host.listXattr(fd, arena.base + AT.list, LIST_BYTES);
    if (length < 0) return length;
    let total = 0;
    for (let at = AT.list; at < AT.list + length; ) {
      const name = arena.textAt(at);
      const bytes = name.length + 1;
      if (refusal(name, "read") === 0) {
        if (size !== 0 && total + bytes > size) return -ERANGE;
        if (size !== 0) arena.copy(at, REPLY + total, bytes);
        total += bytes;
      }
      at += bytes;
    }
    return size === 0 ? replySize(gofer, total) : total;
  });
}

/** REMOVEXATTR: the name (removexattr(2)). */
export function removexattr(gofer: Gofer): number {
  const { arena, host } = gofer;
  const name = arena.textAt(REQUEST);
  const refused = refusal(name, "write");
  if (refused !== 0) return refused;
  return withNode(gofer, (fd) => {
    const remove = () => host.removeXattr(fd, addressIn(gofer, 0));
    return name === ACL_ACCESS ? host.withFsetid(remove) : remove();
  });
}

/** struct fuse_getxattr_out. */
function replySize({ arena }: Gofer, size: number): number {
  arena.setU64(REPLY, size);
  return 8;
}
