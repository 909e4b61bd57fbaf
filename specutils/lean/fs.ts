/**
 * What cloche uses of node:fs, on the addon's system calls, for the compiled executable (scripts/bundle.ts puts it in that
 * one's place): loading node:fs costs a fifth of a short call (docs/PERFORMANCE.md).
 *
 * The functions behave as node:fs' of the same names, as far as cloche's sources go, also in the errors they throw; a test
 * runs both side by side. What only rare paths use is node:fs' own, which is loaded then.
 */

import { NR, type SysArg, sys } from "../syscall.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, EINTR, ENOENT, O } from "./constants.ts";
import { failure } from "./failure.ts";
import { parseStatx, STATX_BYTES, type Stats } from "./stats.ts";

const AT_REMOVEDIR = 0x200;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATFS_BYTES = 120;
const CHUNK_BYTES = 16_384;
const DEFAULT_FILE_MODE = 0o666;

type Encoding = "utf8" | "utf-8";

/** A fifth of what the first use of Buffer takes. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes as text; of what is no UTF-8, U+FFFD. */
export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Flags in letters, as in fopen(3). */
const FLAGS: Readonly<Record<string, number>> = {
  r: O.RDONLY,
  "r+": O.RDWR,
  w: O.WRONLY | O.CREAT | O.TRUNC,
  wx: O.WRONLY | O.CREAT | O.TRUNC | O.EXCL,
  "w+": O.RDWR | O.CREAT | O.TRUNC,
  a: O.WRONLY | O.CREAT | O.APPEND,
  ax: O.WRONLY | O.CREAT | O.APPEND | O.EXCL,
  "a+": O.RDWR | O.CREAT | O.APPEND,
};

/** The result, unless it is an error. @throws an error like node:fs' */
function check(result: number, call: string, path?: string, dest?: string): number {
  if (result < 0) throw failure(result, call, path, dest);
  return result;
}

function retry(nr: number, ...args: SysArg[]): number {
  for (;;) {
    const result = sys(nr, ...args);
    if (result !== -EINTR) return result;
  }
}

export function openSync(path: string, flags: string | number = "r", mode: number = DEFAULT_FILE_MODE): number {
  const bits = typeof flags === "number" ? flags : FLAGS[flags];
  if (bits === undefined) throw new TypeError(`unknown flags ${JSON.stringify(flags)}`);
  return check(retry(NR.openat, AT_FDCWD, path, bits | O.CLOEXEC, mode), "open", path);
}

export function closeSync(fd: number): void {
  check(sys(NR.close, fd), "close");
}

export function readSync(
  fd: number,
  buffer: Uint8Array,
  offset = 0,
  length: number = buffer.length - offset,
  position: number | null = null,
): number {
  const part = buffer.subarray(offset, offset + length);
  const result =
    position === null ? retry(NR.read, fd, part, part.length) : retry(NR.pread64, fd, part, part.length, position);
  return check(result, "read");
}

export function writeSync(
  fd: number,
  data: string | Uint8Array,
  offset?: number | null,
  length?: number | null,
  position?: number | null,
): number {
  if (typeof data === "string") {
    const bytes = new TextEncoder().encode(data);
    return writePart(fd, bytes, typeof offset === "number" ? offset : undefined);
  }
  const from = offset ?? 0;
  return writePart(fd, data.subarray(from, from + (length ?? data.length - from)), position ?? undefined);
}

function writePart(fd: number, part: Uint8Array, position: number | undefined): number {
  const result =
    position === undefined
      ? retry(NR.write, fd, part, part.length)
      : retry(NR.pwrite64, fd, part, part.length, position);
  return check(result, "write");
}

/** What is read goes here and is copied out: one for all files, of which `list` reads thousands. */
let room = new Uint8Array(CHUNK_BYTES);

export function readFileSync(file: string | number, encoding: Encoding | { encoding: Encoding }): string;
export function readFileSync(file: string | number): Buffer;
export function readFileSync(file: string | number, encoding?: Encoding | { encoding: Encoding }): string | Buffer {
  const fd = typeof file === "number" ? file : openSync(file);
  let length = 0;
  try {
    for (let got = -1; got !== 0; length += got) {
      if (length === room.length) {
        const larger = new Uint8Array(2 * room.length);
        larger.set(room);
        room = larger;
      }
      got = readSync(fd, room, length);
    }
  } finally {
    if (typeof file !== "number") closeSync(fd);
  }
  return encoding === undefined ? Buffer.from(room.slice(0, length).buffer) : textOf(room.subarray(0, length));
}

export function writeFileSync(
  file: string | number,
  data: string | Uint8Array,
  options: { mode?: number; flag?: string } | Encoding = {},
): void {
  const { mode = DEFAULT_FILE_MODE, flag = "w" } = typeof options === "string" ? {} : options;
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const fd = typeof file === "number" ? file : openSync(file, flag, mode);
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
  } finally {
    if (typeof file !== "number") closeSync(fd);
  }
}

export function existsSync(path: string): boolean {
  try {
    return sys(NR.statx, AT_FDCWD, path, 0, 0, new Uint8Array(STATX_BYTES)) >= 0;
  } catch {
    return false; // a NUL byte in the path
  }
}

function stat(dirfd: number, path: string, flags: number): Stats | number {
  const bytes = new Uint8Array(STATX_BYTES);
  const result = sys(NR.statx, dirfd, path, flags, STATX_BASIC_STATS, bytes);
  return result < 0 ? result : parseStatx(bytes);
}

type StatOptions = { throwIfNoEntry?: boolean };

function statOrThrow(call: string, path: string, flags: number, options: StatOptions | undefined): Stats | undefined {
  const found = stat(AT_FDCWD, path, flags);
  if (typeof found !== "number") return found;
  if (options?.throwIfNoEntry === false && found === -ENOENT) return undefined;
  check(found, call, path);
  return undefined;
}

export function statSync(path: string): Stats;
export function statSync(path: string, options: { throwIfNoEntry: false }): Stats | undefined;
export function statSync(path: string, options?: StatOptions): Stats | undefined {
  return statOrThrow("stat", path, 0, options);
}

export function lstatSync(path: string): Stats;
export function lstatSync(path: string, options: { throwIfNoEntry: false }): Stats | undefined;
export function lstatSync(path: string, options?: StatOptions): Stats | undefined {
  return statOrThrow("lstat", path, AT_SYMLINK_NOFOLLOW, options);
}

export function fstatSync(fd: number): Stats {
  const found = stat(fd, "", AT_EMPTY_PATH);
  if (typeof found !== "number") return found;
  check(found, "fstat");
  throw new Error("unreachable");
}

export function mkdirSync(
  path: string,
  options: { recursive?: boolean; mode?: number } | number = {},
): string | undefined {
  const { recursive = false, mode = 0o777 } = typeof options === "number" ? { mode: options } : options;
  const result = sys(NR.mkdirat, AT_FDCWD, path, mode);
  if (result >= 0) return recursive ? path : undefined;
  if (!recursive) {
    check(result, "mkdir", path);
    return undefined;
  }
  if (result === -ENOENT) {
    const slash = path.replace(/\/+$/, "").lastIndexOf("/");
    if (slash > 0) {
      const first = mkdirSync(path.slice(0, slash), { recursive, mode });
      const last = mkdirSync(path, { recursive, mode });
      return first ?? last;
    }
  }
  const found = stat(AT_FDCWD, path, 0);
  if (typeof found === "number" || !found.isDirectory()) check(result, "mkdir", path);
  return undefined;
}

export function rmdirSync(path: string): void {
  check(sys(NR.unlinkat, AT_FDCWD, path, AT_REMOVEDIR), "rmdir", path);
}

export function unlinkSync(path: string): void {
  check(sys(NR.unlinkat, AT_FDCWD, path, 0), "unlink", path);
}

export function renameSync(from: string, to: string): void {
  check(sys(NR.renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), "rename", from, to);
}

export function symlinkSync(target: string, path: string): void {
  check(sys(NR.symlinkat, target, AT_FDCWD, path), "symlink", target, path);
}

export function readlinkSync(path: string): string {
  const length = check(sys(NR.readlinkat, AT_FDCWD, path, room, room.length), "readlink", path);
  return textOf(room.subarray(0, length));
}

export function accessSync(path: string, mode = 0): void {
  check(sys(NR.faccessat2, AT_FDCWD, path, mode, 0), "access", path);
}

export function chmodSync(path: string, mode: number): void {
  check(sys(NR.fchmodat, AT_FDCWD, path, mode), "chmod", path);
}

/** @param uid -1 to leave it */
export function chownSync(path: string, uid: number, gid: number): void {
  check(sys(NR.fchownat, AT_FDCWD, path, uid, gid, 0), "chown", path);
}

/** @param uid -1 to leave it */
export function fchownSync(fd: number, uid: number, gid: number): void {
  check(sys(NR.fchownat, fd, "", uid, gid, AT_EMPTY_PATH), "fchown");
}

/** The kernel's own answer: the name of an open descriptor (proc_pid_fd(5)). */
export function realpathSync(path: string): string {
  const fd = check(retry(NR.openat, AT_FDCWD, path, O.PATH | O.CLOEXEC, 0), "realpath", path);
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

/** What kind of file system `path` is on: `f_type` of struct statfs, which is its first word (statfs(2)). */
export function statfsSync(path: string): { type: number } {
  const bytes = new Uint8Array(STATFS_BYTES);
  check(sys(NR.statfs, path, bytes), "statfs", path);
  return { type: Number(new DataView(bytes.buffer).getBigInt64(0, true)) };
}

export * from "./rare-fs.ts";
export { type Dirent, readdirSync } from "./readdir.ts";
