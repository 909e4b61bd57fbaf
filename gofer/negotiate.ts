/** FUSE_INIT: what kernel and gofer agree on. */

import { POLLIN } from "../specutils/syscall/constants.ts";
import { NR, poll, sys } from "../specutils/syscall.ts";
import { AT, MAX_TRANSFER } from "./arena.ts";
import { field, type Gofer, REPLY } from "./gofer.ts";
import { FUSE_MAJOR, FUSE_MINOR, IN, INIT, INIT_OUT, INIT2, OP } from "./protocol.ts";
import { reply } from "./server.ts";

export interface Wishes {
  /** Whether the host's file system has POSIX ACLs; asking for them costs a request per directory where it has not. */
  hasAcls: boolean;
  /** How deep file systems are stacked below: 1 for none, 2 if the tree is an overlay. No overlay fits on top of 2. */
  stackDepth: number;
  /** Seconds after which the kernel ends a connection that does not answer; 0 for never. */
  requestTimeoutSeconds: number;
}

const PAGE = 4096;
/** struct fuse_init_in. */
const INIT_IN = { MAX_READAHEAD: 8, FLAGS: 12, FLAGS2: 16 };

/**
 * Waits for the first request and answers it. After that the mount can be used, and its ids shifted.
 * @returns whether the kernel reads and writes files by itself
 * @throws RangeError if something else comes first, or the kernel speaks another version
 */
export function negotiate(gofer: Gofer, fuseFd: number, wishes: Wishes): boolean {
  const { arena } = gofer;
  poll([{ fd: fuseFd, events: POLLIN }], -1);
  const length = sys(NR.read, fuseFd, arena.base + AT.request, MAX_TRANSFER + PAGE);
  if (
    length < IN.BYTES + 20 ||
    arena.u32[(AT.request + IN.OPCODE) >> 2] !== OP.INIT ||
    field(gofer, 0) !== FUSE_MAJOR
  ) {
    throw new RangeError("the kernel speaks another FUSE protocol: Linux 5.10 or newer is wanted");
  }
  const flags = (wantedFlags(wishes) & field(gofer, INIT_IN.FLAGS)) >>> 0;
  const offered2 = (flags & INIT.INIT_EXT) === 0 ? 0 : field(gofer, INIT_IN.FLAGS2);
  const wanted2 = INIT2.PASSTHROUGH | INIT2.NO_EXPORT_SUPPORT | INIT2.ALLOW_IDMAP;
  const timeout = wishes.requestTimeoutSeconds > 0 ? INIT2.REQUEST_TIMEOUT : 0;
  const flags2 = (wanted2 | timeout) & offered2;
  const { u32, bytes } = arena;
  u32.fill(0, REPLY >> 2, (REPLY + INIT_OUT.BYTES) >> 2);
  u32[(REPLY + INIT_OUT.MAJOR) >> 2] = FUSE_MAJOR;
  u32[(REPLY + INIT_OUT.MINOR) >> 2] = FUSE_MINOR;
  u32[(REPLY + INIT_OUT.MAX_READAHEAD) >> 2] = field(gofer, INIT_IN.MAX_READAHEAD);
  u32[(REPLY + INIT_OUT.FLAGS) >> 2] = flags;
  bytes.writeUInt16LE(64, REPLY + INIT_OUT.MAX_BACKGROUND);
  bytes.writeUInt16LE(48, REPLY + INIT_OUT.CONGESTION_THRESHOLD);
  u32[(REPLY + INIT_OUT.MAX_WRITE) >> 2] = MAX_TRANSFER;
  u32[(REPLY + INIT_OUT.TIME_GRAN) >> 2] = 1;
  bytes.writeUInt16LE(MAX_TRANSFER / PAGE, REPLY + INIT_OUT.MAX_PAGES);
  u32[(REPLY + INIT_OUT.FLAGS2) >> 2] = flags2;
  const hasPassthrough = (flags2 & INIT2.PASSTHROUGH) !== 0;
  u32[(REPLY + INIT_OUT.MAX_STACK_DEPTH) >> 2] = hasPassthrough ? wishes.stackDepth : 0;
  if ((flags2 & INIT2.REQUEST_TIMEOUT) !== 0) {
    bytes.writeUInt16LE(wishes.requestTimeoutSeconds, REPLY + INIT_OUT.REQUEST_TIMEOUT);
  }
  reply(gofer, fuseFd, INIT_OUT.BYTES);
  return hasPassthrough;
}

function wantedFlags({ hasAcls }: Wishes): number {
  return (
    INIT.ASYNC_READ |
    INIT.ATOMIC_O_TRUNC |
    INIT.BIG_WRITES |
    INIT.DONT_MASK |
    INIT.AUTO_INVAL_DATA |
    INIT.DO_READDIRPLUS |
    INIT.READDIRPLUS_AUTO |
    INIT.ASYNC_DIO |
    INIT.PARALLEL_DIROPS |
    INIT.MAX_PAGES |
    INIT.CACHE_SYMLINKS |
    INIT.NO_OPENDIR_SUPPORT |
    INIT.HANDLE_KILLPRIV_V2 |
    INIT.SETXATTR_EXT |
    INIT.INIT_EXT |
    (hasAcls ? INIT.POSIX_ACL : 0)
  );
}
