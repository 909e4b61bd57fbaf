/**
 * The gofers of a container: processes of ours that serve trees of the host's files to a sandbox, where the kernel cannot shift
 * their ids.
 *
 * A gofer lives exactly as long as its mount: it ends when the container's mount namespace does, or when the descriptor of a
 * mount that was never put anywhere is closed, so that a cloche that is killed leaves none behind. It stays in the cgroup of
 * whoever called cloche: what it uses is not the container's to pay. It gets the container's oom_score_adj.
 */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { GoferOptions } from "../gofer/options.ts";
import { startGofer } from "../gofer/start.ts";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { type ProcessRef, processRef } from "../specutils/process-ref.ts";
import type { Spec } from "../specutils/spec.ts";
import { AT_FDCWD, O_CLOEXEC } from "../specutils/syscall/constants.ts";
import { NR, sys, throwErrno } from "../specutils/syscall.ts";
import type { Isolated } from "./isolation.ts";
import { openAudit } from "./mount-policies.ts";
import { openPidfd, signalProcess, waitForEnd } from "./signal-process.ts";

const OPEN_TREE_CLONE = 1;
const END_TIMEOUT_MS = 1000;

/** The mounts that gofers serve: descriptors for the plan, which are the caller's to close. */
export interface ServedMounts {
  root: number | undefined;
  /** By the index of the bind mount. */
  binds: ReadonlyMap<number, number>;
  /** Of the gofer whose end ends the container: that of its root or, if that is not served, of its first mount. */
  pidfd: number | undefined;
  /** All of these. */
  fds: readonly number[];
  gofers: ProcessRef[];
}

/**
 * Starts a gofer for each tree that `isolated` wants served.
 *
 * @throws ClocheError, SyscallError; then those that had been started end
 */
export function startGofers(isolated: Isolated, bundle: string, rootfs: string): ServedMounts {
  const { spec, root, served, policies } = isolated;
  const opened: number[] = [];
  const gofers: ProcessRef[] = [];
  const auditFd = policies.audit === undefined ? undefined : openAudit(policies.audit);
  const serve = (source: string, destination: string, field: string, readOnly: boolean): number => {
    const isHeld = policies.access(destination).policy !== undefined;
    const options = { ...(isHeld && policies.goferOptions(destination)), readOnly, outlivesControl: true };
    const { fd, gofer } = startOne(source, field, options, spec, isHeld ? auditFd : undefined);
    opened.push(fd);
    if (gofer !== undefined) gofers.push(gofer);
    return fd;
  };
  try {
    const rootFd = root === "serve" ? serve(rootfs, "/", "root.path", false) : undefined;
    const binds = served.map((index): [number, number] => {
      const { source = "", destination = "", options = [] } = spec.mounts?.[index] ?? {};
      const isReadOnly = options.includes("ro");
      return [index, serve(path.resolve(bundle, source), destination, `mounts[${index}]`, isReadOnly)];
    });
    const pidfd = gofers[0] === undefined ? undefined : openPidfd(gofers[0]);
    if (pidfd !== undefined) opened.push(pidfd);
    return { root: rootFd, binds: new Map(binds), pidfd, fds: opened, gofers };
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    throw error;
  } finally {
    if (auditFd !== undefined) closeSync(auditFd);
  }
}

function startOne(
  source: string,
  field: string,
  options: Partial<GoferOptions>,
  { process }: Spec,
  auditFd: number | undefined,
) {
  const treeFd = throwErrno("open_tree", source, sys(NR.open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC));
  // What it cannot say by its exit status; our own stderr may be closed.
  const stderrFd = openSync("/dev/null", "w");
  try {
    const { pid, mountFd, controlFd } = startGofer(program(), treeFd, options, stderrFd, auditFd);
    closeSync(controlFd);
    if (process?.oomScoreAdj !== undefined) setScore(pid, process.oomScoreAdj);
    return { fd: mountFd, gofer: processRef(pid) };
  } catch (error) {
    throw new ClocheError(`${field}: cannot serve ${JSON.stringify(source)}: ${messageOf(error)}`, { cause: error });
  } finally {
    closeSync(treeFd);
    closeSync(stderrFd);
  }
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

/** Ends gofers, which normally have ended with the container's mounts, and waits for it a moment. */
export function endGofers(gofers: readonly ProcessRef[]): void {
  for (const gofer of gofers) if (signalProcess(gofer, constants.signals.SIGKILL)) waitForEnd(gofer, END_TIMEOUT_MS);
}
