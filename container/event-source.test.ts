import { describe, expect, test } from "bun:test";
import { moments } from "./event-source.ts";

const at = (second: number) => `2026-01-01T00:00:0${second}.000000000Z`;

describe("moments", () => {
  test("are what has changed, in its order", () => {
    const before = { startedAt: at(1), pausedAt: at(2), resumedAt: at(3) };
    expect(moments({}, before)).toEqual([
      ["start", at(1)],
      ["pause", at(2)],
      ["resume", at(3)],
    ]);
    expect(moments(before, before)).toEqual([]);
    expect(moments(before, { ...before, pausedAt: at(4) })).toEqual([["pause", at(4)]]);
    expect(moments(before, { ...before, pausedAt: at(5), resumedAt: at(4) })).toEqual([
      ["resume", at(4)],
      ["pause", at(5)],
    ]);
  });
});
