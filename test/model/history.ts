/** What happened: the commands that were issued, when, and what each of them answered. */
import type { Status } from "../../specutils/spec.ts";

/** The commands of the model. `force` is `delete --force`, `signal` a `kill` with a signal that ends nothing. */
export const COMMANDS = [
  "create",
  "start",
  "kill",
  "signal",
  "pause",
  "resume",
  "exec",
  "delete",
  "force",
  "state",
  "list",
] as const;
export type Command = (typeof COMMANDS)[number];

/** What a command answered about one container. */
export type Answer =
  | { kind: "ok" }
  /** From `state` and `list`, and from what is refused because of a status. */
  | { kind: "status"; status: Status }
  | { kind: "refused"; status: Status }
  | { kind: "absent" }
  | { kind: "exists" }
  /** A failure for another reason. */
  | { kind: "failed"; text: string }
  /** The command was killed by SIGKILL: it may have done all of its work, a part, or nothing. */
  | { kind: "killed" };

/** One command on one container; a `list` is one on each. */
export interface Event {
  command: Command;
  id: string;
  /** CLOCK_MONOTONIC in ns, from before the command was started and from after its end. */
  from: number;
  to: number;
  answer: Answer;
}

/** A container as `state` and `list` print it, as far as it matters here. */
interface Seen {
  id: string;
  status: Status;
  pid: number;
  created: string;
}

/** What one command printed, as written down by the process that issued it. */
export interface Entry {
  command: Command;
  /** Empty for `list`. */
  id: string;
  from: number;
  to: number;
  exitCode: number;
  wasKilled: boolean;
  stdout: string;
  stderr: string;
}

/** The entry as events: for a `list` one for each of `ids`. @throws Error for output that no command may print */
export function eventsOf(entry: Entry, ids: readonly string[]): Event[] {
  const { command, id, from, to } = entry;
  // What was killed while it looked has told nothing and changed nothing.
  if (entry.wasKilled && ["list", "state", "exec", "signal"].includes(command)) return [];
  if (command !== "list") return [{ command, id, from, to, answer: answerOf(entry) }];
  if (entry.exitCode !== 0 || entry.stderr !== "") throw new Error(`list: ${JSON.stringify(entry)}`);
  const listed = new Map(seenIn(entry).map((container) => [container.id, container]));
  return ids.map((each) => {
    const found = listed.get(each);
    const answer: Answer = found === undefined ? { kind: "absent" } : { kind: "status", status: found.status };
    return { command, id: each, from, to, answer };
  });
}

/** The containers that `state` or `list` told of. */
export function seenIn({ command, exitCode, stdout }: Entry): Seen[] {
  if (exitCode !== 0 || stdout === "") return [];
  if (command === "list") return JSON.parse(stdout) ?? [];
  return command === "state" ? [JSON.parse(stdout)] : [];
}

function answerOf(entry: Entry): Answer {
  const { command, exitCode, stderr, wasKilled } = entry;
  if (wasKilled) return { kind: "killed" };
  if (exitCode === 0) {
    if (stderr !== "") throw new Error(`a success that says something: ${JSON.stringify(entry)}`);
    const [seen] = seenIn(entry);
    return seen === undefined ? { kind: "ok" } : { kind: "status", status: seen.status };
  }
  // The program that exec ran was killed with the container.
  if (command === "exec" && exitCode === 137 && stderr === "") return { kind: "failed", text: "exit code 137" };
  if (!/^(cannot|container) [^\n]+\n$/.test(stderr)) throw new Error(`not one clear line: ${JSON.stringify(entry)}`);
  if (stderr.includes("does not exist") && command !== "create") return { kind: "absent" };
  if (stderr.includes("already exists")) return { kind: "exists" };
  if (stderr.includes("container paused")) return { kind: "refused", status: "paused" };
  const status = /status is "(\w+)"/.exec(stderr)?.[1];
  return status === undefined ? { kind: "failed", text: stderr } : { kind: "refused", status: status as Status };
}
