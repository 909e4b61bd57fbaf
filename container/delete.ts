/** `delete`: removes a container and all that it holds (runtime.md#delete). */

import { ClocheError, messageOf, NotFoundError } from "../specutils/errors.ts";
import { StateFileError } from "../statefile/document.ts";
import { statePath } from "../statefile/names.ts";
import type { Context } from "./context.ts";
import { destroyContainer, type Remains } from "./destroy.ts";
import { noteOomKills } from "./exit-record.ts";
import type { SavedContainer } from "./record.ts";
import { isOwnRecord } from "./save.ts";
import { hookState } from "./state.ts";
import { checkAllowed } from "./status.ts";
import { type ContainerKey, findKey, removeRecord, removeTraces, withContainer, withLock } from "./store.ts";

/**
 * Removes a container that has stopped or, as with runc, that was created and not started. With `force` also one that
 * runs, one whose state file cannot be read, and, without a word, one that does not exist: engines do it after each
 * failed `create` and after each deletion.
 *
 * The id is never taken for a prefix, or a second deletion would hit another container. poststop hooks run after it,
 * without the lock; what they do wrong is a warning.
 *
 * @param options `only`: this very container, and no later one that has got its id
 * @throws NotFoundError, StatusError, StateFileError, and what keeps it from being removed
 */
export async function deleteContainer(
  context: Context,
  id: string,
  options: { force: boolean; only?: SavedContainer },
): Promise<void> {
  let record: SavedContainer;
  try {
    record = await withContainer(
      context.root,
      id,
      async (current, save) => {
        if (!options.force) checkAllowed("delete", current);
        // For who watches it die.
        if (noteOomKills(current)) save.ifPossible();
        if (options.force && current.isolation?.range !== undefined) {
          const { releaseOthers } = await import("./isolation.ts");
          releaseOthers(context.root, current);
        }
        await destroy(context, current);
        return current;
      },
      { exact: true, only: options.only },
    );
  } catch (error) {
    if (options.force && error instanceof NotFoundError) {
      await removeTraces(context.root, id);
      if (context.isolation?.level !== "sandboxed") return;
      const { releaseTraces } = await import("./isolation.ts");
      return releaseTraces(context.root, id);
    }
    if (options.force && error instanceof StateFileError) return deleteUnreadable(context, id);
    throw error;
  }
  await adjustScore(context, record);
  await runPoststopHooks(context, record);
}

/** After the deletion of a subcontainer. */
async function adjustScore(context: Context, { id, sandboxId }: ContainerKey): Promise<void> {
  if (sandboxId === id) return;
  const { adjustSandboxScore } = await import("./oom-score.ts");
  await adjustSandboxScore(context, sandboxId);
}

async function destroy(context: Context, record: SavedContainer): Promise<void> {
  const foreign = isAllOurs(record) ? undefined : (await import("./foreign.ts")).foreignField(record);
  if (foreign !== undefined) {
    const path = statePath(context.root, record.sandboxId, record.id);
    throw new StateFileError(`${foreign}: names what is not the container's`, path, "");
  }
  try {
    if (record.hasMembers === true) {
      const { endMembers } = await import("./members.ts");
      await endMembers(context, record.id);
    }
    await destroyContainer(record);
  } catch (error) {
    throw new ClocheError(`cannot delete container ${JSON.stringify(record.id)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  // Nothing runs with its ids any more. Before the record goes, or they would be anybody's to sweep while we give them back.
  await giveBackIds(context, record);
  removeRecord(context.root, record);
}

/** Whether all that the record names was made by this process: a cgroup that was there before may be that of others, and ours. */
function isAllOurs(record: SavedContainer): boolean {
  const { dirs = {}, owned = [] } = record.cgroup ?? {};
  return isOwnRecord(record) && Object.values(dirs).every((dir) => owned.includes(dir));
}

async function giveBackIds({ root }: Context, record: Remains): Promise<void> {
  if (record.isolation === undefined) return;
  const { releaseIsolation } = await import("./isolation.ts");
  releaseIsolation(root, record);
}

/** Its hooks are not run: half of a hook's command line is worse than none. */
async function deleteUnreadable(context: Context, id: string): Promise<void> {
  const { sandboxId } = await withLock(context.root, id, async () => {
    const key = findKey(context.root, id);
    const { salvageRemains } = await import("./salvage.ts");
    const { findGofer } = await import("./find-gofer.ts");
    const gofer = findGofer(statePath(context.root, key.sandboxId, key.id));
    const remains = { ...key, ...salvageRemains(context.root, key), ...(gofer && { gofer }) };
    const { endMembers } = await import("./members.ts");
    await endMembers(context, id);
    await destroyContainer(remains);
    await giveBackIds(context, remains);
    removeRecord(context.root, key);
    return key;
  });
  await adjustScore(context, { id, sandboxId });
  context.warn(`container ${JSON.stringify(id)} was deleted with a state file that cannot be read: look for leftovers`);
}

/** Runs all poststop hooks of a container that is gone; one that fails is a warning (runtime.md#lifecycle). */
export async function runPoststopHooks(context: Context, record: SavedContainer): Promise<void> {
  const hooks = record.hooks?.poststop ?? [];
  if (hooks.length === 0) return;
  const { runHook } = await import("./hooks.ts");
  const state = hookState(record, "stopped");
  for (const hook of hooks) {
    try {
      runHook("poststop", hook, state);
    } catch (error) {
      context.warn(messageOf(error));
    }
  }
}
