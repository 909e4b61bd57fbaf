/** `cloche events`: what happens to a container, and its statistics, once or again and again. */

import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { printJson } from "./output.ts";
import { SANDBOX_FLAG } from "./targets.ts";
import { parseDuration } from "./units.ts";

const DEFAULT_INTERVAL = "5s";

export default command({
  name: "events",
  summary: "print what happens to a container, and its statistics, as JSON lines",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    interval: { kind: "string", value: "duration", help: "time between two statistics", fallback: DEFAULT_INTERVAL },
    sandbox: SANDBOX_FLAG,
    stats: { kind: "boolean", help: "print the statistics once and end" },
  },
  details: [
    "Events are start, exit, oom, pause, resume and delete; the last one ends the command. With --sandbox also create,",
    "of containers that join the sandbox, and the command ends when all of its containers are deleted.",
  ].join(" "),
  async run({ context, flags, id }) {
    const intervalMs = parseDuration("interval", flags.interval ?? DEFAULT_INTERVAL);
    const { watchEvents } = await loading("load container/events", () => import("../container/events.ts"));
    const options = { intervalMs, statsOnly: flags.stats ?? false, isForSandbox: flags.sandbox ?? false };
    await watchEvents(context, id, options, (event) => printJson(event));
  },
});
