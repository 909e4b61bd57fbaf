/** `cloche events`: what happens to a container, and its statistics, once or again and again. */

import { command } from "./command.ts";
import { printJson } from "./output.ts";
import { parseDuration } from "./units.ts";

const DEFAULT_INTERVAL = "5s";

export default command({
  name: "events",
  summary: "print what happens to a container, and its statistics, as JSON lines",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    interval: { kind: "string", value: "duration", help: "time between two statistics", fallback: DEFAULT_INTERVAL },
    stats: { kind: "boolean", help: "print the statistics once and end" },
  },
  details: "Events are start, exit, oom, pause, resume and delete; the last one ends the command.",
  async run({ context, flags, id }) {
    const intervalMs = parseDuration("interval", flags.interval ?? DEFAULT_INTERVAL);
    const { watchEvents } = await import("../container/events.ts");
    await watchEvents(context, [id], { intervalMs, statsOnly: flags.stats ?? false }, (event) => printJson(event));
  },
});
