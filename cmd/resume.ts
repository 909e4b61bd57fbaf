/** `cloche resume`: lets a paused container go on. */

import { command } from "./command.ts";

export default command({
  name: "resume",
  summary: "let the processes of a paused container go on",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {},
  async run({ context, id }) {
    const { resumeContainer } = await import("../container/resume.ts");
    await resumeContainer(context, id);
  },
});
