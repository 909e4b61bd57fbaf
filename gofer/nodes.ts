/**
 * The files that the kernel knows of, by the numbers it calls them (nodeid). A node is one file of the host, however many
 * names it has: device, inode number and time of birth tell files apart. But on an overlay: links of a lower layer have one number,
 * and are files apart as soon as one is changed. There each name of a file with several is a node of its own.
 *
 * Descriptors (O_PATH) are opened when they are needed, by parent and name, and checked to be the same file; the oldest are
 * closed when there are too many (descriptors.ts). A file that has lost its name keeps its descriptor (`pin`) until the kernel
 * forgets it.
 */
import { type Arena, AT } from "./arena.ts";
import type { Descriptors } from "./descriptors.ts";
import { EMFILE, ESTALE, type Host, STAT, STAT_DEV, STAT_TIME, TYPE } from "./host.ts";
import { NamedFiles } from "./named-files.ts";
import { ROOT_ID } from "./protocol.ts";

/** How many directories on the way to a node get descriptors to keep. */
const MAX_KEPT_WAY = 64;

/** How many nodes there is room for at first; doubled when there are more. */
const FIRST_CAPACITY = 1024;

function resized<T extends Int32Array | Uint32Array | Float64Array>(
  old: T,
  make: new (length: number) => T,
  length: number,
): T {
  const other = new make(length);
  other.set(old.subarray(0, length));
  return other;
}

function namedKey(file: number | string, parent: number, name: string): string {
  return `${file}/${parent}/${name}`;
}

/** All nodes of one tree, as columns of arrays: a node is an index. */
export class Nodes {
  /** Descriptors, -1 for none; the root's stays. */
  fds = new Int32Array(FIRST_CAPACITY).fill(-1);
  /** Backing ids (passthrough.ts), 0 for none. */
  backing = new Int32Array(FIRST_CAPACITY);
  /** How many times the container has it open. */
  opens = new Int32Array(FIRST_CAPACITY);
  /** `mode >> 12`. */
  types = new Int32Array(FIRST_CAPACITY);
  /** Nodes are reused: kernel and gofer tell their uses apart by this. */
  generations = new Uint32Array(FIRST_CAPACITY);
  /** Rights by policy (policy.ts); 0 where there is no policy. */
  marks = new Int32Array(FIRST_CAPACITY);
  /** Under which name it was seen last: Latin-1 text for bytes. The parent is 0 when it has no name any more. */
  names: string[] = [];
  parents = new Uint32Array(FIRST_CAPACITY);

  /** What `marks` are for a name in a directory; set where there is a policy. */
  mark: ((parent: number, name: string) => number) | undefined;

  /** How often the kernel was told of the node, less what it has forgotten. */
  #lookups = new Float64Array(FIRST_CAPACITY);
  /** How many nodes name this one as their parent. */
  #children = new Uint32Array(FIRST_CAPACITY);
  #births = new Float64Array(FIRST_CAPACITY);
  #keys: (number | string | undefined)[] = [];
  #byKey = new Map<number | string, number>();
  /** Nodes that are one name of a file. */
  readonly #named = new NamedFiles();
  #rootMajor = -1;
  #rootMinor = -1;
  #free: number[] = [];
  #used = ROOT_ID;
  #capacity = FIRST_CAPACITY;

  #pinned = new Set<number>();
  readonly #descriptors: Descriptors;
  readonly #host: Host;
  readonly #arena: Arena;
  readonly #ignoreBirth: boolean;
  readonly #below: string;
  readonly #onForget: (node: number) => void;
  #generation = 0;

  /**
   * @param rootFd the served tree, taken over
   * @param ignoreBirth the file system gives a file another time of birth when it is written to (overlay's copying up)
   * @param below the path of the root in the mount that it is part of; Latin-1 text for bytes
   * @param onForget called before a node goes
   * @throws RangeError if the root cannot be looked at
   */
  constructor(
    host: Host,
    rootFd: number,
    descriptors: Descriptors,
    { ignoreBirth, below, onForget }: { ignoreBirth: boolean; below: string; onForget: (node: number) => void },
  ) {
    this.#host = host;
    this.#arena = host.arena;
    this.#descriptors = descriptors;
    this.#below = below;
    this.#ignoreBirth = ignoreBirth;
    this.#onForget = onForget;
    if (host.stat(rootFd) < 0) throw new RangeError("cannot look at the root of the served tree");
    this.fds[ROOT_ID] = rootFd;
    this.#lookups[ROOT_ID] = 1;
    this.#identify(ROOT_ID, this.#keyOfStat());
  }

  /**
   * The node of the file that `AT.stat` describes, seen as `name` in `parent`; made if the kernel does not know it yet. The kernel
   * is about to be told of it once more.
   */
  seen(parent: number, name: string): number {
    const isNamed = this.#isNamed();
    const key = isNamed ? namedKey(this.#keyOfStat(), parent, name) : this.#keyOfStat();
    let node = this.#byKey.get(key) ?? this.#lastName(isNamed, parent, name);
    if (node !== undefined && this.#births[node] !== this.#birthOfStat()) {
      // Another file, on an inode that was used again while the old one had no descriptor here.
      this.#byKey.delete(key);
      node = undefined;
    }
    if (node === undefined) {
      node = this.#take();
      this.generations[node] = this.#generation++;
      this.#identify(node, key);
      if (isNamed) this.#named.add(node, this.#keyOfStat(), 0);
    }
    this.#lookups[node] = (this.#lookups[node] ?? 0) + 1;
    if (node !== ROOT_ID) this.rename(node, parent, name);
    if (this.mark !== undefined && parent !== 0) this.#addMarks(node, this.mark(parent, name));
    return node;
  }

  /** The node of the file that `AT.stat` describes, seen as `name` in `parent`, if the kernel knows it; 0 otherwise. */
  find(parent: number, name: string): number {
    const key = this.#keyOfStat();
    const isNamed = this.#isNamed();
    const node = this.#byKey.get(isNamed ? namedKey(key, parent, name) : key) ?? this.#lastName(isNamed, parent, name);
    return node !== undefined && this.#births[node] === this.#birthOfStat() ? node : 0;
  }

  /** Whether `AT.stat` describes the file that a node is. */
  isStat(node: number): boolean {
    const key = this.#named.keyOf(node) ?? this.#keys[node];
    return key === this.#keyOfStat() && this.#births[node] === this.#birthOfStat();
  }

  /** The node of a name that was one of several, and is the only one now. */
  #lastName(isNamed: boolean, parent: number, name: string): number | undefined {
    if (isNamed || !this.#named.areThere) return undefined;
    return this.#byKey.get(namedKey(this.#keyOfStat(), parent, name));
  }

  #addMarks(node: number, marks: number): void {
    this.marks[node] = (this.marks[node] ?? 0) | marks;
    const file = this.#named.fileOf(node);
    if (file !== undefined) file.marks |= marks;
  }

  /** Rights by policy: a file with several names has those of all. */
  marksOf(node: number): number {
    return (this.marks[node] ?? 0) | (this.#named.fileOf(node)?.marks ?? 0);
  }

  /** Whether no other node is the same file. */
  isLastOfFile(node: number): boolean {
    return (this.#named.fileOf(node)?.count ?? 1) === 1;
  }

  /** Whether other nodes may be the same file under other names: what is known of it is then old as soon as it is told. */
  isShared(node: number): boolean {
    return this.#named.has(node);
  }

  /**
   * A node has got another name, which is a node of its own where each name is one: from now on it is one of them.
   *
   * @returns whether that is new
   */
  share(node: number): boolean {
    const key = this.#keys[node];
    const fd = this.fd(node);
    if (!this.#ignoreBirth || key === undefined || fd < 0 || this.#named.has(node)) return false;
    if (this.#host.stat(fd) < 0 || !this.#isNamed()) return false;
    this.#named.add(node, key, this.marks[node] ?? 0);
    this.#renameKey(node, this.parents[node] ?? 0, this.names[node] ?? "");
    return true;
  }

  /** Whether `AT.stat` describes a file of which each name is a node. */
  #isNamed(): boolean {
    if (!this.#ignoreBirth) return false;
    const { u32 } = this.#arena;
    const isDirectory = ((u32[(AT.stat + STAT.MODE) >> 2] ?? 0) & 0xf000) >> 12 === TYPE.directory;
    return (u32[(AT.stat + STAT.NLINK) >> 2] ?? 0) > 1 && !isDirectory;
  }

  /** Where a node can be found from now on. A parent of 0: nowhere. */
  rename(node: number, parent: number, name: string): void {
    const before = this.parents[node] ?? 0;
    if (this.#named.areThere) this.#renameKey(node, parent, name);
    this.names[node] = name;
    if (before === parent) return;
    if (before === 0 && this.#unpin(node)) this.#descriptors.opened(this, node);
    if (parent !== 0) this.#children[parent] = (this.#children[parent] ?? 0) + 1;
    this.parents[node] = parent;
    if (before === 0) return;
    this.#children[before] = (this.#children[before] ?? 1) - 1;
    this.#dropUnused(before);
  }

  #renameKey(node: number, parent: number, name: string): void {
    const base = this.#named.keyOf(node);
    const before = this.#keys[node];
    if (base === undefined || before === undefined) return;
    if (this.#byKey.get(before) === node) this.#byKey.delete(before);
    const key = namedKey(base, parent, name);
    this.#keys[node] = key;
    this.#byKey.set(key, node);
  }

  /**
   * A descriptor for a node, or -errno: -ESTALE if it is not where it was. Good until the next {@link trim}.
   */
  fd(node: number): number {
    const open = this.fds[node] ?? -1;
    return open >= 0 ? open : this.#find(node);
  }

  /** Opens what lies between a node and the next directory above it that has a descriptor, from above. */
  #find(node: number): number {
    const missing: number[] = [];
    let at = node;
    while ((this.fds[at] ?? -1) < 0) {
      missing.push(at);
      at = this.parents[at] ?? 0;
      // More steps than nodes: the host has moved directories into each other in a way that went unnoticed.
      if (at === 0 || missing.length > this.#used) return -ESTALE;
    }
    let fd = this.fds[at] ?? -1;
    // Of a long way only its end is kept: without a descriptor for one more a lookup would fail, and the kernel take that for the end of what
    // is mounted there.
    let passed = -1;
    const isLong = missing.length > MAX_KEPT_WAY;
    for (const next of missing.reverse()) {
      const opened = this.#host.openPathAt(fd, this.#arena.putText(AT.name, this.names[next] ?? ""));
      if (opened < 0) {
        if (passed >= 0) this.#host.close(passed);
        return opened === -EMFILE ? opened : -ESTALE;
      }
      if (this.#host.stat(opened) < 0 || !this.isStat(next)) {
        this.#host.close(opened);
        if (passed >= 0) this.#host.close(passed);
        return -ESTALE;
      }
      if (passed >= 0) this.#host.close(passed);
      passed = isLong && next !== node ? opened : -1;
      if (passed < 0) this.keep(next, opened);
      fd = opened;
    }
    return fd;
  }

  /** Takes over a descriptor that stands for a node, or closes it if there is one. */
  keep(node: number, fd: number): void {
    if ((this.fds[node] ?? -1) >= 0) {
      this.#host.close(fd);
      return;
    }
    this.fds[node] = fd;
    this.#descriptors.opened(this, node);
  }

  /**
   * The node has no name any more. Its descriptor stays open, if there is one: without, it is stale. Bounded by the limit of
   * descriptors, of which a quarter is left for everything else.
   */
  pin(node: number): void {
    this.rename(node, 0, "");
    if ((this.fds[node] ?? -1) < 0 || this.#pinned.has(node) || !this.#descriptors.pin()) return;
    this.#pinned.add(node);
  }

  #unpin(node: number): boolean {
    if (!this.#pinned.delete(node)) return false;
    this.#descriptors.unpin();
    return true;
  }

  /** The kernel has forgotten a node `count` times. */
  forget(node: number, count: number): void {
    if (node === ROOT_ID || node > this.#used) return;
    this.#lookups[node] = Math.max(0, (this.#lookups[node] ?? 0) - count);
    this.#dropUnused(node);
  }

  /** The path from the root of the mount, for policy and audit: Latin-1 text for bytes, without a leading slash. */
  path(node: number): string {
    let text = "";
    let steps = 0;
    for (let at = node; at !== ROOT_ID; at = this.parents[at] ?? 0) {
      steps += 1;
      if (at === 0 || steps > this.#used) return text === "" ? "(unlinked)" : `(unlinked)/${text}`;
      text = text === "" ? (this.names[at] ?? "") : `${this.names[at]}/${text}`;
    }
    if (this.#below === "") return text;
    return text === "" ? this.#below : `${this.#below}/${text}`;
  }

  /** All nodes but the root, those that were made last first. */
  *all(): Generator<number> {
    for (let node = this.#used; node > ROOT_ID; node--) if (this.#keys[node] !== undefined) yield node;
  }

  /** How many nodes there are, the root included. */
  get size(): number {
    return this.#used - this.#free.length;
  }

  /** Forgets a node that neither the kernel nor another node needs, then its parent if that was the last reason to keep it. */
  #dropUnused(unused: number): void {
    let node = unused;
    while (node > ROOT_ID && this.#lookups[node] === 0 && this.#children[node] === 0) {
      const key = this.#keys[node];
      if (key === undefined) return;
      this.#onForget(node);
      const fd = this.fds[node] ?? -1;
      if (fd >= 0) this.#host.close(fd);
      this.fds[node] = -1;
      this.#unpin(node);
      if (this.#byKey.get(key) === node) this.#byKey.delete(key);
      this.#keys[node] = undefined;
      this.#named.remove(node);
      this.names[node] = "";
      this.#free.push(node);
      const parent = this.parents[node] ?? 0;
      this.parents[node] = 0;
      this.#children[parent] = (this.#children[parent] ?? 1) - 1;
      node = parent;
    }
  }

  #take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#used += 1;
    if (this.#used === this.#capacity) this.#resize(this.#capacity * 2);
    return this.#used;
  }

  #resize(length: number): void {
    this.#capacity = length;
    const { fds } = this;
    this.fds = resized(fds, Int32Array, length).fill(-1, fds.length);
    this.backing = resized(this.backing, Int32Array, length);
    this.opens = resized(this.opens, Int32Array, length);
    this.types = resized(this.types, Int32Array, length);
    this.generations = resized(this.generations, Uint32Array, length);
    this.marks = resized(this.marks, Int32Array, length);
    this.parents = resized(this.parents, Uint32Array, length);
    this.#lookups = resized(this.#lookups, Float64Array, length);
    this.#children = resized(this.#children, Uint32Array, length);
    this.#births = resized(this.#births, Float64Array, length);
  }

  /** Gives back the room behind the last node that there is. */
  compact(): void {
    let last = this.#used;
    while (last > ROOT_ID && this.#keys[last] === undefined) last -= 1;
    let capacity = FIRST_CAPACITY;
    while (capacity <= last) capacity *= 2;
    if (capacity >= this.#capacity) return;
    this.#used = last;
    this.#free = this.#free.filter((node) => node < last);
    this.names = this.names.slice(0, last + 1);
    this.#keys = this.#keys.slice(0, last + 1);
    this.#byKey = new Map(this.#byKey);
    this.#resize(capacity);
  }

  /** A node is the file that `AT.stat` describes. */
  #identify(node: number, key: number | string): void {
    this.#keys[node] = key;
    this.#byKey.set(key, node);
    this.#births[node] = this.#birthOfStat();
    this.types[node] = ((this.#arena.u32[(AT.stat + STAT.MODE) >> 2] ?? 0) << 16) >>> 28;
    this.marks[node] = 0;
  }

  /** Names find it again. */
  letGo(node: number): void {
    const fd = this.fds[node] ?? -1;
    if (fd < 0 || this.#pinned.has(node)) return;
    this.#host.close(fd);
    this.fds[node] = -1;
  }

  /** The tree is not served any more: nothing of it stays open. */
  close(): void {
    for (const fd of this.fds) if (fd >= 0) this.#host.close(fd);
    this.fds.fill(-1);
    for (const node of this.#pinned) this.#unpin(node);
  }

  #keyOfStat(): number | string {
    const { u32 } = this.#arena;
    const at = AT.stat >> 2;
    const major = u32[at + (STAT_DEV.MAJOR >> 2)] ?? 0;
    const minor = u32[at + (STAT_DEV.MINOR >> 2)] ?? 0;
    const high = u32[at + (STAT.INO >> 2) + 1] ?? 0;
    const low = u32[at + (STAT.INO >> 2)] ?? 0;
    if (this.#rootMajor < 0) {
      this.#rootMajor = major;
      this.#rootMinor = minor;
    }
    // Nearly all files of a tree are on one device.
    const isUsual = major === this.#rootMajor && minor === this.#rootMinor && high < 0x200000;
    return isUsual ? high * 0x100000000 + low : `${major}:${minor}:${high}:${low}`;
  }

  #birthOfStat(): number {
    if (this.#ignoreBirth) return 0;
    const { u32 } = this.#arena;
    const at = (AT.stat + STAT_TIME.BTIME) >> 2;
    return (u32[at] ?? 0) * 1e9 + (u32[at + 2] ?? 0);
  }
}
