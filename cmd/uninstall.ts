/** `cloche uninstall`: undoes `cloche install`. */

import { UsageError } from "../specutils/errors.ts";
import { command } from "./command.ts";
import { installFlags, installOptionsOf } from "./engines/options.ts";

export default command({
  name: "uninstall",
  summary: "undo what install did",
  synopsis: "[engine...]",
  arity: [0, Number.POSITIVE_INFINITY],
  flags: installFlags,
  details: "The files become what they were, but for what others changed meanwhile. The executable stays.",
  async run({ context, flags, args }) {
    const { engines } = await import("./engines/engines.ts");
    const unknown = args.find((name) => !engines.some((engine) => engine.name === name));
    if (unknown !== undefined) {
      const known = engines.map(({ name }) => name).join(", ");
      throw new UsageError(`unknown engine ${JSON.stringify(unknown)}: must be one of ${known}`);
    }
    const chosen = args.length === 0 ? engines : engines.filter(({ name }) => args.includes(name));
    const { planAndApply } = await import("./engines/apply.ts");
    const { planUninstall } = await import("./engines/registration.ts");
    await planAndApply(chosen, installOptionsOf(flags), planUninstall, context.warn);
  },
});
