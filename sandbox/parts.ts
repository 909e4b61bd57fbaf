/**
 * Mounts that are made from descriptors: what a gofer serves, and what lies below it or below a mount whose ids are shifted, where
 * not all can be.
 */
import { MS_SLAVE } from "../specutils/mount-options.ts";
import type { Part } from "./isolation/spec.ts";
import { idMapOps, type MountContext } from "./mounts.ts";
import { type Op, op } from "./plan.ts";
import { OP, OP_FLAG, TARGET } from "./protocol.ts";

/** A part with its detached mount. */
export interface OpenPart extends Part {
  fd: number;
}

/** The whole of a bind mount or of the root, if it is served. */
export function wholeOf(parts: readonly OpenPart[], of: Part["of"]): OpenPart | undefined {
  return parts.find((part) => part.of === of && part.below === "");
}

/** Whether what lies below it is mounted by itself. */
export function hasBelow(parts: readonly OpenPart[], of: Part["of"]): boolean {
  return parts.some((part) => part.of === of && part.below !== "");
}

/**
 * Mounts what lies below a bind mount or the root, where it lies in it.
 *
 * @param slot the mount that they are below, attached by then
 * @param attributes ops that give a mount its attributes
 */
export function planBelow(
  context: MountContext,
  of: Part["of"],
  slot: number,
  attributes: (slot: number, part: OpenPart, what: string) => Op[],
): void {
  const { plan, parts } = context;
  // Above before below.
  const below = parts.filter((part) => part.of === of && part.below !== "").toSorted(byPath);
  for (const part of below) {
    const what = `${part.field}: mount ${JSON.stringify(part.source)} below it`;
    const mounted = plan.adopt(part.fd, what);
    // A copy of a shared mount joins its peer group.
    if (part.ids !== "serve") {
      const peers = op(OP.MOUNT_SETATTR, `${what}: leave the peer group`, [mounted, 0, 0, MS_SLAVE]);
      plan.host.push(peers);
    }
    plan.host.push(...attributes(mounted, part, what));
    if (part.ids !== "keep") {
      const kind = part.ids === "serve" ? "served" : "one";
      plan.host.push(...idMapOps(context, mounted, kind, `${what}: map the ids`));
    }
    const target = plan.slot();
    plan.container.push(
      op(OP.TARGET, what, [target, slot, TARGET.EXISTING, 0], [part.below], OP_FLAG.NO_SYMLINKS),
      op(OP.ATTACH, what, [mounted, target]),
      op(OP.CLOSE, what, [target]),
      op(OP.CLOSE, what, [mounted]),
    );
  }
}

function byPath(a: Part, b: Part): number {
  return a.below < b.below ? -1 : 1;
}
