/** The operations of the differential test. Each is drawn first, then carried out on both sides. */
import { NR, sys } from "../../../specutils/syscall.ts";
import type { Random } from "./random.ts";
import { type Side, text } from "./side.ts";

/** What was drawn: words for the report, and what to do on one side. */
export interface Drawn {
  words: string;
  /** Paths to look at before and after. */
  paths: readonly string[];
  run(side: Side): string;
}

const arm = process.arch === "arm64";
const O = {
  CREAT: 0o100, EXCL: 0o200, TRUNC: 0o1000, APPEND: 0o2000, NONBLOCK: 0o4000, DSYNC: 0o10000, SYNC: 0o4010000, PATH: 0o10000000,
  DIRECT: arm ? 0o200000 : 0o40000, DIRECTORY: arm ? 0o40000 : 0o200000, NOFOLLOW: arm ? 0o100000 : 0o400000,
  TMPFILE: 0o20000000 | (arm ? 0o40000 : 0o200000),
}; // biome-ignore format: a table
const AT_FDCWD = -100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_SYMLINK_NOFOLLOW = 0x100;
const UTIME_NOW = 0x3fffffff;
const UTIME_OMIT = 0x3ffffffe;
export const SLOTS = 8;

const LONG = "n".repeat(255);
const names = ["a", "b", "c", "d", "e", "f", "g", "h", LONG] as const;
const odd = ["", ".", `${LONG}n`, "a//b", "a/./b", "./a", "a/", "\u00e9\u20ac"] as const;
const modes = [
  0o644, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1777, 0o2775, 0o000, 0o444, 0o070, 0o7777, 0o2644,
] as const;
const sizes = [0, 1, 100, 4095, 4096, 4097, 10_000, 65_536, 70_000] as const;
const ids = [-1, 0, 1000, 1001, 2000] as const;
const xattrNames = [
  "user.a",
  "user.b",
  "security.capability",
  "system.posix_acl_access",
  "system.posix_acl_default",
  "user.",
  "nothing.a",
];
/** Can be read and are not there; to set them is what a gofer refuses. */
const foreignXattrNames = ["trusted.a", "security.foo"];

/** Paths that operations have succeeded on lately: without them most would fail. */
const known: string[] = [];
const MAX_KNOWN = 24;

/** Remembers where an operation has found or made something. */
export function remember(paths: readonly string[]): void {
  known.push(...paths.filter((name) => name !== "." && name !== ""));
  if (known.length > MAX_KNOWN) known.splice(0, known.length - MAX_KNOWN);
}

function path(random: Random): string {
  if (random.once(25)) return random.pick(odd);
  if (known.length > 0 && !random.once(3)) return random.pick(known) + (random.once(5) ? `/${random.pick(names)}` : "");
  const depth = random.pick([1, 1, 1, 1, 2, 2, 2, 3]);
  const parts = Array.from({ length: depth }, () => (random.once(60) ? LONG : random.pick(names.slice(0, -1))));
  return parts.join("/") + (random.once(40) ? "/" : "");
}

/** Where a name lies, which changes with it. */
function parentOf(name: string): string {
  const end = name.replace(/\/+$/, "").lastIndexOf("/");
  return end <= 0 ? "." : name.slice(0, end);
}

const oneOf = (...paths: string[]) => [...new Set(paths.flatMap((name) => [name, parentOf(name)]))];
const slotOf = (random: Random) => random.below(random.pick([2, 2, 4, SLOTS]));

function onPath(random: Random, words: string, run: (side: Side, name: string) => string): Drawn {
  const name = path(random);
  return { words: `${words} ${name}`, paths: oneOf(name), run: (side) => run(side, name) };
}

/** An operation on an open file; the file itself is looked at by the driver, which looks at all that are open. */
function onSlot(random: Random, words: string, run: (side: Side, fd: number) => string): Drawn {
  const slot = slotOf(random);
  return { words: `${words} [${slot}]`, paths: [], run: (side) => run(side, side.slot(slot)) };
}

function fill(side: Side, size: number, seed: number): Uint8Array {
  for (let at = 0; at < size; at++) side.buffer[at] = (at * 7 + seed) & 0xff;
  return side.buffer;
}

/** struct timespec[2], each drawn: a time, now, or left alone. */
function times(random: Random): { words: string; bytes: Uint8Array | null } {
  if (random.once(8)) return { words: "NULL", bytes: null };
  const values = [0, 1].flatMap(() => {
    const nanoseconds = random.pick([0, 1, 999_999_999, UTIME_NOW, UTIME_OMIT, 1_000_000_000]);
    return [BigInt(random.pick([0, 1, 500_000_000, 1_500_000_000, 4_000_000_000, -5])), BigInt(nanoseconds)];
  });
  return { words: values.join(","), bytes: new Uint8Array(new BigInt64Array(values).buffer) };
}

function acl(random: Random): Uint8Array {
  const entries: [number, number, number][] = [
    [1, random.below(8), -1], [2, random.below(8), 1000], [4, random.below(8), -1], [0x10, random.below(8), -1], [0x20, random.below(8), -1],
  ]; // biome-ignore format: a table
  const view = new DataView(new ArrayBuffer(4 + entries.length * 8));
  view.setUint32(0, 2, true);
  entries.forEach(([tag, rights, id], index) => {
    view.setUint16(4 + index * 8, tag, true);
    view.setUint16(6 + index * 8, rights, true);
    view.setInt32(8 + index * 8, id, true);
  });
  return new Uint8Array(view.buffer);
}

function xattrValue(random: Random, name: string): Uint8Array {
  if (name.startsWith("system.posix_acl")) return acl(random);
  if (name === "security.capability") {
    return new Uint8Array(new Uint32Array([0x02000001, 1 << 10, 0, 0, 0]).buffer);
  }
  return new Uint8Array(new ArrayBuffer(random.pick([0, 1, 10, 100, 1000, 4000]))).fill(random.below(256));
}

/** How often each is drawn, and how. */
export const operations: readonly [weight: number, draw: (random: Random) => Drawn][] = [
  [6, (random) => {
    const mode = random.pick(modes);
    return onPath(random, `mkdir ${mode.toString(8)}`, (side, name) => side.call(NR.mkdirat, side.root, name, mode));
  }],
  [14, (random) => {
    const flags = random.pick([0, 1, 2, 2, 2, 3]) | O.CREAT | random.flags([O.EXCL, O.TRUNC, O.APPEND, O.NOFOLLOW, O.NONBLOCK]);
    const mode = random.pick(modes);
    const slot = slotOf(random);
    return onPath(random, `create ${flags.toString(8)} ${mode.toString(8)} [${slot}]`, (side, name) => side.open(slot, name, flags | O.NONBLOCK, mode));
  }],
  [12, (random) => {
    const flags = random.pick([0, 0, 1, 2, 2]) | random.flags([O.TRUNC, O.APPEND]) | (random.once(4) ? random.pick([O.DIRECTORY, O.NOFOLLOW, O.PATH, O.SYNC, O.DSYNC, O.NOFOLLOW | O.PATH]) : 0);
    const slot = slotOf(random);
    return onPath(random, `open ${flags.toString(8)} [${slot}]`, (side, name) => side.open(slot, name, flags | O.NONBLOCK, 0));
  }],
  [2, (random) => {
    const flags = random.pick([1, 2, 2]) | O.TMPFILE | (random.once(3) ? O.EXCL : 0);
    const slot = slotOf(random);
    const mode = random.pick(modes);
    return onPath(random, `tmpfile ${flags.toString(8)} ${mode.toString(8)} [${slot}]`, (side, name) => side.open(slot, name, flags, mode));
  }],
  [3, (random) => {
    const slot = slotOf(random);
    return { words: `close [${slot}]`, paths: [], run: (side) => side.close(slot) };
  }],
  [8, (random) => {
    const size = random.pick(sizes.slice(1));
    const offset = random.pick([-1, 0, 1, 4096, 5000, 100_000]);
    return onSlot(random, `read ${size} at ${offset}`, (side, fd) =>
      side.data(offset < 0 ? sys(NR.read, fd, side.buffer, size) : sys(NR.pread64, fd, side.buffer, size, offset)));
  }],
  [14, (random) => {
    const size = random.pick(sizes);
    const offset = random.pick([-1, -1, 0, 1, 4096, 5000, 100_000]);
    const seed = random.below(256);
    return onSlot(random, `write ${size} at ${offset}`, (side, fd) => {
      const data = fill(side, size, seed);
      return offset < 0 ? side.call(NR.write, fd, data, size) : side.call(NR.pwrite64, fd, data, size, offset);
    });
  }],
  [5, (random) => {
    const size = random.pick([...sizes, 200_000, -1]);
    return onPath(random, `truncate ${size}`, (side, name) => {
      const fd = sys(NR.openat, side.root, name, 0o1 | O.NONBLOCK);
      if (fd < 0) return text(fd);
      const result = side.call(NR.ftruncate, fd, size);
      sys(NR.close, fd);
      return result;
    });
  }],
  [4, (random) => {
    const size = random.pick([...sizes, 200_000, -1]);
    return onSlot(random, `ftruncate ${size}`, (side, fd) => side.call(NR.ftruncate, fd, size));
  }],
  [7, (random) => onPath(random, "unlink", (side, name) => side.call(NR.unlinkat, side.root, name, 0))],
  [4, (random) => onPath(random, "rmdir", (side, name) => side.call(NR.unlinkat, side.root, name, AT_REMOVEDIR))],
  [10, (random) => {
    const flags = random.pick([0, 0, 0, 1, 2, 3]);
    const [from, to] = [path(random), path(random)];
    return { words: `rename ${flags} ${from} -> ${to}`, paths: oneOf(from, to), run: (side) => side.call(NR.renameat2, side.root, from, side.root, to, flags) };
  }],
  [6, (random) => {
    const flags = random.pick([0, AT_SYMLINK_FOLLOW]);
    const [from, to] = [path(random), path(random)];
    return { words: `link ${flags} ${from} -> ${to}`, paths: oneOf(from, to), run: (side) => side.call(NR.linkat, side.root, from, side.root, to, flags) };
  }],
  [2, (random) => {
    const slot = slotOf(random);
    return onPath(random, `link [${slot}] ->`, (side, name) => {
      const fd = side.slot(slot);
      return fd < 0 ? "EBADF" : side.call(NR.linkat, AT_FDCWD, `/proc/self/fd/${fd}`, side.root, name, AT_SYMLINK_FOLLOW);
    });
  }],
  [4, (random) => {
    const target = random.pick([...names, "a/b", "b/c", "nowhere", ".", "", "x".repeat(4000)]);
    return onPath(random, `symlink ${target.slice(0, 20)} at`, (side, name) => side.call(NR.symlinkat, target, side.root, name));
  }],
  [3, (random) => onPath(random, "readlink", (side, name) => side.data(sys(NR.readlinkat, side.root, name, side.buffer, 5000)))],
  [6, (random) => {
    const mode = random.pick(modes);
    return onPath(random, `chmod ${mode.toString(8)}`, (side, name) => side.call(NR.fchmodat, side.root, name, mode));
  }],
  [4, (random) => {
    const uid = random.pick(ids);
    // Not -1 twice, which asks for nothing.
    const gid = random.pick(uid < 0 ? ids.slice(1) : ids);
    const flags = random.pick([0, AT_SYMLINK_NOFOLLOW]);
    return onPath(random, `chown ${uid}:${gid} ${flags}`, (side, name) => side.call(NR.fchownat, side.root, name, uid, gid, flags));
  }],
  [5, (random) => {
    const drawn = times(random);
    const flags = random.pick([0, AT_SYMLINK_NOFOLLOW]);
    return onPath(random, `utimens ${drawn.words} ${flags}`, (side, name) => side.call(NR.utimensat, side.root, name, drawn.bytes, flags));
  }],
  [2, (random) => {
    const drawn = times(random);
    return onSlot(random, `futimens ${drawn.words}`, (side, fd) => side.call(NR.utimensat, fd, null, drawn.bytes, 0));
  }],
  [4, (random) => {
    const name = random.pick(xattrNames);
    const value = xattrValue(random, name);
    const flags = random.pick([0, 0, 1, 2]);
    return onSlot(random, `setxattr ${name} ${value.length} ${flags}`, (side, fd) => side.call(NR.setxattr, `/proc/self/fd/${fd}`, name, value, value.length, flags));
  }],
  [4, (random) => {
    const name = random.pick([...xattrNames, ...foreignXattrNames]);
    const size = random.pick([0, 1, 100, 5000]);
    return onSlot(random, `getxattr ${name} ${size}`, (side, fd) => {
      const result = sys(NR.getxattr, `/proc/self/fd/${fd}`, name, side.buffer, size);
      return size === 0 ? text(result) : side.data(result);
    });
  }],
  [2, (random) => {
    const size = random.pick([0, 5, 1000]);
    return onSlot(random, `listxattr ${size}`, (side, fd) => {
      const result = sys(NR.listxattr, `/proc/self/fd/${fd}`, side.buffer, size);
      if (result <= 0 || size === 0) return text(result);
      return new TextDecoder().decode(side.buffer.subarray(0, result)).split("\0").sort().join(",");
    });
  }],
  [2, (random) => {
    // On an overlay, but on nothing else, taking an ACL away can take set-group-ID with it.
    const name = random.pick(xattrNames.filter((name) => name !== "system.posix_acl_access"));
    return onSlot(random, `removexattr ${name}`, (side, fd) => side.call(NR.removexattr, `/proc/self/fd/${fd}`, name));
  }],
  [3, (random) => {
    const mode = random.pick([0o010644, 0o140755, 0o100600, 0o000644, 0o040755, 0o102755]);
    return onPath(random, `mknod ${mode.toString(8)}`, (side, name) => side.call(NR.mknodat, side.root, name, mode, 0));
  }],
  [3, (random) => {
    const mode = random.pick([0, 1, 2, 3, 16, 17]);
    const [offset, length] = [random.pick([0, 4096, 5000, -1]), random.pick([0, 1, 4096, 50_000])];
    return onSlot(random, `fallocate ${mode} ${offset} ${length}`, (side, fd) => side.call(NR.fallocate, fd, mode, offset, length));
  }],
  [4, (random) => {
    const [offset, whence] = [random.pick([0, 1, 4096, 100_000, -1]), random.below(6)];
    return onSlot(random, `lseek ${offset} ${whence}`, (side, fd) => side.isDirectory(fd) ? "directory" : side.call(NR.lseek, fd, offset, whence));
  }],
  [3, (random) => {
    const to = slotOf(random);
    const length = random.pick(sizes);
    return onSlot(random, `copy_file_range ${length} to [${to}] from`, (side, fd) => {
      // It is a reading on a served tree, which it is not on an overlay (docs/GOFER.md).
      side.call(NR.pread64, fd, side.buffer, 1, 0);
      return side.call(NR.copy_file_range, fd, null, side.slot(to), null, length, 0);
    });
  }],
  [2, (random) => {
    const nr = random.pick([NR.fsync, NR.fdatasync]);
    return onSlot(random, "fsync", (side, fd) => side.call(nr, fd));
  }],
  [3, (random) => {
    const mode = random.below(8);
    return onPath(random, `access ${mode}`, (side, name) => side.call(NR.faccessat2, side.root, name, mode, 0x200));
  }],
  [5, (random) => onPath(random, "list", (side, name) => side.list(name))],
  [2, (random) => onPath(random, "stat", (side, name) => side.describe(side.root, name, true))],
  [2, (random) => {
    const how = random.pick([1, 2, 8, 5, 6]);
    return onSlot(random, `flock ${how}`, (side, fd) => side.call(NR.flock, fd, how | 4));
  }],
]; // biome-ignore format: a table
