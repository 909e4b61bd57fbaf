/** Operations on names in a directory: lookup and forget, and what makes, removes and moves names. */
import { NR, sys } from "../specutils/syscall.ts";
import {
  actAsCaller,
  addressIn,
  expireAttributes,
  field,
  type Gofer,
  NO_REPLY,
  nameAt,
  nodeOf,
  REPLY,
  REQUEST,
  replyEntry,
  withName,
} from "./gofer.ts";
import { EINVAL, ENOENT, EPERM, TYPE } from "./host.ts";
import { ENTRY } from "./protocol.ts";

const AT_REMOVEDIR = 0x200;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;
const S_ISGID = 0o2000;

/** LOOKUP: the entry of a name, or one without a node for a name that is not there. */
export function lookup(gofer: Gofer): number {
  return withName(gofer, 0, (parentFd, address, name, parent) => {
    const result = replyEntry(gofer, parent, parentFd, name, address);
    return result === -ENOENT ? replyAbsent(gofer) : result;
  });
}

/** That a name is not there may be believed for as long as that one is. */
function replyAbsent({ arena, validSeconds, validNanoseconds }: Gofer): number {
  const to = REPLY >> 2;
  arena.u32.fill(0, to, to + (ENTRY.BYTES >> 2));
  arena.u32[to + (ENTRY.ENTRY_VALID >> 2)] = validSeconds;
  arena.u32[to + (ENTRY.ENTRY_NSEC >> 2)] = validNanoseconds;
  return ENTRY.BYTES;
}

/** FORGET: struct fuse_forget_in, how many lookups less the kernel counts. */
export function forget(gofer: Gofer): number {
  gofer.nodes.forget(nodeOf(gofer), Number(gofer.arena.u64(REQUEST)));
  return NO_REPLY;
}

/** struct fuse_batch_forget_in, then as many pairs of node and count. */
export function batchForget(gofer: Gofer): number {
  const count = field(gofer, 0);
  for (let index = 0; index < count; index++) {
    const at = 8 + index * 16;
    gofer.nodes.forget(field(gofer, at), Number(gofer.arena.u64(REQUEST + at + 8)));
  }
  return NO_REPLY;
}

/** Regular files, FIFOs and sockets. A device node would be one of the host's devices: no container gets one this way. */
export function mknod(gofer: Gofer): number {
  const mode = field(gofer, 0);
  const type = mode >> 12;
  if (type !== TYPE.regular && type !== TYPE.fifo && type !== TYPE.socket) return -EPERM;
  return withName(gofer, 16, (parentFd, address, name, parent) => {
    actAsCaller(gofer, field(gofer, 8));
    const make = () => sys(NR.mknodat, parentFd, address, mode & 0xffff, 0);
    const result = (mode & S_ISGID) === 0 ? make() : gofer.host.withFsetid(make);
    return result < 0 ? result : replyEntry(gofer, parent, parentFd, name, address);
  });
}

/** MKDIR: struct fuse_mkdir_in and the name (mkdirat(2)). */
export function mkdir(gofer: Gofer): number {
  return withName(gofer, 8, (parentFd, address, name, parent) => {
    actAsCaller(gofer, field(gofer, 4));
    const result = sys(NR.mkdirat, parentFd, address, field(gofer, 0) & 0o7777);
    return result < 0 ? result : replyEntry(gofer, parent, parentFd, name, address);
  });
}

/** The payload is the name, then the text of the link. */
export function symlink(gofer: Gofer): number {
  return withName(gofer, 0, (parentFd, address, name, parent) => {
    actAsCaller(gofer, 0);
    const result = sys(NR.symlinkat, address + name.length + 1, parentFd, address);
    return result < 0 ? result : replyEntry(gofer, parent, parentFd, name, address);
  });
}

/** LINK: struct fuse_link_in, the node that gets another name, and the name (linkat(2)). */
export function link(gofer: Gofer): number {
  const { nodes, host } = gofer;
  const node = field(gofer, 0);
  return withName(gofer, 8, (parentFd, address, name, parent) => {
    const fd = nodes.fd(node);
    if (fd < 0) return fd;
    const result = host.linkAt(fd, parentFd, address);
    if (result < 0) return result;
    // The kernel takes the reply for what it should know of this node as well, unless the name is another one.
    if (nodes.share(node)) expireAttributes(gofer, node);
    return replyEntry(gofer, parent, parentFd, name, address);
  });
}

/** UNLINK: what loses its last name lives on for who has it open (unlinkat(2)). */
export function unlink(gofer: Gofer): number {
  return remove(gofer, 0);
}

/** RMDIR (unlinkat(2) with AT_REMOVEDIR). */
export function rmdir(gofer: Gofer): number {
  return remove(gofer, AT_REMOVEDIR);
}

function remove(gofer: Gofer, flags: number): number {
  return withName(gofer, 0, (parentFd, address, name, parent) => {
    const node = hold(gofer, parentFd, address, parent, name);
    const result = sys(NR.unlinkat, parentFd, address, flags);
    if (result >= 0 && node > 0) gofer.nodes.pin(node);
    return result;
  });
}

/**
 * The node of what is about to lose a name, if the kernel knows it, with a descriptor open: it may be in use without a name
 * from now on. 0 if there is none.
 */
function hold({ host, nodes }: Gofer, parentFd: number, address: number, parent: number, name: string): number {
  if (host.statAt(parentFd, address) < 0) return 0;
  const node = nodes.find(parent, name);
  if (node === 0 || (nodes.fds[node] ?? -1) >= 0) return node;
  const fd = host.openPathAt(parentFd, address);
  if (fd < 0) return node;
  if (host.stat(fd) >= 0 && nodes.isStat(node)) nodes.keep(node, fd);
  else host.close(fd);
  return node;
}

/** RENAME: struct fuse_rename_in, the old name and the new one (renameat2(2)). */
export function rename(gofer: Gofer): number {
  return move(gofer, 0, 8);
}

/** RENAME2: struct fuse_rename2_in, with RENAME_NOREPLACE or RENAME_EXCHANGE. */
export function rename2(gofer: Gofer): number {
  const flags = field(gofer, 8);
  // A whiteout is a device node.
  return (flags & RENAME_WHITEOUT) !== 0 ? -EINVAL : move(gofer, flags, 16);
}

function move(gofer: Gofer, flags: number, offset: number): number {
  const { nodes, host } = gofer;
  const newParent = field(gofer, 0);
  return withName(gofer, offset, (oldFd, oldAddress, oldName, oldParent) => {
    const newOffset = offset + oldName.length + 1;
    const newName = nameAt(gofer, newOffset);
    if (newName === undefined) return -EINVAL;
    const newAddress = addressIn(gofer, newOffset);
    const newFd = nodes.fd(newParent);
    if (newFd < 0) return newFd;
    const target = hold(gofer, newFd, newAddress, newParent, newName);
    const moved = host.statAt(oldFd, oldAddress) < 0 ? 0 : nodes.find(oldParent, oldName);
    const result = sys(NR.renameat2, oldFd, oldAddress, newFd, newAddress, flags);
    if (result < 0) return result;
    if (moved !== 0) nodes.rename(moved, newParent, newName);
    if ((flags & RENAME_EXCHANGE) !== 0) {
      if (target !== 0) nodes.rename(target, oldParent, oldName);
    } else if (target !== 0 && target !== moved) {
      nodes.pin(target);
    }
    return 0;
  });
}
