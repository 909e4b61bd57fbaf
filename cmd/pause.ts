/** `cloche pause`: stops every process of a container where it is. */

import { command } from "./command.ts";

export default command({
  name: "pause",
  summary: "suspend all processes of a container",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  async run({ context, id }) {
    const { pauseContainer } = await import("../container/pause.ts");
    await pauseContainer(context, id);
  },
});
