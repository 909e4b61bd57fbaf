/**
 * How much a container may add to a mount since its gofer was started: bytes (sizes of regular files, holes included) and files. What an
 * unlinked file takes is given back when nobody has it open any more.
 *
 * Bytes can only be counted where they pass through the gofer: with a limit of bytes there is no passthrough.
 */
import { AT } from "./arena.ts";
import { MAX_COPY } from "./files.ts";
import { field, type Gofer, longField, nodeOf, REPLY } from "./gofer.ts";
import { EDQUOT, O_TRUNC, STAT } from "./host.ts";
import { FATTR, OP } from "./protocol.ts";

const FALLOC_FL_PUNCH_HOLE = 2;
/** struct fuse_kstatfs: which of its 64-bit fields are limited; and in bytes where the size of a block is. */
const KSTATFS = { BLOCKS: 0, BFREE: 1, BAVAIL: 2, FILES: 3, FFREE: 4, FRSIZE: 48 } as const;

export interface QuotaLimits {
  /** 0: no limit. */
  bytes: number;
  files: number;
}

/** What one mount may grow by, and has grown by. */
export class Quota {
  readonly limits: QuotaLimits;
  /** Less than 0 when more was removed than added. */
  bytes = 0;
  files = 0;
  /** What the request that is being carried out will add if it succeeds. */
  #bytesOfRequest = 0;
  #filesOfRequest = 0;

  constructor(limits: QuotaLimits) {
    this.limits = limits;
  }

  /** 0 if what the request in the arena may add fits, or -EDQUOT. */
  check(gofer: Gofer, opcode: number): number {
    this.#bytesOfRequest = this.limits.bytes === 0 ? 0 : growth(gofer, opcode);
    this.#filesOfRequest = makesFile(opcode) ? 1 : 0;
    const { bytes, files } = this.limits;
    const isTooMuch =
      (bytes > 0 && this.#bytesOfRequest > 0 && this.bytes + this.#bytesOfRequest > bytes) ||
      (files > 0 && this.#filesOfRequest > 0 && this.files + this.#filesOfRequest > files);
    return isTooMuch ? -EDQUOT : 0;
  }

  /** The request that was checked last has succeeded. */
  commit(): void {
    this.bytes += this.#bytesOfRequest;
    this.files += this.#filesOfRequest;
  }

  /** Makes the struct fuse_kstatfs of a reply say what is left of the limits, where that is less than the host has. */
  limitStatfs({ arena }: Gofer): void {
    const word = (index: number) => REPLY + index * 8;
    const limit = (total: number, free: readonly number[], most: number, used: number) => {
      const left = Math.max(0, most - used);
      arena.setU64(word(total), Math.min(Number(arena.u64(word(total))), most));
      for (const index of free) arena.setU64(word(index), Math.min(Number(arena.u64(word(index))), left));
    };
    const blockBytes = arena.u32[(REPLY + KSTATFS.FRSIZE) >> 2] || 4096;
    const { bytes, files } = this.limits;
    if (bytes > 0) {
      const used = Math.ceil(this.bytes / blockBytes);
      limit(KSTATFS.BLOCKS, [KSTATFS.BFREE, KSTATFS.BAVAIL], Math.floor(bytes / blockBytes), used);
    }
    if (files > 0) limit(KSTATFS.FILES, [KSTATFS.FFREE], files, this.files);
  }

  /** A file of so many bytes is no more. */
  release(bytes: number): void {
    if (this.limits.bytes > 0) this.bytes -= bytes;
    this.files -= 1;
  }
}

function makesFile(opcode: number): boolean {
  return [OP.CREATE, OP.MKNOD, OP.MKDIR, OP.SYMLINK, OP.TMPFILE].some((making) => making === opcode);
}

/** By how many bytes a file will be larger, or smaller. */
function growth(gofer: Gofer, opcode: number): number {
  switch (opcode) {
    case OP.WRITE:
      return Math.max(0, Number(longField(gofer, 8)) + field(gofer, 16) - sizeOf(gofer, nodeOf(gofer)));
    case OP.SETATTR:
      if ((field(gofer, 0) & FATTR.SIZE) === 0) return 0;
      return Number(longField(gofer, 16)) - sizeOf(gofer, nodeOf(gofer));
    case OP.OPEN:
      return (field(gofer, 0) & O_TRUNC) === 0 ? 0 : -sizeOf(gofer, nodeOf(gofer));
    case OP.FALLOCATE:
      // Blocks beyond the end of the file count as if they were in it.
      if ((field(gofer, 24) & FALLOC_FL_PUNCH_HOLE) !== 0) return 0;
      return Math.max(0, Number(longField(gofer, 8)) + Number(longField(gofer, 16)) - sizeOf(gofer, nodeOf(gofer)));
    case OP.COPY_FILE_RANGE:
    case OP.COPY_FILE_RANGE_64: {
      // At most; what it did not copy is paid all the same.
      const from = sizeOf(gofer, nodeOf(gofer)) - Number(longField(gofer, 8));
      const length = Math.max(0, Math.min(from, Number(longField(gofer, 40)), MAX_COPY));
      return Math.max(0, Number(longField(gofer, 32)) + length - sizeOf(gofer, field(gofer, 16)));
    }
    default:
      return 0;
  }
}

function sizeOf({ nodes, host, arena }: Gofer, node: number): number {
  const fd = nodes.fd(node);
  return fd < 0 || host.stat(fd) < 0 ? 0 : Number(arena.u64(AT.stat + STAT.SIZE));
}
