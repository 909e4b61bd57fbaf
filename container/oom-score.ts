/**
 * oom_score_adj of sandbox processes (proc_pid_oom_score_adj(5)).
 *
 * A sandbox process gets the lowest value among its containers, so that the kernel never prefers killing the whole sandbox to
 * killing one container. A container that an engine has annotated as the pod's sandbox does not count.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { messageOf, NotFoundError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import { isPodSandbox } from "./join.ts";
import { membersOf } from "./members.ts";
import type { SavedContainer } from "./record.ts";
import { withContainer } from "./store.ts";

/** Gives the sandbox process `pid`, which has inherited the container's score, our own back. @throws system errors */
export function keepOwnScore(pid: number): void {
  writeFileSync(scoreFile(pid), readFileSync("/proc/self/oom_score_adj"));
}

/**
 * The lowest score among the containers, -1000 to 1000; undefined when none has one that counts.
 *
 * @param containers those of one sandbox that have been created and have not stopped
 */
export function lowestScore(
  containers: readonly Pick<SavedContainer, "annotations" | "oomScoreAdj">[],
): number | undefined {
  const scores = containers.flatMap(({ annotations, oomScoreAdj }) =>
    isPodSandbox(annotations) ? [] : (oomScoreAdj ?? []),
  );
  return scores.length === 0 ? undefined : Math.min(...scores);
}

/**
 * Brings the sandbox process's score up to date after a subcontainer was started or deleted. Without any score that counts it
 * is again what it was when the process was started.
 *
 * Adjusting is serialised by the lock of the root container. A sandbox that has ended, or whose score cannot be changed, is a
 * warning: the container that was started or deleted is none the worse for it.
 */
export async function adjustSandboxScore(context: Context, sandboxId: string): Promise<void> {
  try {
    await withContainer(context.root, sandboxId, (root, save) => adjust(context, root, save), { exact: true });
  } catch (error) {
    // Deleted before its subcontainers: nothing is left to adjust.
    if (error instanceof NotFoundError) return;
    context.warn(`cannot adjust oom_score_adj of sandbox ${JSON.stringify(sandboxId)}: ${messageOf(error)}`);
  }
}

function adjust(context: Context, root: SavedContainer, save: () => void): void {
  const { sandbox } = root;
  if (sandbox === undefined || !isAlive(sandbox)) return;
  const file = scoreFile(sandbox.pid);
  const current = Number(readFileSync(file, "utf8"));
  if (root.spawnOomScoreAdj === undefined) {
    root.spawnOomScoreAdj = current;
    // Before it is changed: a value that was changed and not saved would be lost.
    save();
  }
  // One whose creation fails would leave its score behind; one that comes to be is counted when it is started.
  const members = membersOf(context, root.id).filter(({ status }) => status !== "stopped" && status !== "creating");
  const wanted = lowestScore(members) ?? root.spawnOomScoreAdj;
  if (wanted !== current) writeFileSync(file, String(wanted));
}

function scoreFile(pid: number): string {
  return `/proc/${pid}/oom_score_adj`;
}
