/** `list`: every container under the state root. */

import { readFileSync, statSync } from "node:fs";
import { statePath } from "../statefile/names.ts";
import type { Context } from "./context.ts";
import type { ContainerState } from "./state.ts";
import { describe } from "./state.ts";
import { listRecords } from "./store.ts";

/** A line of `list`. */
export interface ListedContainer extends ContainerState {
  /** Name of the user whose container it is, or `#<uid>` for a user without a name. */
  owner: string;
}

/** All containers by id. One that cannot be read is a warning, not an error: the others are still of interest. */
export function listContainers(context: Context): ListedContainer[] {
  const nameOf = userNames();
  return listRecords(context.root, (error) => context.warn(error.message)).flatMap((record) => {
    const stat = statSync(statePath(context.root, record.sandboxId, record.id), { throwIfNoEntry: false });
    return stat === undefined ? [] : { ...describe(record), owner: nameOf(stat.uid) };
  });
}

/** Looks users up in /etc/passwd, which is read when the first one is asked for. */
function userNames(): (uid: number) => string {
  let names: Map<number, string> | undefined;
  return (uid) => {
    names ??= readUserNames();
    return names.get(uid) ?? `#${uid}`;
  };
}

function readUserNames(): Map<number, string> {
  let text = "";
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    // A host without /etc/passwd has no names to show.
  }
  const fields = text.split("\n").map((line) => line.split(":"));
  return new Map(fields.map(([name, , uid]) => [Number(uid), name ?? ""]));
}
