/** Finds the gofer of a container by what it is, where no record says which process that is. */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { type ProcessRef, processRef } from "../specutils/process-ref.ts";

/**
 * The gofer that was started for the container with that state file; undefined if there is none.
 *
 * Anybody can call a process anything. But it executes the very file that we execute, in our user namespace: that cannot be had by
 * writing something. A process of a container that has our file can at most be taken for its own gofer.
 */
export function findGofer(stateFile: string): ProcessRef | undefined {
  const own = identityOf("self");
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    // The reference first: what is looked at afterwards is that process, or it has no effect (signal-process.ts).
    const ref = /^\d+$/.test(name) && isGoferOf(pid, stateFile) ? processRef(pid) : undefined;
    if (ref !== undefined && identityOf(name) === own && isGoferOf(pid, stateFile)) return ref;
  }
  return undefined;
}

/** What a process executes, and its user namespace; undefined if it is gone, or a thread of the kernel's. */
function identityOf(pid: string): string | undefined {
  try {
    const { dev, ino } = statSync(`/proc/${pid}/exe`);
    return `${dev}:${ino} ${readlinkSync(`/proc/${pid}/ns/user`)}`;
  } catch {
    return undefined;
  }
}

/** Whether its command line is that of the container's gofer (gofer/start.ts). */
function isGoferOf(pid: number, stateFile: string): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    if (words[0] !== "cloche-gofer") return false;
    const options: unknown = JSON.parse(words[words.indexOf("--options") + 1] ?? "");
    return typeof options === "object" && options !== null && "stateFile" in options && options.stateFile === stateFile;
  } catch {
    return false; // gone, or another program
  }
}
