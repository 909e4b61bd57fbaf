/** `cloche gofer`: the process that serves a container's files. Hidden: only cloche itself starts it (gofer/start.ts). */

import { UsageError } from "../specutils/errors.ts";
import { command } from "./command.ts";

/** An inherited descriptor. @throws UsageError */
function descriptor(name: string, value: number | undefined): number {
  if (value === undefined || value < 3) throw new UsageError(`--${name}: a descriptor above 2 is required`);
  return value;
}

export default command({
  name: "gofer",
  summary: "serve trees of files over FUSE (started by cloche itself)",
  synopsis: "",
  arity: [0, 0],
  flags: {
    "control-fd": { kind: "integer", value: "FD", help: "socket over which the mounts are handed over" },
    "tree-fd": { kind: "integer", value: "FD", help: "the first of the trees to serve; the others follow it" },
    options: { kind: "string", value: "JSON", help: "how to serve them" },
  },
  async run({ flags }) {
    const { runGofer } = await import("../gofer/main.ts");
    const { parseGoferOptions } = await import("../gofer/options.ts");
    const controlFd = descriptor("control-fd", flags["control-fd"]);
    const firstFd = descriptor("tree-fd", flags["tree-fd"]);
    const options = parseGoferOptions(flags.options ?? "{}");
    const treeFds = options.trees.map((_tree, index) => firstFd + index);
    runGofer(controlFd, treeFds, options);
  },
});
