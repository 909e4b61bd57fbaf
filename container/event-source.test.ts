import { describe, expect, test } from "bun:test";
import { EventSource, moments } from "./event-source.ts";
import { TestRoot } from "./test-container.ts";
import { testRecord } from "./test-record.ts";

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

test("EventSource: a container that was deleted before it could be watched is not taken for one whose id begins with its id", async () => {
  const host = new TestRoot();
  try {
    await host.container("c10");
    const source = await EventSource.open(host.context.root, testRecord("c1", { status: "running" }), false);
    const events = await source.take();
    expect(events.map(({ type, id }) => `${type} ${id}`)).toEqual(["exit c1", "delete c1"]);
    source.close();
  } finally {
    await host.remove();
  }
});
