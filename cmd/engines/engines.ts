/** The engines whose files `install` and `uninstall` change. */

import path from "node:path";
import { containerd } from "./containerd.ts";
import { docker } from "./docker.ts";
import type { Engine } from "./engine.ts";
import { isThere } from "./host-files.ts";
import { SYSTEM_PATH } from "./options.ts";
import { podman } from "./podman.ts";

export const engines: readonly Engine[] = [docker, containerd, podman];

/** Those that are on this machine. */
export function enginesOnMachine(rootDirectory: string): Engine[] {
  return engines.filter(
    ({ signs }) =>
      signs.paths.some((name) => isThere(rootDirectory, name)) ||
      signs.programs.some((name) => SYSTEM_PATH.some((at) => isThere(rootDirectory, path.join(at, name)))),
  );
}
