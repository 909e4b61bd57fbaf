/** How the files of one mount get into a sandbox, as settings, annotation and gofer policy say together. */
import path from "node:path";
import type { FileAccess } from "./level.ts";

export interface MountAccess {
  access: FileAccess;
  /** Whether a gofer policy has to hold there: by the mount's own destination, or by `*`. Then `access` is `served`. */
  policy: "named" | "any" | undefined;
}

/** A mount's destination as policies and annotations name it; `/` is the root file system. */
export function mountName(destination: string): string {
  return path.posix.resolve("/", destination);
}
