/**
 * A root file system that keeps what is written to it in a layer of its own: an overlay, mounted in the container's user
 * namespace on the tree that was donated (overlayfs in the kernel's documentation).
 *
 * overlayfs takes its layers by path. So they are put where paths lead to them: on a file system that nobody else sees, over a
 * directory of the host's in the container's own copy of the mounts, which goes with the pivot.
 */
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID } from "../specutils/mount-options.ts";
import { O_PATH } from "../specutils/syscall/constants.ts";
import { idMapOps, type MountContext, openTreeOps } from "./mounts.ts";
import { op, openOp } from "./plan.ts";
import { OP, TARGET } from "./protocol.ts";

export interface RootOverlay {
  /** A directory of the host's that everybody may enter. */
  place: string;
  /** Permissions of the root directory. */
  mode: number;
  /** Directory on the host with `upper` and `work`; in memory without one, and charged to the container. */
  directory: string | undefined;
}

/**
 * Plans the overlay of the tree in slot `tree`, to end up in slot `root` as a mount that is attached nowhere yet.
 *
 * @param attributes MOUNT_ATTR_* of it
 */
export function planRootOverlay(
  context: MountContext,
  tree: number,
  root: number,
  overlay: RootOverlay,
  attributes: number,
): void {
  const { plan } = context;
  const what = "root.path: lay a layer over it";
  const { place, mode, directory } = overlay;
  const closed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const data = directory === undefined ? undefined : plan.slot();
  if (directory !== undefined && data !== undefined) {
    plan.host.push(
      ...openTreeOps(data, directory, false, false, what),
      op(OP.MOUNT_SETATTR, what, [data, closed, 0]),
      ...idMapOps(context, data, "one", what),
    );
  }
  const [scratch, at, target] = [plan.slot(), plan.slot(), plan.slot()];
  const into = (name: string, bits: number) =>
    op(OP.TARGET, what, [target, scratch, TARGET.DIRECTORY, bits], [`/${name}`]);
  const close = op(OP.CLOSE, what, [target]);
  plan.container.push(
    op(OP.MOUNT, what, [scratch, closed, 1], ["tmpfs", "tmpfs", ["mode=755"]]),
    openOp(at, place, O_PATH, what),
    op(OP.ATTACH, what, [scratch, at]),
    op(OP.CLOSE, what, [at]),
    into("lower", 0o755),
    op(OP.ATTACH, what, [tree, target]),
    close,
  );
  if (data === undefined) plan.container.push(into("data/upper", mode), close, into("data/work", 0o700), close);
  else plan.container.push(into("data", 0o755), op(OP.ATTACH, what, [data, target]), close);
  const layers = [`lowerdir=${place}/lower`, `upperdir=${place}/data/upper`, `workdir=${place}/data/work`, "userxattr"];
  plan.container.push(
    op(OP.MOUNT, what, [root, attributes, layers.length], ["overlay", "overlay", layers]),
    ...[scratch, tree].map((slot) => op(OP.CLOSE, what, [slot])),
  );
  if (data !== undefined) plan.container.push(op(OP.CLOSE, what, [data]));
}
