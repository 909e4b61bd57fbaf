/** `ps`: the processes of a container. */

import { isAlive } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import { hasCgroup } from "./record.ts";
import { readRecord } from "./store.ts";

/**
 * Host pids of all processes in the container, ascending. Never empty while the container process lives, because
 * containerd then takes the container for lost: also where it has no cgroup, or was moved out of it.
 *
 * @throws NotFoundError, StateFileError
 */
export async function processesOf(context: Context, id: string): Promise<number[]> {
  const record = await readRecord(context.root, id);
  const pids = new Set<number>();
  if (record.process !== undefined && isAlive(record.process)) pids.add(record.process.pid);
  if (hasCgroup(record)) {
    const { cgroupPids } = await import("../sandbox/cgroups/members.ts");
    for (const pid of cgroupPids(record.cgroup)) pids.add(pid);
  }
  return [...pids].sort((a, b) => a - b);
}
