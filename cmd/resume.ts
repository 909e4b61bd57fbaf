/** `cloche resume`: lets a paused container go on. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { forEachTarget, SANDBOX_FLAG, targetIds } from "./targets.ts";

export default command({
  name: "resume",
  summary: "let the processes of a paused container go on",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: { sandbox: SANDBOX_FLAG },
  async run({ context, flags, id }) {
    const { resumeContainer } = await loading("load container/resume", () => import("../container/resume.ts"));
    const ids = await targetIds(context, id, flags.sandbox, "resume");
    await forEachTarget(ids, (target) => resumeContainer(context, target));
  },
});
