/** `ps`: the processes of a container. */

import { isAlive } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import { hasCgroup } from "./record.ts";
import { readRecord } from "./store.ts";

/**
 * Host pids of all processes in the container, or in all containers of its sandbox, ascending. Never empty while the container
 * process lives, because containerd then takes the container for lost: also where it has no cgroup, or was moved out of it.
 *
 * @throws NotFoundError, StateFileError
 */
export async function processesOf(context: Context, id: string, isForSandbox = false): Promise<number[]> {
  const records = [await readRecord(context.root, id)];
  if (isForSandbox) {
    const { membersOf } = await import("./members.ts");
    records.splice(0, 1, ...records.flatMap(({ sandboxId }) => membersOf(context, sandboxId)));
  }
  const pids = new Set<number>();
  for (const record of records) {
    if (record.process !== undefined && isAlive(record.process)) pids.add(record.process.pid);
    if (!hasCgroup(record)) continue;
    const { cgroupPids } = await import("../sandbox/cgroups/members.ts");
    for (const pid of cgroupPids(record.cgroup)) pids.add(pid);
  }
  return [...pids].sort((a, b) => a - b);
}
