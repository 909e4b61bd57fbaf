/**
 * What all operations on one served tree share, and the parts of requests and replies that several have. An operation is a function
 * of this; it returns the length of its reply's payload, or `-errno`, or {@link NO_REPLY}.
 */
import { idInside } from "../specutils/host-ids.ts";
import { NR, sys } from "../specutils/syscall.ts";
import { type Arena, AT } from "./arena.ts";
import type { Directories } from "./directories.ts";
import type { Hooks } from "./hooks.ts";
import { EINVAL, type Host, STAT, STAT_DEV, STAT_TIME } from "./host.ts";
import type { Nodes } from "./nodes.ts";
import type { Passthrough } from "./passthrough.ts";
import { ATTR_OUT, ENTRY, IN, NOTIFY_INVAL_INODE, OUT } from "./protocol.ts";

/** Offset of a request's payload in the arena, and of a reply's. */
export const REQUEST = AT.request + IN.BYTES;
export const REPLY = AT.reply + OUT.BYTES;

/** What an operation returns that is not answered. */
export const NO_REPLY = 0x7fffffff;

/** A gofer as one of its trees knows it: arena and host are those of the process. */
export interface Gofer {
  readonly fuseFd: number;
  readonly arena: Arena;
  readonly host: Host;
  readonly nodes: Nodes;
  readonly passthrough: Passthrough;
  readonly directories: Directories;
  /** Descriptors of files that are open without passthrough. */
  readonly handles: Set<number>;
  /** Only if there is something for them to do. */
  hooks?: Hooks;
  /** For how long the kernel may believe what it is told: whole seconds, and nanoseconds besides. */
  readonly validSeconds: number;
  readonly validNanoseconds: number;
}

export type Operation = (gofer: Gofer) => number;

/** The node that the request is about. */
export function nodeOf({ arena }: Gofer): number {
  return arena.u32[(AT.request + IN.NODEID) >> 2] ?? 0;
}

/** A 32-bit field of the request's payload. */
export function field({ arena }: Gofer, offset: number): number {
  return arena.u32[(REQUEST + offset) >> 2] ?? 0;
}

/** A 64-bit field of the request's payload. */
export function longField({ arena }: Gofer, offset: number): number | bigint {
  return arena.u64(REQUEST + offset);
}

/** The address of the request's payload from `offset` on. */
export function addressIn({ arena }: Gofer, offset: number): number {
  return arena.base + REQUEST + offset;
}

/** What is created next is the caller's. Only requests that create come with ids; in all others they mean nothing. */
export function actAsCaller({ arena, host }: Gofer, umask: number): void {
  const at = (AT.request + IN.UID) >> 2;
  host.actAs(idInside(arena.u32[at] ?? 0), idInside(arena.u32[at + 1] ?? 0), umask);
}

/**
 * The name at an offset of the request's payload, as Latin-1 text for bytes; undefined if it is not exactly one name. The kernel
 * sends nothing else, but no call is made with what was not looked at.
 */
export function nameAt({ arena }: Gofer, offset: number): string | undefined {
  const name = arena.textAt(REQUEST + offset);
  const isWrong = name === "" || name === "." || name === ".." || name.includes("/");
  return isWrong ? undefined : name;
}

/** Fills a struct fuse_attr from `AT.stat`. */
export function putAttr({ u32 }: Arena, at: number): void {
  const to = at >> 2;
  const from = AT.stat >> 2;
  // INO, SIZE and BLOCKS follow each other in both structures.
  u32.copyWithin(to, from + (STAT.INO >> 2), from + (STAT.INO >> 2) + 6);
  const times = from + (STAT_TIME.ATIME >> 2);
  u32[to + 6] = u32[times] ?? 0;
  u32[to + 7] = u32[times + 1] ?? 0;
  u32[to + 12] = u32[times + 2] ?? 0;
  const mtime = from + (STAT_TIME.MTIME >> 2);
  u32[to + 8] = u32[mtime] ?? 0;
  u32[to + 9] = u32[mtime + 1] ?? 0;
  u32[to + 13] = u32[mtime + 2] ?? 0;
  const ctime = from + (STAT_TIME.CTIME >> 2);
  u32[to + 10] = u32[ctime] ?? 0;
  u32[to + 11] = u32[ctime + 1] ?? 0;
  u32[to + 14] = u32[ctime + 2] ?? 0;
  u32[to + 15] = (u32[from + (STAT.MODE >> 2)] ?? 0) & 0xffff;
  // NLINK, UID and GID follow each other in both structures.
  u32.copyWithin(to + 16, from + (STAT.NLINK >> 2), from + (STAT.NLINK >> 2) + 3);
  const minor = u32[from + (STAT_DEV.RDEV_MINOR >> 2)] ?? 0;
  const major = u32[from + (STAT_DEV.RDEV_MAJOR >> 2)] ?? 0;
  u32[to + 19] = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
  u32[to + 20] = u32[from + (STAT.BLKSIZE >> 2)] ?? 0;
  u32[to + 21] = 0;
}

/**
 * For how long the kernel may believe a node's attributes: 64 bits of seconds and 32 of nanoseconds, at these words.
 * Not at all where they may change under another name.
 */
export function putAttrValid(gofer: Gofer, node: number, seconds: number, nanoseconds: number): void {
  const { u32 } = gofer.arena;
  const isShared = gofer.nodes.isShared(node);
  u32[seconds] = isShared ? 0 : gofer.validSeconds;
  u32[seconds + 1] = 0;
  u32[nanoseconds] = isShared ? 0 : gofer.validNanoseconds;
}

/** Fills a struct fuse_entry_out for a node, from `AT.stat`. */
export function putEntry(gofer: Gofer, at: number, node: number): void {
  const { u32 } = gofer.arena;
  const to = at >> 2;
  u32[to] = node;
  u32[to + 1] = 0;
  u32[to + 2] = gofer.nodes.generations[node] ?? 0;
  u32[to + 3] = 0;
  u32[to + 4] = gofer.validSeconds;
  u32[to + 5] = 0;
  u32[to + 8] = gofer.validNanoseconds;
  putAttrValid(gofer, node, to + 6, to + 9);
  putAttr(gofer.arena, at + ENTRY.ATTR);
}

/** Replies with the entry for what `name` is in `parent` now. */
export function replyEntry(gofer: Gofer, parent: number, parentFd: number, name: string, address: number): number {
  const result = gofer.host.statAt(parentFd, address);
  if (result < 0) return result;
  putEntry(gofer, REPLY, gofer.nodes.seen(parent, name));
  return ENTRY.BYTES;
}

/** Replies with the attributes in `AT.stat`, which are the node's. */
export function replyAttr(gofer: Gofer, node: number): number {
  const { arena } = gofer;
  const to = REPLY >> 2;
  putAttrValid(gofer, node, to, to + 2);
  arena.u32[to + 3] = 0;
  putAttr(arena, REPLY + ATTR_OUT.ATTR);
  return ATTR_OUT.BYTES;
}

/** Tells the kernel that it has to ask for the attributes of a node again. */
export function expireAttributes({ arena, fuseFd }: Gofer, node: number): void {
  const at = AT.scratch >> 2;
  arena.u32.fill(0, at, at + 10);
  arena.u32[at] = OUT.BYTES + NOTIFY_INVAL_INODE.BYTES;
  arena.u32[at + 1] = NOTIFY_INVAL_INODE.CODE;
  arena.u32[at + 4] = node;
  // An offset below 0: the attributes alone. The kernel may have forgotten the node by now, which is as good.
  arena.i32.fill(-1, at + 6, at + 8);
  sys(NR.write, fuseFd, arena.base + AT.scratch, OUT.BYTES + NOTIFY_INVAL_INODE.BYTES);
}

/** Runs `body` with the node's descriptor, for operations on one node. */
export function withNode(gofer: Gofer, body: (fd: number, node: number) => number): number {
  const node = nodeOf(gofer);
  const fd = gofer.nodes.fd(node);
  return fd < 0 ? fd : body(fd, node);
}

/** Runs `body` with the descriptor of the directory and the name at an offset, for operations on names. */
export function withName(
  gofer: Gofer,
  offset: number,
  body: (parentFd: number, address: number, name: string, parent: number) => number,
): number {
  const name = nameAt(gofer, offset);
  if (name === undefined) return -EINVAL;
  const parent = nodeOf(gofer);
  const parentFd = gofer.nodes.fd(parent);
  return parentFd < 0 ? parentFd : body(parentFd, addressIn(gofer, offset), name, parent);
}
