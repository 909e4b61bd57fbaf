/**
 * Reads out of a broken state file what is needed to clean up after its container. The file may be cut anywhere, edited,
 * or from a newer version, so single fields are looked for in its text, and taken only when they are whole.
 */

import { readText } from "../statefile/document.ts";
import { statePath } from "../statefile/names.ts";
import type { Remains } from "./destroy.ts";
import { foreignField } from "./foreign.ts";
import { isCgroup, isIsolation, isProcessRef, isStartSocket, isStringArray } from "./record.ts";
import type { ContainerKey } from "./store.ts";

const FIELDS = [
  ["process", isProcessRef],
  ["sandbox", isProcessRef],
  ["cgroup", isCgroup],
  ["isolation", isIsolation],
  ["reservedCgroupDirs", isStringArray],
  ["startSocket", isStartSocket],
] as const;

/**
 * What is named in the container's state file and can be removed, as far as it can be found in it and is not foreign. Not the
 * gofer, which is found without it (find-gofer.ts).
 */
export function salvageRemains(root: string, key: ContainerKey): Omit<Remains, "id" | "sandboxId"> {
  const text = textOf(statePath(root, key.sandboxId, key.id));
  const remains: Record<string, unknown> = {};
  for (const [field, isWhole] of FIELDS) {
    const value = findValue(text, field);
    if (isWhole(value) && foreignField({ [field]: value }) === undefined) remains[field] = value;
  }
  return remains;
}

function textOf(path: string): string {
  try {
    return readText(path) ?? "";
  } catch {
    // No file at all: nothing can be found in it.
    return "";
  }
}

/** The value behind `"<field>":` in a text that is JSON at least there. It may hold objects or strings, but these no objects. */
function findValue(text: string, field: string): unknown {
  const value = '\\{(?:[^{}]|\\{[^{}]*\\})*\\}|\\[[^\\]]*\\]|"(?:[^"\\\\]|\\\\.)*"';
  const match = new RegExp(`"${field}"\\s*:\\s*(${value})`).exec(text);
  try {
    return match?.[1] === undefined ? undefined : JSON.parse(match[1]);
  } catch {
    return undefined;
  }
}
