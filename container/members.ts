/** The containers of one sandbox. */
import { constants } from "node:os";
import { NotFoundError } from "../specutils/errors.ts";
import { StateFileError } from "../statefile/document.ts";
import type { Context } from "./context.ts";
import { noteOomKills } from "./exit-record.ts";
import type { SavedContainer } from "./record.ts";
import { hasCgroup } from "./record.ts";
import type { Save } from "./save.ts";
import { signalProcess } from "./signal-process.ts";
import { isAllowed, type Operation } from "./status.ts";
import { listKeys, listRecords, readRecord, withContainer } from "./store.ts";

/** All containers of a sandbox, the root container last, up to date, without locks. One that cannot be read is a warning. */
export function membersOf(context: Context, sandboxId: string): SavedContainer[] {
  const records = listRecords(context.root, (error) => context.warn(error.message), sandboxId);
  return records.sort((a, b) => Number(a.id === sandboxId) - Number(b.id === sandboxId));
}

/**
 * Ids of all containers of the sandbox that a container is in, the root container last: what ends it ends the others too. Also
 * of those that cannot be read, and of those whose root container, when that is asked about, is gone already. The id is never
 * taken for a prefix. If there is no such container, the id alone, for the refusal.
 */
export function sandboxMemberIds({ root }: Context, id: string): string[] {
  const keys = listKeys(root);
  const sandboxId = keys.find((key) => key.id === id)?.sandboxId ?? id;
  const ids = keys.filter((key) => key.sandboxId === sandboxId).map((key) => key.id);
  return ids.length > 0 ? ids.sort((a, b) => Number(a === sandboxId) - Number(b === sandboxId)) : [id];
}

/**
 * Ids of those containers of a container's sandbox whose status allows `operation`; if it is none, the one that was asked
 * about, which is then refused.
 *
 * @throws NotFoundError, StateFileError
 */
export async function sandboxTargets(context: Context, idOrPrefix: string, operation: Operation): Promise<string[]> {
  // Engines also kill containers that are gone: with a prefix they would hit another sandbox (as in kill.ts).
  const { id, sandboxId } = await readRecord(context.root, idOrPrefix, { exact: operation === "kill" });
  const allowed = membersOf(context, sandboxId).filter(({ status }) => isAllowed(operation, status));
  return allowed.length > 0 ? allowed.map((member) => member.id) : [id];
}

/**
 * Kills what runs in the other containers of a sandbox. The kernel does it for those in the sandbox's pid namespace, but not
 * for one that is in the host's. Their records, cgroups and mounts stay for their own deletion. One whose state file cannot be
 * trusted is a warning.
 *
 * Preconditions: the caller holds the root container's lock, so that nobody joins.
 */
export async function endMembers(context: Context, sandboxId: string): Promise<void> {
  for (const { id } of listKeys(context.root).filter((key) => key.sandboxId === sandboxId && key.id !== sandboxId)) {
    try {
      await withContainer(context.root, id, (member, save) => endMember(context, member, sandboxId, save), {
        exact: true,
        evenIfFull: true,
      });
    } catch (error) {
      if (error instanceof StateFileError) context.warn(error.message);
      else if (!(error instanceof NotFoundError)) throw error;
    }
  }
}

async function endMember(context: Context, member: SavedContainer, sandboxId: string, save: Save): Promise<void> {
  // Deleted meanwhile, and its id was given to one that is none of ours.
  if (member.sandboxId !== sandboxId) return;
  if (noteOomKills(member)) save.ifPossible();
  if (member.process !== undefined) signalProcess(member.process, constants.signals.SIGKILL);
  if (!hasCgroup(member)) return;
  const { foreignField } = await import("./foreign.ts");
  if (foreignField({ cgroup: member.cgroup }) !== undefined) {
    context.warn(`cannot kill container ${JSON.stringify(member.id)}: its saved cgroup is not its own`);
    return;
  }
  // What is frozen would not die.
  const { killCgroup } = await import("../sandbox/cgroups/members.ts");
  killCgroup(member.cgroup, constants.signals.SIGKILL);
}
