/**
 * Reads out of a broken state file what is needed to clean up after its container. The file may be cut anywhere, edited,
 * or from a newer version, so single fields are looked for in its text, and taken only when they are whole.
 */

import { readText } from "../statefile/document.ts";
import { statePath } from "../statefile/names.ts";
import type { Remains } from "./destroy.ts";
import { isCgroup, isIsolation, isProcessRef } from "./record.ts";
import type { ContainerKey } from "./store.ts";

/** The processes, the cgroup and the range of ids that are named in the container's state file, as far as they can be found in it. */
export function salvageRemains(
  root: string,
  key: ContainerKey,
): Pick<Remains, "process" | "sandbox" | "cgroup" | "isolation"> {
  const text = readText(statePath(root, key.sandboxId, key.id)) ?? "";
  const remains: Record<string, unknown> = {};
  for (const [field, isWhole] of [
    ["process", isProcessRef],
    ["sandbox", isProcessRef],
    ["cgroup", isCgroup],
    ["isolation", isIsolation],
  ] as const) {
    const value = findObject(text, field);
    if (isWhole(value)) remains[field] = value;
  }
  return remains;
}

/** The object behind `"<field>":` in a text that is JSON at least there. It may hold objects, but these no others. */
function findObject(text: string, field: string): unknown {
  const match = new RegExp(`"${field}"\\s*:\\s*(\\{(?:[^{}]|\\{[^{}]*\\})*\\})`).exec(text);
  try {
    return match?.[1] === undefined ? undefined : JSON.parse(match[1]);
  } catch {
    return undefined;
  }
}
