/** `cloche state`: prints what is known about a container (runtime.md#query-state). */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { printJson } from "./output.ts";

export default command({
  name: "state",
  summary: "print the state of a container as JSON",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  async run({ context, id }) {
    const { stateOfContainer } = await loading("load container/state", () => import("../container/state.ts"));
    printJson(await stateOfContainer(context, id), 2);
  },
});
