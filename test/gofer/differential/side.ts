/** One of the two directories: system calls in it, and their results as text. */
import { errnoName, NR, sys } from "../../../specutils/syscall.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_ALL = 0xfff;
/** struct statx in 32-bit words. */
const WORDS = {
  nlink: 4,
  uid: 5,
  gid: 6,
  mode: 7,
  size: 10,
  atime: 16,
  ctime: 24,
  mtime: 28,
  rdevMajor: 32,
  rdevMinor: 33,
};
/** Set before an operation, to see whether it moves a time. In the past, so that `relatime` has reason to move it. */
const OLD_SECONDS = 1_000_000_000;
const O_TMPFILE_BIT = 0o20000000;
const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
const O_CLOEXEC = 0o2000000;

export class Side {
  readonly root: number;
  /** Open files, by the number of the slot, the same on both sides. -1: not open. */
  readonly slots: number[] = [];
  readonly #stat = new Uint32Array(new ArrayBuffer(256));
  readonly #statBytes = new Uint8Array(this.#stat.buffer);
  readonly #isCached: boolean;
  readonly buffer = new Uint8Array(new ArrayBuffer(1 << 17));
  readonly #oldTimes = new Uint8Array(new BigInt64Array([BigInt(OLD_SECONDS), 5n, BigInt(OLD_SECONDS), 5n]).buffer);

  /** @param isCached reading does not move the access time: what the kernel has in its cache it does not ask for */
  constructor(directory: string, isCached: boolean) {
    this.#isCached = isCached;
    this.root = sys(NR.openat, -100, directory, O_DIRECTORY | O_CLOEXEC);
    sys(NR.fchmodat, -100, directory, 0o777);
    if (this.root < 0) throw new Error(`cannot open ${directory}: ${errnoName(-this.root)}`);
  }

  /** A call's result: a number, or the name of an error. */
  call(nr: number, ...args: Parameters<typeof sys> extends [number, ...infer Rest] ? Rest : never): string {
    return text(sys(nr, ...args));
  }

  /** Type, mode, links, owner, size, device, and the times that were set on purpose or not. */
  describe(directory: number, path: string, follow: boolean): string {
    const flags = path === "" ? AT_EMPTY_PATH : follow ? 0 : AT_SYMLINK_NOFOLLOW;
    const result = sys(NR.statx, directory, path, flags, STATX_ALL, this.#statBytes);
    if (result < 0) return text(result);
    const word = (index: number) => this.#stat[index] ?? 0;
    const mode = word(WORDS.mode) & 0xffff;
    const time = (index: number) => {
      const age = Date.now() / 1000 - word(index);
      // Times of now differ from side to side.
      return age < 3600 && age > -10 ? "now" : `${word(index)}.${word(index + 2)}`;
    };
    const rdev = `${word(WORDS.rdevMajor)}:${word(WORDS.rdevMinor)}`;
    // The kernel keeps the text of symbolic links and the lists of directories, and does not read the host's (docs/GOFER.md).
    const type = mode >> 12;
    const isRead = type === 8 && !this.#isCached;
    // Nor does it tell the host that somebody has written to a FIFO.
    const times = `a=${isRead ? time(WORDS.atime) : "-"} m=${type === 1 ? "-" : time(WORDS.mtime)}`;
    const ids = `${word(WORDS.uid)}:${word(WORDS.gid)}`;
    if (isMark(mode)) this.#unmark(directory, path, mode);
    // A descriptor is followed by listxattr, a name is not by llistxattr.
    const [list, at] = path === "" ? [NR.listxattr, `${directory}`] : [NR.llistxattr, `${directory}/${path}`];
    const xattrs = follow ? "" : ` xattrs=${this.call(list, `/proc/self/fd/${at}`, null, 0)}`;
    return `${(isMark(mode) ? mode & ~0o2000 : mode).toString(8)}${xattrs} links=${word(WORDS.nlink)} ${ids} size=${word(WORDS.size)} rdev=${rdev} ${times}`;
  }

  /** Takes the bit off, lest it come back with the right to execute. Only root gets here with files of others. */
  #unmark(directory: number, path: string, mode: number): void {
    const name = path === "" ? `/proc/self/fd/${directory}` : path;
    sys(NR.fchmodat, directory, name, mode & 0o5777);
  }

  /** Gives what a path names times of long ago. */
  age(path: string): void {
    sys(NR.utimensat, this.root, path, this.#oldTimes, AT_SYMLINK_NOFOLLOW);
  }

  /** Opens into a slot. */
  open(slot: number, path: string, flags: number, mode: number): string {
    const fd = sys(NR.openat, this.root, path, flags | O_CLOEXEC, mode);
    if (fd < 0) return text(fd);
    this.close(slot);
    this.slots[slot] = fd;
    return (flags & O_TMPFILE_BIT) !== 0 ? "temporary" : "open";
  }

  isDirectory(fd: number): boolean {
    const result = sys(NR.statx, fd, "", AT_EMPTY_PATH, STATX_ALL, this.#statBytes);
    return result >= 0 && ((this.#stat[WORDS.mode] ?? 0) & 0o170000) === 0o040000;
  }

  close(slot: number): string {
    const fd = this.slots[slot] ?? -1;
    if (fd < 0) return "EBADF";
    this.slots[slot] = -1;
    return text(sys(NR.close, fd));
  }

  slot(slot: number): number {
    return this.slots[slot] ?? -1;
  }

  /** The names in a directory with their types, in the order of the alphabet. */
  list(path: string): string {
    const fd = sys(NR.openat, this.root, path, O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return text(fd);
    const entries = this.#entries(fd);
    sys(NR.close, fd);
    return entries;
  }

  #entries(fd: number): string {
    const entries: string[] = [];
    for (;;) {
      const length = sys(NR.getdents64, fd, this.buffer, this.buffer.length);
      if (length < 0) return text(length);
      if (length === 0) return entries.sort().join(",");
      const view = new DataView(this.buffer.buffer);
      for (let at = 0; at < length; at += view.getUint16(at + 16, true)) {
        const end = this.buffer.indexOf(0, at + 19);
        const name = new TextDecoder("latin1").decode(this.buffer.subarray(at + 19, end));
        entries.push(`${name}/${view.getUint8(at + 18)}`);
      }
    }
  }

  /** Data of a call that has filled `buffer`. */
  data(result: number): string {
    if (result < 0) return text(result);
    const { buffer } = this;
    let hash = 0;
    for (let at = 0; at < result; at++) hash = (Math.imul(hash, 31) + (buffer[at] ?? 0)) | 0;
    return `${result} bytes ${hash}`;
  }
}

/**
 * Whether set-group-ID means nothing: of a file that its group cannot execute it is the old mark for mandatory locks. Whether
 * writing takes it away depends on the groups of who writes, which the host does not learn (docs/GOFER.md).
 */
function isMark(mode: number): boolean {
  return (mode & 0o170000) === 0o100000 && (mode & 0o2010) === 0o2000;
}

export function text(result: number): string {
  return result < 0 ? errnoName(-result) : String(result);
}
