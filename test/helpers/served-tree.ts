/** A directory, and the same directory served by a gofer and mounted beside it. */
import { closeSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { GoferOptions } from "../../gofer/options.ts";
import { type RunningGofer, startGofer } from "../../gofer/start.ts";
import { AT_FDCWD, O_CLOEXEC } from "../../specutils/syscall/constants.ts";
import { NR, sys, throwErrno, umount, waitPid } from "../../specutils/syscall.ts";
import { projectDirectory } from "./runtime-path.ts";

const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MNT_DETACH = 2;

export interface ServedTree {
  /** What is served. */
  source: string;
  /** Where it is mounted. */
  mountPoint: string;
  gofer: RunningGofer;
  /** Unmounts, waits for the end of the gofer, removes everything. @returns how the gofer ended */
  end(): ReturnType<typeof waitPid>;
}

/** Serves a new, empty directory in `parent`. `@throws` SyscallError */
export function serveTree(options: Partial<GoferOptions> = {}, parent = "/tmp", auditFd?: number): ServedTree {
  const top = mkdtempSync(path.join(parent, "cloche-test-gofer-"));
  const source = path.join(top, "source");
  const mountPoint = path.join(top, "served");
  mkdirSync(source);
  mkdirSync(mountPoint);
  const treeFd = throwErrno("open_tree", source, sys(NR.open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC));
  let gofer: RunningGofer;
  try {
    gofer = startGofer([path.join(projectDirectory, "dist/cloche")], treeFd, options, 2, auditFd);
  } finally {
    closeSync(treeFd);
  }
  const moved = sys(NR.move_mount, gofer.mountFd, "", AT_FDCWD, mountPoint, MOVE_MOUNT_F_EMPTY_PATH);
  closeSync(gofer.mountFd);
  throwErrno("move_mount", mountPoint, moved);
  return {
    source,
    mountPoint,
    gofer,
    end() {
      umount(mountPoint, MNT_DETACH);
      closeSync(gofer.controlFd);
      const end = waitPid(gofer.pid);
      rmSync(top, { recursive: true });
      return end;
    },
  };
}
