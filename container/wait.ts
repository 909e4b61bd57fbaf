/** `wait`: the exit code of a container, whoever its parent is. */

import { setTimeout as sleep } from "node:timers/promises";
import { ClocheError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import { exitCodeOf } from "./exit-record.ts";
import type { SavedContainer } from "./record.ts";
import { waitForEnd } from "./signal-process.ts";
import { readRecord } from "./store.ts";

/** How often to look again for what nothing tells us of: the end of `creating`, and the exit file. */
const LOOK_AGAIN_MS = 5;

/**
 * Waits until the container has stopped, and returns its exit code: its process's own, or 128 plus the signal that killed
 * it. May be called as often as wanted until the container is deleted. Blocks the thread while the container runs.
 *
 * @throws NotFoundError also when it is deleted meanwhile; ClocheError when nobody has seen how it ended
 */
export async function waitContainer(context: Context, id: string): Promise<number> {
  let record = await readRecord(context.root, id);
  while (record.status !== "stopped") {
    if (record.process === undefined || record.status === "creating") await sleep(LOOK_AGAIN_MS);
    else waitForEnd(record.process, -1);
    record = await readRecord(context.root, record.id);
  }
  while (record.exit === undefined) {
    // Asked before looking again: what it wrote before it ended is seen then.
    const mayBeWritten = isSandboxAlive(record);
    await sleep(mayBeWritten ? LOOK_AGAIN_MS : 0);
    record = await readRecord(context.root, record.id);
    if (record.exit === undefined && !mayBeWritten) throw unknownEnd(record);
  }
  return exitCodeOf(record.exit);
}

function unknownEnd({ id }: SavedContainer): ClocheError {
  return new ClocheError(
    `cannot tell how container ${JSON.stringify(id)} ended: its sandbox process ended before it could record it`,
  );
}

/** While the sandbox process lives it may still be about to write how the container process ended. */
function isSandboxAlive(record: SavedContainer): boolean {
  return record.sandbox !== undefined && isAlive(record.sandbox);
}
