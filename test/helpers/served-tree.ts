/** Directories, and the same directories served by a gofer and mounted beside them. */
import { closeSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { GoferOptions } from "../../gofer/options.ts";
import { type RunningGofer, startGofer } from "../../gofer/start.ts";
import { AT_FDCWD, O_CLOEXEC } from "../../specutils/syscall/constants.ts";
import { NR, sys, throwErrno, waitPid } from "../../specutils/syscall.ts";
import { projectDirectory } from "./runtime-path.ts";

const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MNT_DETACH = 2;

interface Served {
  /** What is served. */
  source: string;
  /** Where it is mounted. */
  mountPoint: string;
}

export interface ServedTrees {
  trees: Served[];
  gofer: RunningGofer;
  /** Unmounts, waits for the end of the gofer, removes everything. @returns how the gofer ended */
  end(): ReturnType<typeof waitPid>;
}

/** Serves new, empty directories in `parent`. `@throws` SyscallError */
export function serveTrees(
  count: number,
  options: Partial<GoferOptions> = {},
  parent = "/tmp",
  auditFd?: number,
): ServedTrees {
  const top = mkdtempSync(path.join(parent, "cloche-test-gofer-"));
  const trees = Array.from({ length: count }, (_, index) => {
    const number = index === 0 ? "" : String(index + 1);
    return { source: path.join(top, `source${number}`), mountPoint: path.join(top, `served${number}`) };
  });
  for (const { source, mountPoint } of trees) for (const name of [source, mountPoint]) mkdirSync(name);
  const treeFds = trees.map(({ source }) =>
    throwErrno("open_tree", source, sys(NR.open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC)),
  );
  let gofer: RunningGofer;
  try {
    const all = { ...options, trees: options.trees ?? trees.map(() => ({})) };
    gofer = startGofer([path.join(projectDirectory, "dist/cloche")], treeFds, all, 2, { auditFd });
  } finally {
    for (const fd of treeFds) closeSync(fd);
  }
  for (const [index, fd] of gofer.mountFds.entries()) {
    const mountPoint = trees[index]?.mountPoint ?? "";
    const moved = sys(NR.move_mount, fd, "", AT_FDCWD, mountPoint, MOVE_MOUNT_F_EMPTY_PATH);
    closeSync(fd);
    throwErrno("move_mount", mountPoint, moved);
  }
  return {
    trees,
    gofer,
    end() {
      for (const { mountPoint } of trees) sys(NR.umount2, mountPoint, MNT_DETACH); // may be unmounted already
      const end = waitPid(gofer.pid);
      rmSync(top, { recursive: true });
      return end;
    },
  };
}

export interface ServedTree extends Served, Omit<ServedTrees, "trees"> {}

/** Serves a new, empty directory in `parent`. `@throws` SyscallError */
export function serveTree(options: Partial<GoferOptions> = {}, parent = "/tmp", auditFd?: number): ServedTree {
  const { trees, ...served } = serveTrees(1, options, parent, auditFd);
  const [{ source, mountPoint } = { source: "", mountPoint: "" }] = trees;
  return { ...served, source, mountPoint };
}
