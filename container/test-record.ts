/** Records for unit tests. */

import type { SavedContainer } from "./record.ts";

/** The record of a root container with the fields that every record has, and those that are given. */
export function testRecord(id: string, fields: Partial<SavedContainer> = {}): SavedContainer {
  return {
    version: 1,
    id,
    sandboxId: id,
    ociVersion: "1.3.0",
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    created: "2026-01-01T00:00:00.000000000Z",
    annotations: {},
    status: "created",
    ownPidNamespace: true,
    ownUserNamespace: false,
    ...fields,
  };
}
