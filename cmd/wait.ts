/** `cloche wait`: waits until containers have ended, whoever their parent is. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { print } from "./output.ts";

export default command({
  name: "wait",
  summary: "wait for the end of containers and print their exit codes",
  synopsis: "<container-id> [container-id...]",
  arity: [1, Number.POSITIVE_INFINITY],
  flags: {},
  details: [
    "One line for each container, in their order: the exit code, or 128 and the number of the signal that ended it.",
    "The exit code of this command is 0 when all of them are known.",
  ].join(" "),
  async run({ context, args }) {
    const { waitContainers } = await loading("load container/wait", () => import("../container/wait.ts"));
    await waitContainers(context, args, (exitCode) => print(`${exitCode}\n`));
  },
});
