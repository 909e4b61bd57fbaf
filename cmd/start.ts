/** `cloche start`: runs the program of a created container. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";

export default command({
  name: "start",
  summary: "run the program of a created container",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  async run({ context, id }) {
    const { startContainer } = await loading("load container/start", () => import("../container/start.ts"));
    await startContainer(context, id);
  },
});
