import { expect, test } from "bun:test";
import { EXIT_FILE_START, exitCodeOf, formatTime, parseExitRecord, readExitRecord } from "./exit-record.ts";

test("parseExitRecord reads what the sandbox process writes", () => {
  const at = "2026-01-02T03:04:05.000000006Z";
  const ns = BigInt(Date.parse("2026-01-02T03:04:05Z")) * 1_000_000n + 6n;
  expect(parseExitRecord(`exited 42 ${ns}\n`)).toEqual({ exitCode: 42, at });
  expect(parseExitRecord(`${EXIT_FILE_START}signaled 9 ${ns}\n`)).toEqual({ signal: 9, at });
});

test.each(["", EXIT_FILE_START, "exited 4", "exited 42 1", "exited -1 1\n", "ended 1 1\n", "exited 1\n"])(
  "parseExitRecord takes %p for not written yet",
  (text) => {
    expect(parseExitRecord(text)).toBeUndefined();
  },
);

test("readExitRecord: no file, no record", () => {
  expect(readExitRecord("/nonexistent/c1_c1.exit")).toBeUndefined();
});

test("exitCodeOf adds 128 to a signal", () => {
  expect(exitCodeOf({ exitCode: 0, at: "" })).toBe(0);
  expect(exitCodeOf({ signal: 15, at: "" })).toBe(143);
});

test("formatTime keeps nanoseconds", () => {
  expect(formatTime(1_999_999_999n)).toBe("1970-01-01T00:00:01.999999999Z");
});
