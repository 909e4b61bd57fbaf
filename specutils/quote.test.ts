import { expect, test } from "bun:test";
import { quote } from "./quote.ts";

test("quote escapes what would break a line or reach a terminal, and leaves other letters", () => {
  expect(quote('a"b\n\u001b[31m\u009b\u2028é😀')).toBe('"a\\"b\\n\\u001b[31m\\u009b\\u2028é😀"');
});

test("quote shortens text after 60 characters", () => {
  expect(quote("x".repeat(60))).toBe(`"${"x".repeat(60)}"`);
  expect(quote("x".repeat(61))).toBe(`"${"x".repeat(60)}…"`);
});
