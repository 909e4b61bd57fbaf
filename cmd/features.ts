/** `cloche features`: what this binary can do, as JSON (features.md). Needs no state root. */

import { command } from "./command.ts";
import { printJson } from "./output.ts";

export default command({
  name: "features",
  summary: "print what cloche supports as JSON",
  synopsis: "",
  arity: [0, 0],
  flags: {},
  async run() {
    const { features } = await import("../specutils/features.ts");
    printJson(features(), 4);
  },
});
