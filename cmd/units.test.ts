import { expect, test } from "bun:test";
import { parseDuration, parseInt64, parseSize } from "./units.ts";

test.each([
  ["0", 0n],
  ["-1", -1n],
  ["1048576", 1048576n],
  ["9223372036854775807", 2n ** 63n - 1n],
  ["64M", 67108864n],
  ["64mb", 67108864n],
  ["64MiB", 67108864n],
  ["1.5 g", 1610612736n],
  ["2k", 2048n],
  ["10b", 10n],
])("parseSize reads %p", (text, bytes) => {
  expect(parseSize("memory", text)).toBe(bytes);
});

test.each(["", "x", "-2", "64X", "1..5", "0x10", "1e3", " 1", "10m10", "9223372036854775808", "9999999p"])(
  "parseSize refuses %p",
  (text) => {
    expect(() => parseSize("memory", text)).toThrow(`invalid value ${JSON.stringify(text)} for flag -memory: must `);
  },
);

test("parseInt64 reads signed whole numbers up to 64 bits", () => {
  expect(parseInt64("x", "-9223372036854775808")).toBe(-(2n ** 63n));
  expect(parseInt64("x", "+7")).toBe(7n);
  for (const text of ["", "1.5", "0x1", "9223372036854775808", "-"]) {
    expect(() => parseInt64("x", text)).toThrow(`invalid value ${JSON.stringify(text)} for flag -x: must `);
  }
});

test.each([
  ["5s", 5000],
  ["1m30s", 90_000],
  ["1.5h", 5_400_000],
  ["250ms", 250],
  ["1s500us", 1000.5],
])("parseDuration reads %p", (text, milliseconds) => {
  expect(parseDuration("interval", text)).toBe(milliseconds);
});

test.each(["", "5", "0s", "-1s", "1d", "s", "1s x", "1 s"])("parseDuration refuses %p", (text) => {
  expect(() => parseDuration("interval", text)).toThrow("must be a duration such as 5s");
});
