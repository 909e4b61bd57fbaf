/**
 * All memory that the kernel reads or writes for the gofer: one buffer that never moves, so that pointers into it are plain
 * numbers and a system call allocates nothing.
 */
import { Buffer } from "node:buffer";
import { addressOf } from "../specutils/syscall.ts";

/** Largest read, write or list of one request, in bytes; 256 pages is what the kernel allows. */
export const MAX_TRANSFER = 1 << 20;

const PAGE = 4096;

/** Offsets in the arena. What a request or reply is larger than, `MAX_TRANSFER`, is a page for its headers and names. */
export const AT = {
  request: 0,
  reply: MAX_TRANSFER + PAGE,
  /** A struct statx, of the last {@link Host} call that looked at a file. */
  stat: 2 * (MAX_TRANSFER + PAGE),
  /** "123\0": a file's name in /proc/self/fd. */
  fdName: 2 * (MAX_TRANSFER + PAGE) + 256,
  /** struct timespec[2], struct iovec, loff_t[2], struct fuse_backing_map and the like. */
  scratch: 2 * (MAX_TRANSFER + PAGE) + 288,
  /** "\0" and ".\0", which stay. */
  empty: 2 * (MAX_TRANSFER + PAGE) + 512,
  dot: 2 * (MAX_TRANSFER + PAGE) + 516,
  /** A name of a node, for opening it again. */
  name: 2 * (MAX_TRANSFER + PAGE) + 1024,
  /** What getdents64(2) fills, a list of xattrs. */
  list: 2 * (MAX_TRANSFER + PAGE) + PAGE,
} as const;

/** Of `AT.list`: XATTR_LIST_MAX, and enough directory entries for the largest answer the kernel asks for by default. */
export const LIST_BYTES = 65_536;

const ARENA_BYTES = AT.list + LIST_BYTES;

/** The memory, with views of it as bytes and as numbers of 32 bits. */
export class Arena {
  readonly bytes = Buffer.from(new ArrayBuffer(ARENA_BYTES));
  readonly u32 = new Uint32Array(this.bytes.buffer);
  readonly i32 = new Int32Array(this.bytes.buffer);
  /** Address of the first byte: below 2^47, so a number holds it exactly. */
  readonly base = Number(addressOf(this.bytes));

  constructor() {
    this.bytes[AT.dot] = ".".charCodeAt(0);
  }

  /** The 64-bit number at an offset: a number if it holds it exactly, or else a bigint. */
  u64(at: number): number | bigint {
    const low = this.u32[at >> 2] ?? 0;
    const high = this.u32[(at >> 2) + 1] ?? 0;
    return high < 0x200000 ? high * 0x100000000 + low : (BigInt(high) << 32n) | BigInt(low);
  }

  setU64(at: number, value: number): void {
    this.u32[at >> 2] = value % 0x100000000;
    this.u32[(at >> 2) + 1] = Math.floor(value / 0x100000000);
  }

  copy(from: number, to: number, length: number): void {
    this.bytes.copyWithin(to, from, from + length);
  }

  /** Writes bytes given as Latin-1 text, with a NUL behind; returns their address. */
  putText(at: number, text: string): number {
    const length = this.bytes.write(text, at, "latin1");
    this.bytes[at + length] = 0;
    return this.base + at;
  }

  /** The bytes from `at` to the next NUL as Latin-1 text. */
  textAt(at: number): string {
    return this.bytes.toString("latin1", at, this.bytes.indexOf(0, at));
  }
}
