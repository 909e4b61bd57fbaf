/** The containers of one sandbox. */
import { constants } from "node:os";
import type { Context } from "./context.ts";
import type { SavedContainer } from "./record.ts";
import { hasCgroup } from "./record.ts";
import { signalProcess } from "./signal-process.ts";
import { isAllowed, type Operation } from "./status.ts";
import { listRecords, readRecord } from "./store.ts";

/** All containers of a sandbox, the root container last, up to date, without locks. One that cannot be read is a warning. */
export function membersOf(context: Context, sandboxId: string): SavedContainer[] {
  const records = listRecords(context.root, (error) => context.warn(error.message), sandboxId);
  return records.sort((a, b) => Number(a.id === sandboxId) - Number(b.id === sandboxId));
}

/**
 * Ids of all containers of the sandbox that a container is in, the root container last: what ends it ends the others too.
 *
 * @throws NotFoundError, StateFileError
 */
export async function sandboxMemberIds(context: Context, idOrPrefix: string): Promise<string[]> {
  const { sandboxId } = await readRecord(context.root, idOrPrefix);
  return membersOf(context, sandboxId).map(({ id }) => id);
}

/**
 * Those among them whose status allows `operation`; if it is none, the one that was asked about, which is then refused.
 *
 * @throws NotFoundError, StateFileError
 */
export async function sandboxTargets(context: Context, idOrPrefix: string, operation: Operation): Promise<string[]> {
  const { id, sandboxId } = await readRecord(context.root, idOrPrefix);
  const allowed = membersOf(context, sandboxId).filter(({ status }) => isAllowed(operation, status));
  return allowed.length > 0 ? allowed.map((member) => member.id) : [id];
}

/**
 * Kills what runs in the other containers of a sandbox. The kernel does it for those in the sandbox's pid namespace, but not
 * for one that is in the host's. Their records, cgroups and mounts stay for their own deletion.
 */
export async function endMembers(context: Context, root: SavedContainer): Promise<void> {
  for (const member of membersOf(context, root.id)) {
    if (member.id === root.id) continue;
    if (member.process !== undefined) signalProcess(member.process, constants.signals.SIGKILL);
    if (!hasCgroup(member)) continue;
    // What is frozen would not die.
    const { killCgroup } = await import("../sandbox/cgroups/members.ts");
    killCgroup(member.cgroup, constants.signals.SIGKILL);
  }
}
