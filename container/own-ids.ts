/**
 * Whether there can be a sandbox on this host, and whether with ids of its own; if not, why.
 *
 * Level `sandboxed` that somebody chose needs them, and is refused where they cannot be had. As the default it takes what there is:
 * level `oci` on a kernel that is too old for all of it; and without ids of its own a container keeps the ids of the user namespace
 * that cloche is in, and has all else of the level. In a user namespace of an ordinary user (rootless engines) that is what one
 * expects, its root being nobody's already; on the host, where root of the container is root, a warning says so.
 */
import { existsSync, readFileSync } from "node:fs";
import type { Sandboxed } from "../sandbox/isolation/spec.ts";
import { UnsupportedError } from "../specutils/errors.ts";
import { isAtLeast, type KernelVersion } from "../specutils/kernel-version.ts";
import { isHostRoot } from "../specutils/user-namespace.ts";

/** What decides, of this host. */
export interface IdsHost {
  /** Whether cloche is root with the host's ids, of which alone there are ranges to give. */
  isHostRoot: boolean;
  /** Whether anybody may make a user namespace. */
  hasUserNamespaces: boolean;
  kernel: KernelVersion;
  hasFuse: boolean;
}

/** The first kernel that changes the attributes of a tree of mounts (mount_setattr(2)). */
const CLOSES_TREES: KernelVersion = [5, 12];

/** The first kernel that shifts the ids of FUSE, and so of whatever else is served by it (FUSE_ALLOW_IDMAP). */
const SHIFTS_FUSE: KernelVersion = [6, 12];

/** Looks at this host. */
export function idsHost(kernel: KernelVersion): IdsHost {
  return {
    isHostRoot: isHostRoot(),
    hasUserNamespaces: mayMakeUserNamespaces(),
    kernel,
    hasFuse: existsSync("/dev/fuse"),
  };
}

/** Hardening guides set it to 0 (namespaces(7)). */
function mayMakeUserNamespaces(): boolean {
  try {
    return readFileSync("/proc/sys/user/max_user_namespaces", "utf8").trim() !== "0";
  } catch {
    return true; // a part of /proc that was not mounted: making one says whether it is possible
  }
}

/** Why there can be no sandbox at all; undefined if there can. */
export function whyNoSandbox(kernel: KernelVersion): string | undefined {
  if (isAtLeast(kernel, CLOSES_TREES)) return undefined;
  return `before Linux ${CLOSES_TREES.join(".")} a tree of mounts cannot be made nosuid and nodev`;
}

/** Why no sandbox can have ids of its own; undefined if it can. */
export function whyNoIds({ isHostRoot: isRoot, hasUserNamespaces }: IdsHost): string | undefined {
  if (!isRoot) return "cloche is not root with the host's ids";
  return hasUserNamespaces ? undefined : "user.max_user_namespaces is 0";
}

/** Why this one, whose files would have to be served, cannot; undefined if it can. */
export function whyNotServed({ root, parts }: Pick<Sandboxed, "root" | "parts">, host: IdsHost): string | undefined {
  const field = root === "serve" ? "root.path" : parts.find(({ ids }) => ids === "serve")?.field;
  const why = field === undefined ? undefined : whyServesNone(host);
  return why === undefined ? undefined : `${field}: ${why}`;
}

/** Why no files can be served to a sandbox; undefined if they can. */
export function whyServesNone({ kernel, hasFuse }: IdsHost): string | undefined {
  if (!isAtLeast(kernel, SHIFTS_FUSE)) {
    return `before Linux ${SHIFTS_FUSE.join(".")} the ids of its file system cannot be shifted`;
  }
  return hasFuse ? undefined : "the ids of its file system cannot be shifted without /dev/fuse";
}

/** For a sandbox that was chosen, or shares namespaces with one that has ids. */
export function needsIds(why: string): UnsupportedError {
  return new UnsupportedError(`isolation level "sandboxed" needs ids of its own: ${why}: use --isolation oci`);
}

/** For a sandbox by default; nothing where root of the container is not root of the host. */
export function idsWarnings(why: string, host: IdsHost): string[] {
  if (!host.isHostRoot) return [];
  return [
    `isolation: root of the container is root of the host: ${why}; the rest of level "sandboxed" holds (docs/SECURITY.md)`,
  ];
}
