/** Everything of a container that an operation which is refused must leave as it is, as one text to compare. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { processRef } from "../../specutils/process-ref.ts";
import type { Runtime } from "./runtime.ts";

/** The files under the state root with their content, the container's processes, its mounts and cgroups. */
export function snapshot(runtime: Runtime): string {
  return [...files(runtime.root), ...runtime.leftovers().map(withProcess)].sort().join("\n");
}

function files(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => {
    const file = path.join(directory, name);
    const stat = lstatSync(file);
    if (stat.isDirectory()) return files(file);
    return [`${file}: ${stat.isFile() ? readFileSync(file, "utf8") : stat.mode}`];
  });
}

/** A process is the same only with the same start time; a cgroup only if it is as frozen as it was. */
function withProcess(line: string): string {
  const pid = /^process (\d+)/.exec(line)?.[1];
  if (pid !== undefined) return `${line} ${processRef(Number(pid))?.startTime}`;
  const cgroup = /^cgroup (.*\/freezer\/.*)$/.exec(line)?.[1];
  return cgroup === undefined ? line : `${line} ${readFileSync(`${cgroup}/freezer.state`, "utf8")}`;
}
