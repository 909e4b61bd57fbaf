/** Ranges of host ids that containers of a test have (container/id-ranges.ts). */
import { readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { CLAIMS } from "../../container/id-ranges.ts";
import type { Runtime } from "./runtime.ts";

/** The names of their links, each with its text. */
export function claimsOf({ root }: Runtime): [name: string, text: string][] {
  return readdirSync(CLAIMS).flatMap((name) => {
    try {
      const text = readlinkSync(path.join(CLAIMS, name));
      return text.startsWith(`${root}/`) ? [[name, text]] : [];
    } catch {
      return []; // somebody else's that has gone, or the lock
    }
  });
}
