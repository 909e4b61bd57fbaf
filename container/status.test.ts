import { expect, test } from "bun:test";
import { StatusError } from "../specutils/errors.ts";
import type { Status } from "../specutils/spec.ts";
import { checkAllowed, isAllowed, type Operation, RULES } from "./status.ts";

const statuses: Status[] = ["creating", "created", "running", "paused", "stopped"];
const operations = Object.keys(RULES) as Operation[];

/** What the runtime-spec and runc's callers rely on, written down a second time. */
const allowed: Record<Status, Operation[]> = {
  creating: [],
  created: ["start", "kill", "delete", "exec", "pause", "update", "events", "join"],
  running: ["kill", "exec", "pause", "update", "events", "join"],
  paused: ["kill", "resume", "update", "events", "join"],
  stopped: ["delete"],
};

for (const status of statuses) {
  test(`what is allowed while ${status}`, () => {
    expect(operations.filter((operation) => isAllowed(operation, status))).toEqual(allowed[status]);
  });
}

/** The words that engines and users look for. */
test.each([
  ["start", "running", 'cannot start container "c1": status is "running", must be "created"'],
  ["kill", "stopped", 'cannot kill container "c1": container not running (status is "stopped")'],
  [
    "delete",
    "running",
    'cannot delete container "c1": container not stopped, use --force to kill it first (status is "running")',
  ],
  ["exec", "stopped", 'cannot exec in container "c1": status is "stopped", must be "created" or "running"'],
  [
    "exec",
    "paused",
    'cannot exec in container "c1": container paused: resume it first, or use --ignore-paused (status is "paused")',
  ],
  ["pause", "paused", 'cannot pause container "c1": container not running (status is "paused")'],
  ["resume", "running", 'cannot resume container "c1": container not paused (status is "running")'],
] as [Operation, Status, string][])("%s is refused while %s, with the reason", (operation, status, message) => {
  expect(() => checkAllowed(operation, { id: "c1", status })).toThrow(message);
  expect(() => checkAllowed(operation, { id: "c1", status })).toThrow(StatusError);
});
