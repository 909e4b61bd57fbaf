/** `cloche ps`: the processes of a container, by their pids on the host. */

import { ClocheError, UsageError } from "../specutils/errors.ts";
import { loading } from "../specutils/spans.ts";
import { command } from "./command.ts";
import { print, printJson } from "./output.ts";
import { SANDBOX_FLAG } from "./targets.ts";

/** podman calls without PATH. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export default command({
  name: "ps",
  summary: "list the processes of a container",
  synopsis: "<container-id> [ps-option...]",
  arity: [1, Number.POSITIVE_INFINITY],
  order: "leading",
  flags: {
    format: { kind: "string", short: "f", choices: ["table", "json"], help: "what to print", fallback: "table" },
    sandbox: SANDBOX_FLAG,
  },
  details: "The table is what ps(1) prints with the options given, -ef if there are none, less all other processes.",
  async run({ context, flags, args, id }) {
    const { processesOf } = await loading("load container/ps", () => import("../container/ps.ts"));
    const pids = await processesOf(context, id, flags.sandbox ?? false);
    if (flags.format === "json") {
      printJson(pids);
    } else {
      const options = args.slice(1);
      print(selectRows(await runPs(options.length > 0 ? options : ["-ef"]), new Set(pids)));
    }
  },
});

async function runPs(options: readonly string[]): Promise<string> {
  const { spawnSync } = await import("node:child_process");
  const result = spawnSync("ps", options, {
    encoding: "utf8",
    maxBuffer: Number.POSITIVE_INFINITY,
    env: { ...process.env, PATH: process.env["PATH"] || DEFAULT_PATH },
  });
  if (result.error !== undefined) {
    throw new ClocheError(`cannot run ps: ${result.error.message}; "--format json" does without it`, {
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    throw new ClocheError(`cannot run ps: ${result.stderr.trim() || `exit status ${result.status}`}`);
  }
  return result.stdout;
}

/**
 * The heading of what ps(1) printed, and the rows of `pids`.
 * @throws UsageError if the options left out the column PID, without which no row can be told from another
 */
export function selectRows(table: string, pids: ReadonlySet<number>): string {
  const [heading = "", ...rows] = table.split("\n").filter((line) => line !== "");
  const column = heading.trim().split(/\s+/).indexOf("PID");
  if (column < 0) {
    throw new UsageError("the ps options must leave the column PID in the table");
  }
  const own = rows.filter((row) => pids.has(Number(row.trim().split(/\s+/)[column])));
  return [heading, ...own].map((line) => `${line}\n`).join("");
}
