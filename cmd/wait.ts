/** `cloche wait`: waits until a container has ended, whoever its parent is. */

import { command } from "./command.ts";
import { print } from "./output.ts";

export default command({
  name: "wait",
  summary: "wait for the end of a container and print its exit code",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  details: "A container that a signal ended has 128 and the signal's number as its exit code.",
  async run({ context, id }) {
    const { waitContainer } = await import("../container/wait.ts");
    print(`${await waitContainer(context, id)}\n`);
  },
});
