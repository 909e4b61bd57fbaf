/** `cloche events`: statistics of a container, once or again and again, and notices of its OOM kills. */

import { command } from "./command.ts";
import { printJson } from "./output.ts";
import { parseDuration } from "./units.ts";

const DEFAULT_INTERVAL = "5s";

export default command({
  name: "events",
  summary: "print statistics and OOM kills of a container as JSON lines",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    interval: { kind: "string", value: "duration", help: "time between two statistics", fallback: DEFAULT_INTERVAL },
    stats: { kind: "boolean", help: "print the statistics once and end" },
  },
  details: "Ends when the container does.",
  async run({ context, flags, id }) {
    const intervalMs = parseDuration("interval", flags.interval ?? DEFAULT_INTERVAL);
    const { watchEvents } = await import("../container/events.ts");
    await watchEvents(context, id, { intervalMs, statsOnly: flags.stats ?? false }, (event) => printJson(event));
  },
});
