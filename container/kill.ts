/** `kill`: a signal to a container (runtime.md#kill). */

import { constants } from "node:os";
import { ClocheError, messageOf, StatusError } from "../specutils/errors.ts";
import type { Context } from "./context.ts";
import { noteOomKills } from "./exit-record.ts";
import type { SavedContainer } from "./record.ts";
import { hasCgroup } from "./record.ts";
import { signalProcess } from "./signal-process.ts";
import { checkAllowed, refusal } from "./status.ts";
import { withContainer } from "./store.ts";

const { SIGKILL } = constants.signals;

/**
 * Sends a signal, 0 to 64, to the container process; with `all` to every process in the container, which need not have
 * a process any more: engines kill what a dead container without a pid namespace of its own has left behind.
 *
 * The id is never taken for a prefix: engines also kill containers that are gone.
 *
 * @throws NotFoundError, StatusError (`container not running`)
 */
export async function killContainer(
  context: Context,
  id: string,
  signal: number,
  options: { all: boolean },
): Promise<void> {
  await withContainer(
    context.root,
    id,
    async (record, save) => {
      if (signal === SIGKILL && noteOomKills(record)) save.ifPossible();
      await orSayWhy(record, () => (options.all ? signalAll(record, signal) : signalContainer(record, signal)));
      if (signal === SIGKILL) await thaw(context, record);
    },
    { exact: true, evenIfFull: true },
  );
}

async function orSayWhy({ id }: SavedContainer, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    if (error instanceof StatusError) throw error;
    throw new ClocheError(`cannot kill container ${JSON.stringify(id)}: ${messageOf(error)}`, { cause: error });
  }
}

async function signalContainer(record: SavedContainer, signal: number): Promise<void> {
  checkAllowed("kill", record);
  if (signal === SIGKILL && !record.ownPidNamespace && hasCgroup(record)) {
    // In a shared pid namespace the end of the container process ends nobody else.
    await signalAll(record, signal);
  } else if (record.process === undefined || !signalProcess(record.process, signal)) {
    throw refusal("kill", { id: record.id, status: "stopped" });
  }
}

async function signalAll(record: SavedContainer, signal: number): Promise<void> {
  if (hasCgroup(record)) {
    const { foreignField } = await import("./foreign.ts");
    if (foreignField({ cgroup: record.cgroup }) !== undefined) {
      throw new ClocheError("its saved cgroup is not its own");
    }
    const { killCgroup } = await import("../sandbox/cgroups/members.ts");
    killCgroup(record.cgroup, signal);
  } else if (record.process !== undefined) {
    signalProcess(record.process, signal);
  }
}

/** With cgroup v1 a frozen process cannot even die. What fails here leaves it paused, with its death pending. */
async function thaw(context: Context, record: SavedContainer): Promise<void> {
  if (record.status !== "paused" || !hasCgroup(record)) return;
  const { freezeCgroup } = await import("../sandbox/cgroups/freeze.ts");
  try {
    freezeCgroup(record.cgroup, false);
  } catch (error) {
    context.warn(`cannot thaw container ${JSON.stringify(record.id)} to let it die: ${messageOf(error)}`);
  }
}
