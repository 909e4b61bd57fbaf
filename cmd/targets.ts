/** Commands that are about one container, several, or all containers of a sandbox. */
import type { Context } from "../container/context.ts";
import { isForEnded, type Operation } from "../container/status.ts";
import { ClocheError } from "../specutils/errors.ts";
import { failureText } from "./report.ts";

/** The flag `--sandbox`. */
export const SANDBOX_FLAG = {
  kind: "boolean",
  help: "do it to every container of the sandbox that the container is in",
} as const;

/** The ids that a command is about: `id`, or with --sandbox those of its sandbox whose status allows the operation. */
export async function targetIds(
  context: Context,
  id: string,
  isForSandbox: boolean | undefined,
  operation: Operation,
): Promise<string[]> {
  if (isForSandbox !== true) return [id];
  const { sandboxTargets } = await import("../container/members.ts");
  return sandboxTargets(context, id, operation);
}

/** Does it to those containers of a sandbox that have not ended meanwhile, as `forEachContainer`; to one alone in any case. */
export function forEachTarget(ids: readonly string[], action: (id: string) => Promise<void>): Promise<void> {
  return forEachContainer(ids, async (id) => {
    try {
      await action(id);
    } catch (error) {
      if (ids.length === 1 || !isForEnded(error)) throw error;
    }
  });
}

/** Does it to each container, whatever happens with the others. @throws what failed, in one line */
export async function forEachContainer(ids: readonly string[], action: (id: string) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  for (const id of ids) {
    try {
      await action(id);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 1) throw new ClocheError(failures.map(failureText).join("; "), { cause: failures[0] });
  if (failures.length === 1) throw failures[0];
}
