/** `cloche wait`: waits until containers have ended, whoever their parent is. */

import { command } from "./command.ts";
import { print } from "./output.ts";

export default command({
  name: "wait",
  summary: "wait for the end of containers and print their exit codes",
  synopsis: "<container-id>...",
  arity: [1, Number.POSITIVE_INFINITY],
  flags: {},
  details: [
    "One line for each container, in the order in which they are named. A container that a signal ended has 128 and",
    "the signal's number as its exit code. The exit code of this command is 0 when all of them are known.",
  ].join("\n"),
  async run({ context, args }) {
    const { waitContainers } = await import("../container/wait.ts");
    await waitContainers(context, args, (exitCode) => print(`${exitCode}\n`));
  },
});
