/** `cloche install`: registers this executable with the container engines of the machine. */

import { UsageError } from "../specutils/errors.ts";
import { command } from "./command.ts";
import { checkExecutable, installFlags, installOptionsOf } from "./engines/options.ts";
import { print } from "./output.ts";

export default command({
  name: "install",
  summary: "register cloche as a runtime of docker, containerd and podman",
  synopsis: "[engine...]",
  arity: [0, Number.POSITIVE_INFINITY],
  flags: installFlags,
  details: [
    "Engines: docker, containerd and podman, as far as they are on this machine unless some are named; crio and",
    "kubernetes, for which a stanza and a RuntimeClass are printed. Changes are shown before they are made; what is",
    "there is kept.",
  ].join(" "),
  async run({ context, flags, args }) {
    const { engines, enginesOnMachine } = await import("./engines/engines.ts");
    const { stanzas } = await import("./engines/stanzas.ts");
    const { entry, isDryRun, rootDirectory } = installOptionsOf(flags);
    const known = [...engines.map(({ name }) => name), ...Object.keys(stanzas)];
    const unknown = args.find((name) => !known.includes(name));
    if (unknown !== undefined) {
      throw new UsageError(`unknown engine ${JSON.stringify(unknown)}: must be one of ${known.join(", ")}`);
    }
    if (rootDirectory === "/") {
      const reason = checkExecutable(entry.path);
      if (reason !== undefined) {
        context.warn(reason);
      }
    }
    const chosen =
      args.length === 0 ? enginesOnMachine(rootDirectory) : engines.filter(({ name }) => args.includes(name));
    if (chosen.length === 0 && args.length === 0) {
      print(`# no engine found: name one of ${known.join(", ")}\n`);
    }
    const { planAndApply } = await import("./engines/apply.ts");
    const { planInstall } = await import("./engines/registration.ts");
    await planAndApply(chosen, { entry, isDryRun, rootDirectory }, planInstall, context.warn);
    for (const name of args) {
      print(stanzas[name]?.(entry) ?? "");
    }
  },
});
