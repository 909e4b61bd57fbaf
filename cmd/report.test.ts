import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ClocheError, NotFoundError } from "../specutils/errors.ts";
import { failureText } from "./report.ts";

test("failureText is the message of our own errors", () => {
  expect(failureText(new NotFoundError('container "x" does not exist'))).toBe('container "x" does not exist');
});

test("failureText gives failed file operations our form", () => {
  let thrown: unknown;
  try {
    readFileSync("/nope/it's, here");
  } catch (error) {
    thrown = error;
  }
  expect(failureText(thrown)).toBe(`cannot open "/nope/it's, here": no such file or directory`);
});

test("failureText says of anything else that it is a bug", () => {
  expect(failureText(new TypeError("x is undefined"))).toBe("internal error: x is undefined");
  expect(failureText("thrown text")).toBe("internal error: thrown text");
  expect(failureText(undefined)).toBe("internal error: undefined");
});

test("failureText names what failed while cleaning up, after the failure itself", () => {
  const error = new ClocheError("cannot create");
  error.cleanupFailures.push(new ClocheError("cannot remove cgroup"));
  expect(failureText(error)).toBe("cannot create (cleaning up failed too: cannot remove cgroup)");
});

test("failureText is one line without control characters, at most what conmon reads at once", () => {
  expect(failureText(new ClocheError("a\nb\x1b[31m\x7f\u009b é"))).toBe("a\\nb\\u001b[31m\\u007f\\u009b é");
  const long = failureText(new ClocheError("é".repeat(10_000)));
  expect(Buffer.byteLength(long)).toBeLessThan(8191);
  expect(long).toMatch(/^é+ …$/);
});
