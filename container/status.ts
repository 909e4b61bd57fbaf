/**
 * Which operation is allowed in which status, and what is said when it is not: one table for the code and the tests.
 *
 * Operations that are allowed in every status (`state`, `list`, `wait`, `ps`) are not in it.
 * Source: runtime.md#operations; where `paused`, which is ours, and texts that engines look for are concerned, runc.
 */

import { NotFoundError, StatusError } from "../specutils/errors.ts";
import type { Status } from "../specutils/spec.ts";

export type Operation = "start" | "kill" | "delete" | "exec" | "pause" | "resume" | "update" | "events" | "join";

interface Rule {
  /** The operation in words, before `container "<id>"`. */
  phrase: string;
  /** Statuses in which it is allowed. */
  from: readonly Status[];
  /** Why not, for a status in which it is refused, where engines or users look for certain words. */
  reason?: string;
  /** The same for one status alone, instead of `reason`. */
  reasons?: Partial<Record<Status, string>>;
}

/** A paused container can be killed, as with runc: its processes are there, and SIGKILL lets them go on to their end. */
export const RULES: Record<Operation, Rule> = {
  start: { phrase: "start", from: ["created"] },
  kill: { phrase: "kill", from: ["created", "running", "paused"], reason: "container not running" },
  delete: {
    phrase: "delete",
    from: ["created", "stopped"],
    reason: "container not stopped, use --force to kill it first",
  },
  exec: {
    phrase: "exec in",
    from: ["created", "running"],
    reasons: { paused: "container paused: resume it first, or use --ignore-paused" },
  },
  pause: { phrase: "pause", from: ["created", "running"], reason: "container not running" },
  resume: { phrase: "resume", from: ["paused"], reason: "container not paused" },
  update: { phrase: "update", from: ["created", "running", "paused"], reason: "container not running" },
  events: { phrase: "watch", from: ["created", "running", "paused"], reason: "container not running" },
  join: { phrase: "join the sandbox of", from: ["created", "running", "paused"], reason: "container not running" },
};

/** Whether `operation` is allowed in `status`. */
export function isAllowed(operation: Operation, status: Status): boolean {
  return RULES[operation].from.includes(status);
}

/** @throws StatusError when `operation` is not allowed in the status that `container` has. */
export function checkAllowed(operation: Operation, container: { id: string; status: Status }): void {
  if (!isAllowed(operation, container.status)) throw refusal(operation, container);
}

/** Whether an operation was refused since the container has ended, or is gone: of a sandbox's containers one may do so meanwhile. */
export function isForEnded(error: unknown): boolean {
  return error instanceof NotFoundError || (error instanceof StatusError && error.status === "stopped");
}

/** The error for an operation that the status does not allow, also for who finds out while carrying it out. */
export function refusal(operation: Operation, container: { id: string; status: Status }): StatusError {
  const { phrase, from, reasons } = RULES[operation];
  const reason = reasons?.[container.status] ?? RULES[operation].reason;
  const wanted = from.map((status) => `"${status}"`).join(" or ");
  const why =
    reason === undefined
      ? `status is "${container.status}", must be ${wanted}`
      : `${reason} (status is "${container.status}")`;
  return new StatusError(`cannot ${phrase} container ${JSON.stringify(container.id)}: ${why}`, container.status, from);
}
