/** `cloche kill`: sends a signal to a container's process. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { forEachTarget, SANDBOX_FLAG, targetIds } from "./targets.ts";

export default command({
  name: "kill",
  summary: "send a signal to a container",
  synopsis: "<container-id> [signal]",
  arity: [1, 2],
  flags: {
    all: { kind: "boolean", short: "a", help: "send it to every process in the container" },
    sandbox: SANDBOX_FLAG,
  },
  details: "The signal is a name (KILL, SIGKILL, SIGRTMIN+3) or a number, 0 included; SIGTERM unless given.",
  async run({ context, flags, args, id }) {
    const { parseSignal } = await import("../specutils/signals.ts");
    const signal = parseSignal(args[1] ?? "SIGTERM");
    const { killContainer } = await loading("load container/kill", () => import("../container/kill.ts"));
    const ids = await targetIds(context, id, flags.sandbox, "kill");
    await forEachTarget(ids, (target) => killContainer(context, target, signal, { all: flags.all ?? false }));
  },
});
