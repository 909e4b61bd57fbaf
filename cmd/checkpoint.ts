/** `cloche checkpoint`: refused, but known: podman asks for its help to find out what a runtime is. */

import { UnsupportedError } from "../specutils/errors.ts";
import { command } from "./command.ts";
import type { FlagTable } from "./flags.ts";

/** What `checkpoint` and `restore` have in common. */
export const criuFlags = {
  "image-path": { kind: "string", value: "directory", help: "directory of the image" },
  "work-path": { kind: "string", value: "directory", help: "directory for logs and other files of the work" },
  "tcp-established": { kind: "boolean", help: "allow open TCP connections" },
  "ext-unix-sk": { kind: "boolean", help: "allow unix sockets that lead out of the container" },
  "shell-job": { kind: "boolean", help: "allow processes that use the caller's terminal" },
  "file-locks": { kind: "boolean", help: "keep file locks" },
  "manage-cgroups-mode": { kind: "string", value: "mode", help: "what to do with cgroups" },
  "empty-ns": { kind: "list", value: "namespace", help: "do not keep the properties of this namespace" },
  "auto-dedup": { kind: "boolean", help: "keep memory pages only once" },
  "lazy-pages": { kind: "boolean", help: "fetch memory pages when they are needed" },
} as const satisfies FlagTable;

export default command({
  name: "checkpoint",
  summary: "save a running container (not supported)",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    ...criuFlags,
    "parent-path": { kind: "string", value: "directory", help: "directory of the image before this one" },
    "leave-running": { kind: "boolean", help: "let the container go on" },
    "status-fd": { kind: "string", value: "fd", help: "file descriptor to report progress to" },
    "page-server": { kind: "string", value: "address:port", help: "send memory pages there" },
    "pre-dump": { kind: "boolean", help: "save memory only" },
  },
  run({ id }) {
    throw new UnsupportedError(
      `cannot checkpoint container ${JSON.stringify(id)}: not supported by this version of cloche`,
    );
  },
});
