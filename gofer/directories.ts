/**
 * Reading directories. The kernel does not say when it opens or closes one (FUSE_NO_OPENDIR_SUPPORT saves two of three round
 * trips), so a stream per directory is kept while it is being read.
 */
import { NR, sys } from "../specutils/syscall.ts";
import { AT, LIST_BYTES, MAX_TRANSFER } from "./arena.ts";
import { field, type Gofer, nodeOf, putEntry, REPLY, REQUEST } from "./gofer.ts";
import type { Host } from "./host.ts";
import type { Nodes } from "./nodes.ts";
import { DIRENT, ENTRY } from "./protocol.ts";

/** Directories that are kept open at once, in all trees together; but for a few in each. */
const MAX_STREAMS = 128;
const MIN_STREAMS = 8;

/** struct linux_dirent64. */
const HOST_DIRENT = { INO: 0, OFF: 8, LENGTH: 16, TYPE: 18, NAME: 19 } as const;

interface Stream {
  fd: number;
  /** Where the next entry is read: a cookie of the host's, which is no number to count with. */
  low: number;
  high: number;
}

/** The open directories of one tree, by node, in the order in which they were opened. */
export class Directories {
  readonly #streams = new Map<number, Stream>();
  readonly #host: Host;
  readonly #max: number;

  /** @param treeCount how many trees the gofer serves */
  constructor(host: Host, treeCount: number) {
    this.#host = host;
    this.#max = Math.max(MIN_STREAMS, Math.floor(MAX_STREAMS / treeCount));
  }

  /** The stream of a directory, opened if need be, or -errno. */
  stream(nodes: Nodes, node: number): Stream | number {
    const open = this.#streams.get(node);
    if (open !== undefined) return open;
    const path = nodes.fd(node);
    const fd = path < 0 ? path : this.#host.openDirectory(path);
    if (fd < 0) return fd;
    const [oldest] = this.#streams.keys();
    if (this.#streams.size >= this.#max && oldest !== undefined) this.close(oldest);
    const stream = { fd, low: 0, high: 0 };
    this.#streams.set(node, stream);
    return stream;
  }

  /** Nobody reads it any more, or it was read to the end. */
  close(node: number): void {
    const stream = this.#streams.get(node);
    if (stream === undefined) return;
    this.#streams.delete(node);
    this.#host.close(stream.fd);
  }

  closeAll(): void {
    for (const node of this.#streams.keys()) this.close(node);
  }
}

/** READDIR: entries of a directory, as many as fit (getdents64(2)). */
export function readdir(gofer: Gofer): number {
  return list(gofer, false);
}

/** Entries together with what a lookup would say of each. */
export function readdirplus(gofer: Gofer): number {
  return list(gofer, true);
}

/** struct fuse_read_in. */
function list(gofer: Gofer, isPlus: boolean): number {
  const { arena, directories, nodes } = gofer;
  const { u32 } = arena;
  const node = nodeOf(gofer);
  const stream = directories.stream(nodes, node);
  if (typeof stream === "number") return stream;
  const wanted = (REQUEST + 8) >> 2;
  if (stream.low !== u32[wanted] || stream.high !== u32[wanted + 1]) {
    const sought = sys(NR.lseek, stream.fd, arena.u64(REQUEST + 8), 0);
    if (sought < 0) return sought;
  }
  // An empty answer would be the end of the directory: there is more as long as all was hidden.
  for (;;) {
    const result = fill(gofer, node, stream, isPlus);
    if (result !== ALL_HIDDEN) return result;
  }
}

/** Of {@link fill}: there were entries, none of which may be shown. */
const ALL_HIDDEN = -0x7fffffff;

/** Replies with as many entries as fit, from where the stream is. */
function fill(gofer: Gofer, node: number, stream: Stream, isPlus: boolean): number {
  const { arena, directories } = gofer;
  const { u32, bytes, base } = arena;
  const size = Math.min(field(gofer, 16), MAX_TRANSFER);
  // An entry takes more room in the answer than in the host's list, but for the smallest answers one always fits.
  const asked = Math.min(LIST_BYTES, Math.max(isPlus ? size >> 2 : size, 280));
  const length = sys(NR.getdents64, stream.fd, base + AT.list, asked);
  if (length <= 0) {
    directories.close(node);
    return length;
  }
  let to = REPLY;
  let at: number = AT.list;
  while (at < AT.list + length) {
    const hostLength = (bytes[at + HOST_DIRENT.LENGTH] ?? 0) | ((bytes[at + HOST_DIRENT.LENGTH + 1] ?? 0) << 8);
    const nameAt = at + HOST_DIRENT.NAME;
    const nameLength = bytes.indexOf(0, nameAt) - nameAt;
    if (isHidden(gofer, node, nameAt, nameLength)) {
      stream.low = u32[(at + HOST_DIRENT.OFF) >> 2] ?? 0;
      stream.high = u32[(at + HOST_DIRENT.OFF + 4) >> 2] ?? 0;
      at += hostLength;
      continue;
    }
    const entry = isPlus ? to + ENTRY.BYTES : to;
    const end = (entry + DIRENT.NAME + nameLength + 7) & ~7;
    if (end > REPLY + size) break;
    if (isPlus) putEntryOf(gofer, stream.fd, node, to, nameAt, nameLength);
    arena.copy(at + HOST_DIRENT.INO, entry + DIRENT.INO, 16);
    u32[(entry + DIRENT.NAME_LENGTH) >> 2] = nameLength;
    u32[(entry + DIRENT.TYPE) >> 2] = bytes[at + HOST_DIRENT.TYPE] ?? 0;
    bytes.fill(0, entry + DIRENT.NAME + nameLength, end);
    arena.copy(nameAt, entry + DIRENT.NAME, nameLength);
    stream.low = u32[(at + HOST_DIRENT.OFF) >> 2] ?? 0;
    stream.high = u32[(at + HOST_DIRENT.OFF + 4) >> 2] ?? 0;
    at += hostLength;
    to = end;
  }
  if (at < AT.list + length) {
    // What did not fit is read again.
    sys(NR.lseek, stream.fd, (BigInt(stream.high) << 32n) | BigInt(stream.low), 0);
  }
  return to === REPLY ? ALL_HIDDEN : to - REPLY;
}

function isHidden({ arena, hooks }: Gofer, directory: number, at: number, length: number): boolean {
  return hooks?.guard.isHidden(directory, arena.bytes.toString("latin1", at, at + length)) === true;
}

/** The entry of a name in a list; all zeros, which the kernel passes over, for "." and ".." and for what is gone by now. */
function putEntryOf(gofer: Gofer, fd: number, parent: number, to: number, nameAt: number, nameLength: number): void {
  const { arena } = gofer;
  const isDots =
    arena.bytes[nameAt] === 46 && (nameLength === 1 || (nameLength === 2 && arena.bytes[nameAt + 1] === 46));
  if (isDots || gofer.host.statAt(fd, arena.base + nameAt) < 0) {
    arena.u32.fill(0, to >> 2, (to + ENTRY.BYTES) >> 2);
    return;
  }
  putEntry(gofer, to, gofer.nodes.seen(parent, arena.bytes.toString("latin1", nameAt, nameAt + nameLength)));
}
