import { expect, test } from "bun:test";
import { contradictionIn } from "./check.ts";
import type { Answer, Command, Event } from "./history.ts";

type Told = [command: Command, from: number, to: number, answer: Answer];

const ok: Answer = { kind: "ok" };
const absent: Answer = { kind: "absent" };
const killed: Answer = { kind: "killed" };
const failed: Answer = { kind: "failed", text: "" };
const is = (status: "creating" | "created" | "running" | "paused" | "stopped"): Answer => ({ kind: "status", status });
const not = (status: "created" | "running" | "paused" | "stopped"): Answer => ({ kind: "refused", status });

/** The command whose answer cannot be true, if there is one. */
function wrongIn(...told: Told[]): Command | undefined {
  const events = told.map(([command, from, to, answer]): Event => ({ command, id: "c1", from, to, answer }));
  return contradictionIn(events)?.event.command;
}

const created: Told = ["create", 0, 1, ok];
const started: Told = ["start", 2, 3, ok];

test.each<[string, Told[]]>([
  ["a whole life", [created, started, ["kill", 4, 5, ok], ["state", 6, 7, is("running")], ["delete", 8, 9, ok]]],
  [
    "a look while it is created",
    [
      ["create", 0, 9, ok],
      ["state", 1, 2, is("creating")],
      ["state", 3, 8, is("created")],
    ],
  ],
  [
    "two creates at once",
    [
      ["create", 0, 5, ok],
      ["create", 1, 4, { kind: "exists" }],
    ],
  ],
  [
    "a create whose container is deleted",
    [
      ["create", 0, 9, failed],
      ["force", 2, 5, ok],
      ["state", 6, 7, absent],
    ],
  ],
  ["a look during a kill", [created, started, ["kill", 4, 9, ok], ["state", 5, 6, is("stopped")]]],
  [
    "pause and resume",
    [created, ["pause", 2, 3, ok], ["start", 4, 5, not("paused")], ["resume", 6, 7, ok], ["start", 8, 9, ok]],
  ],
  ["a start that somebody's kill comes before", [created, ["start", 2, 6, failed], ["kill", 3, 4, ok]]],
  [
    "a create that was killed",
    [
      ["create", 0, 1, killed],
      ["state", 2, 3, is("stopped")],
      ["delete", 4, 5, ok],
    ],
  ],
  [
    "a create that was killed early",
    [
      ["create", 0, 1, killed],
      ["state", 2, 3, absent],
    ],
  ],
  ["a pause that was killed", [created, ["pause", 2, 3, killed], ["state", 4, 5, is("created")]]],
  ["a pause that was killed late", [created, ["pause", 2, 3, killed], ["state", 4, 5, is("paused")]]],
])("can be: %s", (_, told) => {
  expect(wrongIn(...told)).toBeUndefined();
});

test.each<[string, Command, Told[]]>([
  [
    "two winners",
    "create",
    [
      ["create", 0, 5, ok],
      ["create", 1, 6, ok],
    ],
  ],
  ["no winner", "create", [["create", 0, 5, { kind: "exists" }]]],
  ["what was deleted is there", "state", [created, ["delete", 2, 3, ok], ["state", 4, 5, is("stopped")]]],
  [
    "it comes back to life",
    "state",
    [created, ["kill", 2, 3, ok], ["state", 4, 5, is("stopped")], ["state", 6, 7, is("created")]],
  ],
  ["it is gone by itself", "state", [created, ["state", 2, 3, absent]]],
  ["it stops by itself", "state", [created, started, ["state", 4, 5, is("stopped")]]],
  ["it starts twice", "start", [created, started, ["start", 4, 5, ok]]],
  ["an old status is told", "state", [created, started, ["state", 4, 5, is("created")]]],
  ["a failure for no reason", "start", [created, ["start", 2, 3, failed]]],
  [
    "a create that fails takes another's",
    "state",
    [
      ["create", 0, 9, failed],
      ["force", 1, 2, ok],
      ["create", 3, 4, ok],
      ["state", 10, 11, absent],
    ],
  ],
  ["refused for a status that it has not", "pause", [created, ["pause", 2, 3, not("stopped")]]],
  ["refused though it is allowed", "pause", [created, ["pause", 2, 3, not("created")]]],
  ["exec in what is paused", "exec", [created, ["pause", 2, 3, ok], ["exec", 4, 5, ok]]],
])("cannot be: %s", (_, command, told) => {
  expect(wrongIn(...told)).toBe(command);
});
