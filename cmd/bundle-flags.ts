/** The flags that `create` and `run` share, and the options of container/ that they stand for. */

import { resolve } from "node:path";
import type { CreateOptions } from "../container/create.ts";
import type { FlagTable, FlagValues } from "./flags.ts";

export const bundleFlags = {
  bundle: {
    kind: "string",
    short: "b",
    value: "directory",
    help: "directory with config.json",
    fallback: "current directory",
  },
  "console-socket": {
    kind: "string",
    value: "socket",
    help: "unix socket to send the master end of the container's terminal to",
  },
  "pid-file": { kind: "string", value: "file", help: "write the container process's pid to this file" },
  "no-pivot": { kind: "boolean", help: "do not use pivot_root: needed when the root filesystem lies on a ramdisk" },
  "no-new-keyring": { kind: "boolean", help: "let the container have the caller's session keyring" },
  "preserve-fds": {
    kind: "integer",
    value: "number",
    help: "pass this many file descriptors on, beyond stdio and $LISTEN_FDS",
    fallback: "0",
  },
  "no-subreaper": { kind: "boolean", help: "accepted for runc's callers, without effect", isHidden: true },
} as const satisfies FlagTable;

/** The options that `flags` stand for, paths made absolute. */
export function createOptionsOf(id: string, flags: FlagValues<typeof bundleFlags>): CreateOptions {
  return {
    id,
    bundle: resolve(flags.bundle ?? "."),
    ...optionalPath("pidFile", flags["pid-file"]),
    ...optionalPath("consoleSocket", flags["console-socket"]),
    noPivot: flags["no-pivot"] ?? false,
    noNewKeyring: flags["no-new-keyring"] ?? false,
    preserveFds: flags["preserve-fds"] ?? 0,
  };
}

/** `{ [key]: absolute path }`, or nothing when no path was given; an empty one counts as none, as in runc. */
export function optionalPath<Key extends string>(key: Key, path: string | undefined): { [K in Key]?: string } {
  return (path === undefined || path === "" ? {} : { [key]: resolve(path) }) as { [K in Key]?: string };
}
