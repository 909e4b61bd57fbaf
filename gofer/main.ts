/** The life of a gofer: makes its mounts, hands them over, confines itself, serves. */
import { NR, receiveMessage, sendMessage, sys } from "../specutils/syscall.ts";
import { Arena } from "./arena.ts";
import { AuditStream } from "./audit.ts";
import { confine } from "./confine.ts";
import { Connections, type Pauses } from "./connections.ts";
import { Descriptors, maxNodeFds, raiseLimit } from "./descriptors.ts";
import { Host } from "./host.ts";
import { installFilter, MAX_FILTER_BYTES } from "./install-filter.ts";
import { Memory } from "./memory.ts";
import { negotiate } from "./negotiate.ts";
import type { ParsedOptions } from "./options.ts";
import type { Quota } from "./quota.ts";
import { serve } from "./server.ts";
import { hasAcls, openTree, type ServedTree, type Shared } from "./tree.ts";

/**
 * Serves the trees until their last mount is gone. Over the control socket come the filter of system calls and go the mounts; then it is
 * closed.
 *
 * @param treeFds directories, best of detached mounts of their own (open_tree); not trees in which the mounts will lie
 * @throws SyscallError
 */
export function runGofer(controlFd: number, treeFds: readonly number[], options: ParsedOptions): void {
  const arena = new Arena();
  const { auditFd, auditContainer } = options;
  const audit = auditFd > 0 ? new AuditStream(auditFd, { container: auditContainer }) : undefined;
  const limit = raiseLimit(arena);
  const shared: Shared = {
    arena,
    host: new Host(arena, limit),
    descriptors: new Descriptors(maxNodeFds(limit, options.maxFds)),
    audit,
    auditContainer,
    quotas: new Map<string, Quota>(),
    treeCount: treeFds.length,
  };
  const trees = options.trees.map((tree, index) => openTree(shared, treeFds[index] ?? -1, tree));
  const gofers = trees.map(({ gofer }) => gofer);
  const memory = new Memory(gofers, shared.descriptors);
  const kept = trees.flatMap(({ gofer, treeFd, mountFd }) => [gofer.fuseFd, treeFd, mountFd]);
  confine(shared.host, [controlFd, ...kept, ...(audit === undefined ? [] : [auditFd])]);
  for (const [index, tree] of trees.entries()) agree(tree, options.trees[index]?.requestTimeoutSeconds ?? 0);
  const { data: filter } = receiveMessage(controlFd, MAX_FILTER_BYTES);
  const mountFds = trees.map(({ mountFd }) => mountFd);
  sendMessage(controlFd, new Uint8Array(1), mountFds);
  for (const fd of [...mountFds, controlFd]) sys(NR.close, fd);
  installFilter(filter);
  const pauses: Pauses = {
    onRest: (served) => {
      memory.requests += served;
      audit?.flush();
    },
    onIdle: () => memory.giveBack(),
    sleep: (polled, count) => memory.sleep(polled, count),
  };
  serve(new Connections(gofers, pauses), shared.descriptors);
  audit?.flush();
}

/** Answers the kernel's first request. */
function agree({ gofer, treeFd, isOverlay }: ServedTree, requestTimeoutSeconds: number): void {
  const hasPassthrough = negotiate(gofer, gofer.fuseFd, {
    hasAcls: hasAcls(gofer.host, treeFd),
    stackDepth: isOverlay ? 2 : 1,
    requestTimeoutSeconds,
  });
  if (!hasPassthrough) gofer.passthrough.isEnabled = false;
}
