/** What statx(2) says, with the names of node:fs' Stats. */

export const STATX_BYTES = 256;

const S_IFMT = 0o170000;

export class Stats {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly ino: number;
  readonly dev: number;
  readonly rdev: number;
  readonly size: number;
  readonly mtimeMs: number;

  /** @param view a `struct statx` */
  constructor(view: DataView) {
    this.nlink = view.getUint32(16, true);
    this.uid = view.getUint32(20, true);
    this.gid = view.getUint32(24, true);
    this.mode = view.getUint16(28, true);
    this.ino = Number(view.getBigUint64(32, true));
    this.size = Number(view.getBigUint64(40, true));
    this.mtimeMs = Number(view.getBigInt64(112, true)) * 1000 + view.getUint32(120, true) / 1e6;
    this.rdev = deviceNumber(view.getUint32(128, true), view.getUint32(132, true));
    this.dev = deviceNumber(view.getUint32(136, true), view.getUint32(140, true));
  }

  /** For proper-lockfile, to which `statefile/lock.ts` lends lstat. */
  get mtime(): Date {
    return new Date(this.mtimeMs);
  }

  isFile(): boolean {
    return (this.mode & S_IFMT) === 0o100000;
  }
  isDirectory(): boolean {
    return (this.mode & S_IFMT) === 0o040000;
  }
  isSymbolicLink(): boolean {
    return (this.mode & S_IFMT) === 0o120000;
  }
  isFIFO(): boolean {
    return (this.mode & S_IFMT) === 0o010000;
  }
  isSocket(): boolean {
    return (this.mode & S_IFMT) === 0o140000;
  }
  isCharacterDevice(): boolean {
    return (this.mode & S_IFMT) === 0o020000;
  }
  isBlockDevice(): boolean {
    return (this.mode & S_IFMT) === 0o060000;
  }
}

export function parseStatx(bytes: Uint8Array): Stats {
  return new Stats(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
}

/** makedev(3). Arithmetic, as the numbers may need more than 32 bits. */
function deviceNumber(major: number, minor: number): number {
  const low = ((major & 0xfff) << 8) | (minor & 0xff);
  return low + (minor >>> 8) * 2 ** 20 + (major >>> 12) * 2 ** 44;
}
