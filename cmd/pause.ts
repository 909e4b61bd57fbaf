/** `cloche pause`: stops every process of a container where it is. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { SANDBOX_FLAG, targetIds } from "./targets.ts";

export default command({
  name: "pause",
  summary: "suspend all processes of a container",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: { sandbox: SANDBOX_FLAG },
  async run({ context, flags, id }) {
    const { pauseAll } = await loading("load container/pause", () => import("../container/pause.ts"));
    await pauseAll(context, await targetIds(context, id, flags.sandbox, "pause"));
  },
});
