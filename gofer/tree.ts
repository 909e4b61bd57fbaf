/** One tree of those that a gofer serves: its connection, its mount, and what is known of its files. */
import { NR, sys, throwErrno } from "../specutils/syscall.ts";
import { type Arena, AT } from "./arena.ts";
import { Audit, type AuditStream } from "./audit.ts";
import type { Descriptors } from "./descriptors.ts";
import { Directories } from "./directories.ts";
import type { Gofer } from "./gofer.ts";
import { Guard } from "./guard.ts";
import { Hooks } from "./hooks.ts";
import { EOPNOTSUPP, type Host, STAT, TYPE } from "./host.ts";
import { makeFuseMount } from "./mount.ts";
import { Nodes } from "./nodes.ts";
import type { TreeOptions } from "./options.ts";
import { Passthrough } from "./passthrough.ts";
import { Quota } from "./quota.ts";

const OVERLAYFS_SUPER_MAGIC = 0x794c7630;
/** struct statfs, in 32-bit words: the flags of the mount. */
const STATFS_FLAGS = 20;
const ST_NOEXEC = 8;

/** What the trees of a gofer have in common. */
export interface Shared {
  readonly arena: Arena;
  readonly host: Host;
  readonly descriptors: Descriptors;
  readonly audit: AuditStream | undefined;
  readonly auditContainer: string;
  /** By mount. */
  readonly quotas: Map<string, Quota>;
  readonly treeCount: number;
}

export interface ServedTree {
  gofer: Gofer;
  treeFd: number;
  /** Detached, and of no use before the kernel's first request is answered (negotiate.ts). */
  mountFd: number;
  isOverlay: boolean;
}

/** @throws SyscallError */
export function openTree(shared: Shared, treeFd: number, options: TreeOptions): ServedTree {
  const { arena, host } = shared;
  throwErrno("statx", "the served tree", host.stat(treeFd));
  const rootMode = (arena.u32[(AT.stat + STAT.MODE) >> 2] ?? 0) & 0xffff;
  throwErrno("fstatfs", "the served tree", sys(NR.fstatfs, treeFd, arena.base + AT.list));
  const isOverlay = arena.u32[AT.list >> 2] === OVERLAYFS_SUPER_MAGIC;
  const isNoexec = ((arena.u32[(AT.list >> 2) + STATFS_FLAGS] ?? 0) & ST_NOEXEC) !== 0;
  const { fuseFd, mountFd } = makeFuseMount(rootMode, { isReadOnly: options.readOnly, isNoexec });
  return { gofer: makeGofer(shared, fuseFd, treeFd, isOverlay, options), treeFd, mountFd, isOverlay };
}

function makeGofer(shared: Shared, fuseFd: number, treeFd: number, isOverlay: boolean, options: TreeOptions): Gofer {
  const { arena, host, descriptors } = shared;
  const passthrough = new Passthrough(arena, fuseFd, options.passthrough);
  const directories = new Directories(host, shared.treeCount);
  const quota = quotaOf(shared, options);
  if (options.quotaBytes > 0) passthrough.isEnabled = false;
  const onForget = (node: number) => {
    if (quota !== undefined) releaseUnlinked(quota, host, nodes, node);
    passthrough.drop(nodes, node);
    directories.close(node);
  };
  const nodes = new Nodes(host, treeFd, descriptors, { ignoreBirth: isOverlay, below: options.below, onForget });
  const hooks = makeHooks(shared, nodes, quota, options);
  const validSeconds = Math.floor(options.validMs / 1000);
  const validNanoseconds = (options.validMs % 1000) * 1e6;
  const handles = new Set<number>();
  return {
    ...{ fuseFd, arena, host, nodes, passthrough, directories, handles, validSeconds, validNanoseconds },
    ...(hooks && { hooks }),
  };
}

function makeHooks(shared: Shared, nodes: Nodes, quota: Quota | undefined, options: TreeOptions): Hooks | undefined {
  const { hidden, readOnlyPaths, logged, audited, mount } = options;
  const stream = audited ? shared.audit : undefined;
  if (quota === undefined && stream === undefined && hidden.length + readOnlyPaths.length === 0) return undefined;
  const guard = new Guard({ hidden, readOnly: readOnlyPaths, logged }, nodes);
  const names = { container: shared.auditContainer, mount };
  return new Hooks(guard, quota, stream && new Audit(stream, guard, names));
}

function quotaOf({ quotas }: Shared, { mount, quotaBytes, quotaFiles }: TreeOptions): Quota | undefined {
  if (quotaBytes + quotaFiles === 0) return undefined;
  const quota = quotas.get(mount) ?? new Quota({ bytes: quotaBytes, files: quotaFiles });
  quotas.set(mount, quota);
  return quota;
}

/** What the quota gets back when the kernel forgets a file that has no name any more: of regular files alone it counts the bytes. */
function releaseUnlinked(quota: Quota, host: Host, nodes: Nodes, node: number): void {
  const fd = nodes.fds[node] ?? -1;
  if (nodes.parents[node] !== 0 || fd < 0 || !nodes.isLastOfFile(node) || host.stat(fd) < 0) return;
  const isGone = host.arena.u32[(AT.stat + STAT.NLINK) >> 2] === 0;
  if (!isGone) return;
  quota.release(nodes.types[node] === TYPE.regular ? Number(host.arena.u64(AT.stat + STAT.SIZE)) : 0);
}

/** Whether the host's file system has POSIX ACLs. */
export function hasAcls(host: Host, treeFd: number): boolean {
  const { base } = host.arena;
  const name = host.arena.putText(AT.name, "system.posix_acl_access");
  return host.getXattr(treeFd, name, base + AT.list, 4) !== -EOPNOTSUPP;
}

/** The tree has no mount any more: nothing of it stays open. */
export function closeTree({ fuseFd, host, nodes, directories, handles }: Gofer): void {
  directories.closeAll();
  nodes.close();
  for (const handle of handles) host.close(handle);
  // With the connection go the backing ids.
  host.close(fuseFd);
}
