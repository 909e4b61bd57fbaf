/**
 * Mount options: the strings of config.json's `mounts[].options`, sorted by what the kernel wants to be told about them
 * (config.md#linux-mount-options, mount(8), mount_setattr(2)). The table is also what `features` prints.
 */

export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
/** The field that holds one of the three access time modes; a mode is set by clearing the field and setting the mode. */
export const MOUNT_ATTR__ATIME = 0x70;
export const MOUNT_ATTR_RELATIME = 0x00;
export const MOUNT_ATTR_NOATIME = 0x10;
export const MOUNT_ATTR_STRICTATIME = 0x20;
export const MOUNT_ATTR_NODIRATIME = 0x80;
export const MOUNT_ATTR_NOSYMFOLLOW = 0x200000;

export const MS_RDONLY = 0x1;
export const MS_SYNCHRONOUS = 0x10;
export const MS_MANDLOCK = 0x40;
export const MS_DIRSYNC = 0x80;
export const MS_SILENT = 0x8000;
export const MS_UNBINDABLE = 0x20000;
export const MS_PRIVATE = 0x40000;
export const MS_SLAVE = 0x80000;
export const MS_SHARED = 0x100000;
export const MS_I_VERSION = 0x800000;
export const MS_LAZYTIME = 0x2000000;

/** A change of propagation: `type` is one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE. */
export interface Propagation {
  type: number;
  recursive: boolean;
}

/** A mount's options. In each pair of sets no attribute is in both, apart from the access time field. */
export interface ParsedMountOptions {
  /** Whether the mount is a bind mount, and of one mount or of the tree below it. */
  bind: false | "bind" | "rbind";
  remount: boolean;
  /** MOUNT_ATTR_* of the mount itself, as `attr_set` and `attr_clr` of mount_setattr(2). */
  attrSet: number;
  attrClear: number;
  /** The same for the mount and everything mounted below it (AT_RECURSIVE). */
  recursiveSet: number;
  recursiveClear: number;
  /** In the order given: `slave` and then `shared` is a state of its own. */
  propagation: Propagation[];
  /** MS_* that belong to the file system and not to the mount: not to be applied to the source of a bind mount. */
  superblockSet: number;
  superblockClear: number;
  /** Options for the file system itself, such as `size=64k`, in the order given. */
  data: string[];
  /** Whether the mount's ids are to be mapped, and for one mount or the tree below it. */
  idmap: undefined | "idmap" | "ridmap";
  /** Whether a new tmpfs starts with a copy of what it covers. */
  tmpcopyup: boolean;
}

/**
 * Sorts the options of one mount; of options that contradict each other the last one counts.
 * @param type the mount's type. As with crun, type `bind` alone makes a bind mount; no file system has that name.
 */
export function parseMountOptions(options: readonly string[], type?: string): ParsedMountOptions {
  const parsed: ParsedMountOptions = {
    bind: false,
    remount: false,
    attrSet: 0,
    attrClear: 0,
    recursiveSet: 0,
    recursiveClear: 0,
    propagation: [],
    superblockSet: 0,
    superblockClear: 0,
    data: [],
    idmap: undefined,
    tmpcopyup: false,
  };
  for (const option of options) {
    if (Object.hasOwn(OPTIONS, option)) OPTIONS[option]?.(parsed);
    else if (option !== "") parsed.data.push(option);
  }
  if (type === "bind" && parsed.bind === false) parsed.bind = "bind";
  return parsed;
}

/** The names of all options that are not left to the file system, sorted. */
export function knownMountOptions(): string[] {
  return Object.keys(OPTIONS).sort();
}

type Effect = (parsed: ParsedMountOptions) => void;

const OPTIONS: Readonly<Record<string, Effect>> = {
  async: superblock(MS_SYNCHRONOUS, false),
  atime: noAccessTime(MOUNT_ATTR_NOATIME),
  bind: (parsed) => {
    if (parsed.bind === false) parsed.bind = "bind";
  },
  defaults: () => {},
  dev: attribute(MOUNT_ATTR_NODEV, false),
  diratime: attribute(MOUNT_ATTR_NODIRATIME, false),
  dirsync: superblock(MS_DIRSYNC, true),
  exec: attribute(MOUNT_ATTR_NOEXEC, false),
  idmap: (parsed) => {
    parsed.idmap = "idmap";
  },
  iversion: superblock(MS_I_VERSION, true),
  lazytime: superblock(MS_LAZYTIME, true),
  loud: superblock(MS_SILENT, false),
  mand: superblock(MS_MANDLOCK, true),
  noatime: accessTime(MOUNT_ATTR_NOATIME),
  nodev: attribute(MOUNT_ATTR_NODEV, true),
  nodiratime: attribute(MOUNT_ATTR_NODIRATIME, true),
  noexec: attribute(MOUNT_ATTR_NOEXEC, true),
  noiversion: superblock(MS_I_VERSION, false),
  nolazytime: superblock(MS_LAZYTIME, false),
  nomand: superblock(MS_MANDLOCK, false),
  norelatime: () => {}, // "not relatime" leaves the kernel's default, which is relatime since Linux 2.6.30
  nostrictatime: noAccessTime(MOUNT_ATTR_STRICTATIME),
  nosuid: attribute(MOUNT_ATTR_NOSUID, true),
  nosymfollow: attribute(MOUNT_ATTR_NOSYMFOLLOW, true),
  private: propagation(MS_PRIVATE, false),
  ratime: noRecursiveAccessTime(MOUNT_ATTR_NOATIME),
  rbind: (parsed) => {
    parsed.bind = "rbind";
  },
  rdev: recursiveAttribute(MOUNT_ATTR_NODEV, false),
  rdiratime: recursiveAttribute(MOUNT_ATTR_NODIRATIME, false),
  relatime: accessTime(MOUNT_ATTR_RELATIME),
  remount: (parsed) => {
    parsed.remount = true;
  },
  rexec: recursiveAttribute(MOUNT_ATTR_NOEXEC, false),
  ridmap: (parsed) => {
    parsed.idmap = "ridmap";
  },
  rnoatime: recursiveAccessTime(MOUNT_ATTR_NOATIME),
  rnodev: recursiveAttribute(MOUNT_ATTR_NODEV, true),
  rnodiratime: recursiveAttribute(MOUNT_ATTR_NODIRATIME, true),
  rnoexec: recursiveAttribute(MOUNT_ATTR_NOEXEC, true),
  rnorelatime: () => {},
  rnostrictatime: noRecursiveAccessTime(MOUNT_ATTR_STRICTATIME),
  rnosuid: recursiveAttribute(MOUNT_ATTR_NOSUID, true),
  rnosymfollow: recursiveAttribute(MOUNT_ATTR_NOSYMFOLLOW, true),
  ro: readOnly(true),
  rprivate: propagation(MS_PRIVATE, true),
  rrelatime: recursiveAccessTime(MOUNT_ATTR_RELATIME),
  rro: recursiveAttribute(MOUNT_ATTR_RDONLY, true),
  rrw: recursiveAttribute(MOUNT_ATTR_RDONLY, false),
  rshared: propagation(MS_SHARED, true),
  rslave: propagation(MS_SLAVE, true),
  rstrictatime: recursiveAccessTime(MOUNT_ATTR_STRICTATIME),
  rsuid: recursiveAttribute(MOUNT_ATTR_NOSUID, false),
  rsymfollow: recursiveAttribute(MOUNT_ATTR_NOSYMFOLLOW, false),
  runbindable: propagation(MS_UNBINDABLE, true),
  rw: readOnly(false),
  shared: propagation(MS_SHARED, false),
  silent: superblock(MS_SILENT, true),
  slave: propagation(MS_SLAVE, false),
  strictatime: accessTime(MOUNT_ATTR_STRICTATIME),
  suid: attribute(MOUNT_ATTR_NOSUID, false),
  symfollow: attribute(MOUNT_ATTR_NOSYMFOLLOW, false),
  sync: superblock(MS_SYNCHRONOUS, true),
  tmpcopyup: (parsed) => {
    parsed.tmpcopyup = true;
  },
  unbindable: propagation(MS_UNBINDABLE, false),
};

function attribute(bit: number, on: boolean): Effect {
  return (parsed) => {
    parsed.attrSet = on ? parsed.attrSet | bit : parsed.attrSet & ~bit;
    parsed.attrClear = on ? parsed.attrClear & ~bit : parsed.attrClear | bit;
  };
}

function recursiveAttribute(bit: number, on: boolean): Effect {
  return (parsed) => {
    parsed.recursiveSet = on ? parsed.recursiveSet | bit : parsed.recursiveSet & ~bit;
    parsed.recursiveClear = on ? parsed.recursiveClear & ~bit : parsed.recursiveClear | bit;
  };
}

function accessTime(mode: number): Effect {
  return (parsed) => {
    parsed.attrSet = (parsed.attrSet & ~MOUNT_ATTR__ATIME) | mode;
    parsed.attrClear |= MOUNT_ATTR__ATIME;
  };
}

function recursiveAccessTime(mode: number): Effect {
  return (parsed) => {
    parsed.recursiveSet = (parsed.recursiveSet & ~MOUNT_ATTR__ATIME) | mode;
    parsed.recursiveClear |= MOUNT_ATTR__ATIME;
  };
}

/** Back to the kernel's default, unless another mode than the refused one has been chosen. */
function noAccessTime(refused: number): Effect {
  const toDefault = accessTime(MOUNT_ATTR_RELATIME);
  return (parsed) => {
    const chosen = parsed.attrSet & MOUNT_ATTR__ATIME;
    if (chosen === 0 || chosen === refused) toDefault(parsed);
  };
}

function noRecursiveAccessTime(refused: number): Effect {
  const toDefault = recursiveAccessTime(MOUNT_ATTR_RELATIME);
  return (parsed) => {
    const chosen = parsed.recursiveSet & MOUNT_ATTR__ATIME;
    if (chosen === 0 || chosen === refused) toDefault(parsed);
  };
}

function superblock(flag: number, on: boolean): Effect {
  return (parsed) => {
    parsed.superblockSet = on ? parsed.superblockSet | flag : parsed.superblockSet & ~flag;
    parsed.superblockClear = on ? parsed.superblockClear & ~flag : parsed.superblockClear | flag;
  };
}

/** As with mount(2), `ro` makes both the mount and a newly mounted file system read-only. */
function readOnly(on: boolean): Effect {
  const ofMount = attribute(MOUNT_ATTR_RDONLY, on);
  const ofFileSystem = superblock(MS_RDONLY, on);
  return (parsed) => {
    ofMount(parsed);
    ofFileSystem(parsed);
  };
}

function propagation(type: number, recursive: boolean): Effect {
  return (parsed) => {
    parsed.propagation.push({ type, recursive });
  };
}
