/**
 * The host's ids on mounts that a gofer serves. Root of the host who enters a container's mounts to make files there (podman cp, nsenter(1))
 * has no id in a sandbox, and would get EOVERFLOW. So the id map of such a mount has the host's ids too, apart from the sandbox's, and the
 * gofer takes them for the ids of the same number inside. No process of a sandbox has one of them.
 */
import type { IdMapping } from "./spec.ts";

/** What the host's id 0 is to the file system: above all ids that anybody uses (uids above 2^31 are signed to some programs). */
const FROM = 2 ** 31;
/** How many of the host's ids, from 0 on. */
const COUNT = 65_536;

/** Mappings of a sandbox, and the host's ids beside them where the sandbox has none of those. */
export function withHostIds(mappings: readonly IdMapping[]): IdMapping[] {
  const isApart = mappings.every(({ containerID, hostID, size }) => hostID >= COUNT && containerID + size <= FROM);
  return isApart ? [...mappings, { containerID: FROM, hostID: 0, size: COUNT }] : [...mappings];
}

/** The id inside that an id in a request to the gofer stands for. */
export function idInside(id: number): number {
  return id >= FROM && id < FROM + COUNT ? id - FROM : id;
}
