import { expect, test } from "bun:test";
import { spanLines } from "./trace.ts";

test("spanLines indents what lies within", () => {
  const spans = [
    { name: "run", startMs: 1, endMs: 9 },
    { name: "lock", startMs: 2, endMs: 5.5 },
    { name: "save", startMs: 3, endMs: 4 },
    { name: "plan", startMs: 6, endMs: 7 },
    { name: "end", startMs: 9, endMs: 10 },
  ];
  expect(spanLines(spans)).toEqual([
    "span run: 8.00 ms from 1.00 ms on",
    "span   lock: 3.50 ms from 2.00 ms on",
    "span     save: 1.00 ms from 3.00 ms on",
    "span   plan: 1.00 ms from 6.00 ms on",
    "span end: 1.00 ms from 9.00 ms on",
  ]);
});
