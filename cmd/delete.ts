/** `cloche delete`: removes stopped containers, with --force any container, and all they hold. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { forEachContainer, SANDBOX_FLAG } from "./targets.ts";

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
    sandbox: SANDBOX_FLAG,
  },
  async run({ context, flags, args }) {
    const { deleteContainer } = await loading("load container/delete", () => import("../container/delete.ts"));
    const options = { force: flags.force ?? false };
    await forEachContainer(args, async (id) => {
      if (flags.sandbox !== true) return deleteContainer(context, id, options);
      const { sandboxMemberIds } = await import("../container/members.ts");
      await forEachContainer(sandboxMemberIds(context, id), (member) => deleteContainer(context, member, options));
    });
  },
});
