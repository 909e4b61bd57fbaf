import { describe, expect, test } from "bun:test";
import { checkId, exitPath, lockPath, MAX_ID_LENGTH, parseStateName, statePath } from "./names.ts";

describe("checkId", () => {
  test.each(["a", "c1", "A.b-c+d_e", "..a", "-x", "x".repeat(MAX_ID_LENGTH)])("accepts %p", (id) => {
    checkId(id);
  });
  test.each(["", ".", "..", "a/b", "a b", "ä", "a~b", "a\n", "x".repeat(MAX_ID_LENGTH + 1)])("refuses %p", (id) => {
    expect(() => checkId(id)).toThrow("invalid container ID format");
  });
});

test("the longest names of the longest ids fit into a directory", () => {
  const id = "x".repeat(MAX_ID_LENGTH);
  for (const path of [
    `${statePath("", id, id)}.tmp`,
    exitPath("", id, id),
    `${lockPath("", id)}.break.4194304.9${"0".repeat(19)}`,
  ]) {
    expect(path.length - 1).toBeLessThanOrEqual(255);
  }
});

test("a state file's name stands for one pair of ids only, whatever underscores are in them", () => {
  const pairs = [
    ["a_b", "c"],
    ["a", "b_c"],
    ["a_", "_b"],
    ["_", "_"],
    ["a", "a"],
  ] as const;
  const names = pairs.map(([sandboxId, id]) => statePath("/r", sandboxId, id).slice("/r/".length));
  expect(new Set(names).size).toBe(pairs.length);
  expect(names.map(parseStateName)).toEqual(pairs.map(([sandboxId, id]) => ({ sandboxId, id })));
});

test.each(["c1.lock", "c1_c1.exit", "c1_c1.state.tmp", "c1.state", "a_b_c.state", "_c.state", "c_.state"])(
  "%p is no state file",
  (name) => {
    expect(parseStateName(name)).toBeUndefined();
  },
);
