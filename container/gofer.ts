/**
 * The gofer of a container: a process of ours that serves trees of the host's files to a sandbox, where the kernel cannot shift
 * their ids. One serves all trees of its container.
 *
 * A gofer lives exactly as long as its mounts: it ends when the container's mount namespace does, or when the descriptors of
 * mounts that were never put anywhere are closed, so that a cloche that is killed leaves none behind. It stays in the cgroup of
 * whoever called cloche: what it uses is not the container's to pay. It gets the container's oom_score_adj.
 */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { GoferOptions, TreeOptions } from "../gofer/options.ts";
import { bytesOf } from "../gofer/policy.ts";
import { goferFilter } from "../gofer/seccomp.ts";
import { startGofer } from "../gofer/start.ts";
import type { Part } from "../sandbox/isolation/spec.ts";
import type { OpenPart } from "../sandbox/parts.ts";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { type ProcessRef, processRef } from "../specutils/process-ref.ts";
import { seccompPath, statePath } from "../statefile/names.ts";
import type { Isolated } from "./isolation.ts";
import { openAudit } from "./mount-policies.ts";
import { openPart } from "./parts.ts";
import { openPidfd, signalProcess, waitForEnd } from "./signal-process.ts";

const END_TIMEOUT_MS = 1000;

/** What is mounted from descriptors. */
export interface ServedMounts {
  parts: readonly OpenPart[];
  /** Of the gofer, whose end ends the container; undefined if nothing is served. */
  pidfd: number | undefined;
  gofer: ProcessRef | undefined;
  /** All descriptors of these, which are the caller's to close. */
  fds: readonly number[];
}

/** Whose it is: `root` is the directory of state files. */
export interface GoferContainer {
  root: string;
  id: string;
  sandboxId: string;
}

/**
 * Opens the parts of a container's mounts, with a gofer for those that are to be served.
 *
 * @throws ClocheError, SyscallError; then the gofer ends
 */
export function openServedMounts(isolated: Isolated, container: GoferContainer): ServedMounts {
  const fds: number[] = [];
  const trees: { part: Part; fd: number }[] = [];
  const parts: OpenPart[] = [];
  try {
    for (const part of isolated.parts) {
      if (part.below !== "" && isolated.policies.isHidden(destinationOf(isolated, part), part.below)) continue;
      const fd = openPart(part);
      if (fd === undefined) continue;
      if (part.ids === "serve") trees.push({ part, fd });
      else {
        fds.push(fd);
        parts.push({ ...part, fd });
      }
    }
    if (trees.length === 0) return { parts, pidfd: undefined, gofer: undefined, fds };
    const { pid, mountFds } = start(isolated, trees, container);
    fds.push(...mountFds);
    parts.push(...trees.map(({ part }, index) => ({ ...part, fd: mountFds[index] ?? -1 })));
    const gofer = processRef(pid);
    const pidfd = gofer && openPidfd(gofer);
    if (pidfd !== undefined) fds.push(pidfd);
    return { parts, pidfd, gofer, fds };
  } catch (error) {
    for (const fd of fds) closeSync(fd);
    throw error;
  } finally {
    for (const { fd } of trees) closeSync(fd);
  }
}

function destinationOf({ spec }: Isolated, { of }: Part): string {
  return of === "root" ? "/" : (spec.mounts?.[of]?.destination ?? "");
}

function start(isolated: Isolated, trees: readonly { part: Part; fd: number }[], container: GoferContainer) {
  const { spec, policies } = isolated;
  const { root, id, sandboxId } = container;
  const options = trees.map(({ part }) => treeOptions(isolated, part));
  const all: Partial<GoferOptions> = {
    stateFile: statePath(root, sandboxId, id),
    auditContainer: id,
    trees: options,
  };
  const isAudited = options.some(({ audited }) => audited === true);
  const auditFd = policies.audit === undefined || !isAudited ? undefined : openAudit(policies.audit);
  // What it cannot say by its exit status; our own stderr may be closed.
  const stderrFd = openSync("/dev/null", "w");
  try {
    const treeFds = trees.map(({ fd }) => fd);
    const filter = goferFilter(seccompPath(root));
    const running = startGofer(program(), treeFds, all, stderrFd, { auditFd, filter });
    if (spec.process?.oomScoreAdj !== undefined) setScore(running.pid, spec.process.oomScoreAdj);
    return running;
  } catch (error) {
    const [first] = trees;
    const source = JSON.stringify(first?.part.source);
    const named = trees.length === 1 ? source : `${source} and ${trees.length - 1} others`;
    throw new ClocheError(`${first?.part.field}: cannot serve ${named}: ${messageOf(error)}`, { cause: error });
  } finally {
    closeSync(stderrFd);
    if (auditFd !== undefined) closeSync(auditFd);
  }
}

function treeOptions(isolated: Isolated, part: Part): Partial<TreeOptions> {
  const { policies, spec } = isolated;
  const destination = destinationOf(isolated, part);
  const isHeld = policies.access(destination).policy !== undefined;
  const { options = [] } = part.of === "root" ? {} : (spec.mounts?.[part.of] ?? {});
  return {
    ...(isHeld && policies.goferOptions(destination)),
    audited: isHeld,
    // As with bind mounts, `ro` is of the mount and not of those below it.
    readOnly: part.below === "" && options.includes("ro"),
    below: bytesOf(part.below),
  };
}

/** One that is too low for us is refused to the container as well, which says so. */
function setScore(pid: number, score: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
  }
}

/** What is to be executed as `cloche`; from source, Bun with our entry. */
function program(): [string, ...string[]] {
  const isCompiled = import.meta.dirname.startsWith("/$bunfs/");
  return isCompiled ? [process.execPath] : [process.execPath, path.join(import.meta.dirname, "../cmd/main.ts")];
}

/**
 * Ends a gofer. It normally ends with the container's mounts, and may have lines of audit to write before.
 *
 * @param patienceMs for how long it may end by itself
 */
export function endGofer(gofer: ProcessRef, patienceMs = END_TIMEOUT_MS): void {
  if (waitForEnd(gofer, patienceMs)) return;
  if (signalProcess(gofer, constants.signals.SIGKILL)) waitForEnd(gofer, END_TIMEOUT_MS);
}
