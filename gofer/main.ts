/** The life of a gofer: makes its mount, hands it over, confines itself, serves. */
import { NR, sendMessage, sys, throwErrno } from "../specutils/syscall.ts";
import { Arena, AT } from "./arena.ts";
import { Audit } from "./audit.ts";
import { confine } from "./confine.ts";
import { Directories } from "./directories.ts";
import type { Gofer } from "./gofer.ts";
import { Guard } from "./guard.ts";
import { Hooks } from "./hooks.ts";
import { EOPNOTSUPP, Host, STAT } from "./host.ts";
import { makeFuseMount } from "./mount.ts";
import { negotiate } from "./negotiate.ts";
import { Nodes } from "./nodes.ts";
import type { GoferOptions } from "./options.ts";
import { Passthrough } from "./passthrough.ts";
import { Quota } from "./quota.ts";
import { installFilter } from "./seccomp.ts";
import { serve } from "./server.ts";

const OVERLAYFS_SUPER_MAGIC = 0x794c7630;
/** Descriptors that are not for nodes: streams of directories, files that are open without passthrough, the engine's. */
const OTHER_FDS = 1024;
const RLIMIT_NOFILE = 7;

/**
 * Serves the tree until its last mount is gone or, unless `outlivesControl`, nobody holds the other end of the control socket any more. The first and only
 * message over that socket is the mount.
 *
 * @param treeFd a directory, best of a detached mount of its own (open_tree); not a tree in which the mount will lie
 * @throws SyscallError
 */
export function runGofer(controlFd: number, treeFd: number, options: GoferOptions): void {
  const arena = new Arena();
  const host = new Host(arena);
  throwErrno("statx", "the served tree", host.stat(treeFd));
  const rootMode = (arena.u32[(AT.stat + STAT.MODE) >> 2] ?? 0) & 0xffff;
  const { fuseFd, mountFd } = makeFuseMount(rootMode, options.readOnly);
  throwErrno("fstatfs", "the served tree", sys(NR.fstatfs, treeFd, arena.base + AT.list));
  const isOverlay = arena.u32[AT.list >> 2] === OVERLAYFS_SUPER_MAGIC;

  const gofer: Gofer = makeGofer(arena, host, fuseFd, treeFd, isOverlay, options);
  const audited = options.auditFd > 0 ? [options.auditFd] : [];
  confine(host, [fuseFd, mountFd, controlFd, treeFd, ...audited]);
  const { hasPassthrough } = negotiate(gofer, fuseFd, {
    hasAcls: hasAcls(host, treeFd),
    stackDepth: isOverlay ? 2 : 1,
    requestTimeoutSeconds: options.requestTimeoutSeconds,
  });
  if (!hasPassthrough) gofer.passthrough.isEnabled = false;
  sendMessage(controlFd, new Uint8Array([hasPassthrough ? 1 : 0]), [mountFd]);
  sys(NR.close, mountFd);
  if (options.outlivesControl) sys(NR.close, controlFd);
  installFilter();
  serve(gofer, { fuseFd, controlFd: options.outlivesControl ? -1 : controlFd, onIdle: trimMemory });
  gofer.hooks?.rest();
}

function makeGofer(
  arena: Arena,
  host: Host,
  fuseFd: number,
  treeFd: number,
  isOverlay: boolean,
  options: GoferOptions,
) {
  const passthrough = new Passthrough(arena, fuseFd, options.passthrough);
  const directories = new Directories(host);
  const { quotaBytes, quotaFiles, hidden, readOnlyPaths, logged, auditFd } = options;
  const auditNames = { container: options.auditContainer, mount: options.auditMount };
  const quota = quotaBytes + quotaFiles > 0 ? new Quota({ bytes: quotaBytes, files: quotaFiles }) : undefined;
  if (quotaBytes > 0) passthrough.isEnabled = false;
  const forgotten = (node: number) => {
    if (quota !== undefined) releaseUnlinked(quota, host, nodes, node);
    passthrough.drop(nodes, node);
    directories.close(node);
  };
  const nodes = new Nodes(host, treeFd, maxNodeFds(arena, options.maxFds), isOverlay, forgotten);
  const wantsHooks = quota !== undefined || auditFd > 0 || hidden.length + readOnlyPaths.length > 0;
  const guard = wantsHooks ? new Guard({ hidden, readOnly: readOnlyPaths, logged }, nodes) : undefined;
  const audit = guard !== undefined && auditFd > 0 ? new Audit(auditFd, guard, auditNames) : undefined;
  const hooks = guard && { hooks: new Hooks(guard, quota, audit) };
  const validSeconds = Math.floor(options.validMs / 1000);
  const validNanoseconds = (options.validMs % 1000) * 1e6;
  return { fuseFd, arena, host, nodes, passthrough, directories, validSeconds, validNanoseconds, ...hooks };
}

/** What the quota gets back when the kernel forgets a file that has no name any more. */
function releaseUnlinked(quota: Quota, host: Host, nodes: Nodes, node: number): void {
  const fd = nodes.fds[node] ?? -1;
  if (nodes.parents[node] !== 0 || fd < 0 || host.stat(fd) < 0) return;
  const isGone = host.arena.u32[(AT.stat + STAT.NLINK) >> 2] === 0;
  if (isGone) quota.release(Number(host.arena.u64(AT.stat + STAT.SIZE)));
}

/** Raises the limit of descriptors as far as it goes, and returns how many are for nodes. */
function maxNodeFds(arena: Arena, wanted: number): number {
  const at = AT.scratch;
  const limit = arena.base + at;
  sys(NR.prlimit64, 0, RLIMIT_NOFILE, null, limit);
  const hard = Number(arena.u64(at + 8));
  arena.setU64(at, hard);
  sys(NR.prlimit64, 0, RLIMIT_NOFILE, limit, null);
  // A quarter each: in use, and pinned at most three times as many (nodes.ts).
  const most = Math.max(64, Math.floor((Math.min(hard, 16_384) - OTHER_FDS) / 4));
  return wanted === 0 ? most : Math.min(most, wanted);
}

/** Whether the host's file system has POSIX ACLs. */
function hasAcls(host: Host, treeFd: number): boolean {
  const { base } = host.arena;
  const name = host.arena.putText(AT.name, "system.posix_acl_access");
  return host.getXattr(treeFd, name, base + AT.list, 4) !== -EOPNOTSUPP;
}

/** Gives memory that is not used back to the system; no collection ever runs while the loop does not return. */
function trimMemory(): void {
  const engine = (globalThis as { Bun?: { gc(isSynchronous: boolean): void; shrink(): void } }).Bun;
  engine?.gc(true);
  engine?.shrink();
}
