/** `cloche run`: create and start in one, waiting for the end unless detached. */

import { loading } from "../specutils/spans.ts";
import { bundleFlags, createOptionsOf } from "./bundle-flags.ts";
import { command } from "./command.ts";

export default command({
  name: "run",
  summary: "create a container, start it, and wait for its end",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    ...bundleFlags,
    detach: { kind: "boolean", short: "d", help: "return once the container runs" },
    keep: { kind: "boolean", help: "do not delete the container when it has ended" },
  },
  details: "The exit code is that of the container's program, 128 and the signal's number if a signal ended it.",
  async run({ context, flags, id }) {
    const { runContainer } = await loading("load container/run", () => import("../container/run.ts"));
    return await runContainer(context, {
      ...createOptionsOf(id, flags),
      detach: flags.detach ?? false,
      keep: flags.keep ?? false,
    });
  },
});
