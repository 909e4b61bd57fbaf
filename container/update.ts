/** `update`: changes what a container may use while it is there. */

import { writeFileSync } from "node:fs";
import path from "node:path";
import { reasonOf, SpecError, UnsupportedError } from "../specutils/errors.ts";
import type { Resources } from "../specutils/spec.ts";
import type { Context } from "./context.ts";
import { hasCgroup, type SavedContainer } from "./record.ts";
import { checkAllowed } from "./status.ts";
import { withContainer } from "./store.ts";

/** Lines for the schemata file of the container's resctrl group. */
export interface IntelRdtUpdate {
  l3CacheSchema?: string;
  memBwSchema?: string;
}

/**
 * Sets the limits that `resources` names; what is not named, or 0, stays as it is.
 *
 * @throws NotFoundError, StatusError (`container not running`), SpecError naming the field that was refused,
 *   UnsupportedError for a container without cgroup or resctrl group
 */
export async function updateContainer(
  context: Context,
  id: string,
  resources: Resources,
  intelRdt: IntelRdtUpdate = {},
): Promise<void> {
  const { updateCgroup } = await import("../sandbox/cgroups/update.ts");
  await withContainer(context.root, id, async (record) => {
    checkAllowed("update", record);
    if (!hasCgroup(record)) {
      throw new UnsupportedError(`cannot update container ${JSON.stringify(record.id)}: it has no cgroup`);
    }
    const schemata = [intelRdt.l3CacheSchema, intelRdt.memBwSchema].filter((line) => line !== undefined && line !== "");
    if (schemata.length > 0) updateIntelRdt(record, schemata.join("\n"));
    await updateCgroup(record.cgroup, resources);
  });
}

function updateIntelRdt({ id, intelRdtTasks: [tasks] = [] }: SavedContainer, schemata: string): void {
  if (tasks === undefined) {
    throw new UnsupportedError(`cannot update container ${JSON.stringify(id)}: it was created without linux.intelRdt`);
  }
  try {
    writeFileSync(path.join(path.dirname(tasks), "schemata"), `${schemata}\n`);
  } catch (error) {
    throw new SpecError(`linux.intelRdt: cannot set ${JSON.stringify(schemata)}: ${reasonOf(error)}`, "linux.intelRdt");
  }
}
