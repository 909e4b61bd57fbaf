/** `cloche list`: the containers under the state root. */

import type { ContainerExit } from "../container/state.ts";
import { signalName } from "../specutils/signals.ts";
import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { formatTable, print, printJson } from "./output.ts";

export default command({
  name: "list",
  summary: "list the containers",
  synopsis: "",
  arity: [0, 0],
  flags: {
    format: { kind: "string", short: "f", choices: ["table", "json"], help: "what to print", fallback: "table" },
    quiet: { kind: "boolean", short: "q", help: "print only the container IDs" },
  },
  async run({ context, flags }) {
    const { listContainers } = await loading("load container/list", () => import("../container/list.ts"));
    const containers = await listContainers(context);
    if (flags.quiet === true) {
      print(containers.map(({ id }) => `${id}\n`).join(""));
    } else if (flags.format === "json") {
      printJson(containers);
    } else {
      const rows = containers.map((c) => [
        c.id,
        String(c.pid),
        c.status,
        c.bundle,
        c.created,
        c.owner,
        c.sandboxId,
        exitText(c.exit),
      ]);
      print(formatTable(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "SANDBOX", "EXIT"], rows));
    }
  },
});

/** The exit code or the signal, and the reason if there is one: `1`, `SIGKILL (oom-killed)`. */
function exitText(exit: ContainerExit | undefined): string {
  if (exit === undefined) return "";
  const how = exit.signal === undefined ? String(exit.exitCode) : signalName(exit.signal);
  return exit.reason === undefined ? how : `${how} (${exit.reason})`;
}
