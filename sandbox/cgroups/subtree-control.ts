/** Making v2 controllers available in a cgroup: each has to be switched on in every parent (cgroups(7)). */

import { reasonOf, UnsupportedError } from "../../specutils/errors.ts";
import { errorCode, readValue, writeValue } from "./files.ts";
import { neededControllers } from "./resources-v2.ts";
import type { CgroupWrite } from "./types.ts";

/**
 * Switches on every controller that the hierarchy has, as runc does, since engines read statistics of all of them. Only a
 * controller that `writes` need has to succeed.
 *
 * @throws UnsupportedError naming the field whose controller is missing
 */
export function enableControllers(dir: string, mount: string, writes: readonly CgroupWrite[]): void {
  const parents = parentsBelow(dir, mount);
  const closest = parents.at(-1) ?? mount;
  const available = words(`${mount}/cgroup.controllers`);
  const enabled = new Set(words(`${closest}/cgroup.subtree_control`));
  const missing = available.filter((name) => !enabled.has(name));
  const failures = new Map<string, string>();
  if (missing.length > 0) {
    for (const parent of parents) enable(parent, missing, failures);
  }
  const present = new Set(words(`${dir}/cgroup.controllers`));
  for (const name of neededControllers(writes)) {
    if (present.has(name)) continue;
    const field = writes.find(({ file }) => file.startsWith(`${name}.`))?.field ?? "linux.resources";
    const cause = failures.get(name) ?? "not available in this hierarchy";
    throw new UnsupportedError(`cannot set ${field}: cgroup controller "${name}": ${cause}`);
  }
}

/** The mount point and every directory from there to the parent of `dir`. */
function parentsBelow(dir: string, mount: string): string[] {
  const parts = dir.slice(mount.length).split("/").slice(1, -1);
  return [mount, ...parts.map((_, index) => `${mount}/${parts.slice(0, index + 1).join("/")}`)];
}

/** All at once if possible. Otherwise one by one: one controller that is refused must not cost the others. */
function enable(parent: string, names: readonly string[], failures: Map<string, string>): void {
  const file = `${parent}/cgroup.subtree_control`;
  try {
    writeValue(file, names.map((name) => `+${name}`).join(" "));
    return;
  } catch {
    // Which one it was is found out below.
  }
  for (const name of names) {
    try {
      writeValue(file, `+${name}`);
    } catch (error) {
      const isBusy = errorCode(error) === "EBUSY";
      failures.set(name, isBusy ? `${parent} has processes of its own` : reasonOf(error));
    }
  }
}

function words(file: string): string[] {
  return (readValue(file) ?? "").split(" ").filter((word) => word !== "");
}
