/** `cloche start`: runs the program of a created container. */

import { command } from "./command.ts";

export default command({
  name: "start",
  summary: "run the program of a created container",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  async run({ context, id }) {
    const { startContainer } = await import("../container/start.ts");
    await startContainer(context, id);
  },
});
