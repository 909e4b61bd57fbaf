/** `cloche delete`: removes stopped containers, with --force any container, and all they hold. */

import { ClocheError } from "../specutils/errors.ts";
import { command } from "./command.ts";
import { failureText } from "./report.ts";

export default command({
  name: "delete",
  summary: "delete containers that have ended",
  synopsis: "<container-id> [container-id...]",
  arity: [1, Number.POSITIVE_INFINITY],
  flags: {
    force: {
      kind: "boolean",
      short: "f",
      help: "kill what still runs; a container that does not exist is no error",
    },
  },
  async run({ context, flags, args }) {
    const { deleteContainer } = await import("../container/delete.ts");
    const failures: unknown[] = [];
    for (const id of args) {
      try {
        await deleteContainer(context, id, { force: flags.force ?? false });
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 1) {
      throw new ClocheError(failures.map(failureText).join("; "), { cause: failures[0] });
    }
    if (failures.length === 1) {
      throw failures[0];
    }
  },
});
