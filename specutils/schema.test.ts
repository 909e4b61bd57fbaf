import { describe, expect, test } from "bun:test";
import { SpecError } from "./errors.ts";
import { type Json, parseJson } from "./json.ts";
import {
  absolutePath,
  anyText,
  bool,
  type Check,
  id,
  int64,
  integer,
  list,
  nonEmptyText,
  object,
  oneOf,
  optional,
  optionalText,
  read,
  record,
  required,
  text,
  uint64,
} from "./schema.ts";

function errorOf(value: Json, check: Check<unknown>): SpecError {
  try {
    read("document", value, check);
  } catch (error) {
    if (error instanceof SpecError) return error;
    throw error;
  }
  throw new Error("accepted");
}

interface Inner {
  name: string;
  flags?: string[];
}
interface Outer {
  inner?: Inner;
  note?: string;
  sizes?: Record<string, bigint>;
}
const inner = object<Inner>("inner.md", () => ({
  name: required(nonEmptyText),
  flags: optional(list(oneOf(["a", "b"]))),
}));
const outer = object<Outer>("outer.md", () => ({
  inner: optional(inner),
  note: optionalText(text),
  sizes: optional(record(uint64, nonEmptyText)),
}));

describe("object", () => {
  test("keeps known fields, converted, and ignores unknown ones", () => {
    const value = parseJson('{"inner":{"name":"x","more":1},"note":"n","sizes":{"__proto__":1},"constructor":{}}');
    const result = read("document", value, outer);
    expect(Object.keys(result)).toEqual(["inner", "note", "sizes"]);
    expect(result.inner).toEqual({ name: "x" });
    expect(Object.entries(result.sizes ?? {})).toEqual([["__proto__", 1n]]);
  });

  test("takes null, and an empty string where one is optional, as absent", () => {
    expect(read("document", { inner: null, note: "", sizes: null }, outer)).toEqual({});
    expect(errorOf({ inner: { name: null } }, outer).message).toBe(
      "invalid document: inner.name: is required (inner.md)",
    );
    expect(errorOf({ inner: { name: "" } }, outer).message).toBe("invalid document: inner.name: must not be empty");
    expect(errorOf({ inner: "" }, outer).message).toBe('invalid document: inner: got "", want an object');
  });

  test("names the field in errors, also after a sibling that went deeper", () => {
    const error = errorOf({ inner: { name: "x", flags: ["a", "c"] } }, outer);
    expect(error.message).toBe('invalid document: inner.flags[1]: got "c", want one of a, b');
    expect(error.field).toBe("inner.flags[1]");
    expect(errorOf({ inner: { name: "x", flags: ["a"] }, sizes: { "a b": -1 } }, outer).message).toBe(
      'invalid document: sizes["a b"]: got -1, want an integer from 0 to 18446744073709551615',
    );
    expect(errorOf([], outer).message).toBe("invalid document: got an array, want an object");
    expect(errorOf({ sizes: { "": 1 } }, outer).message).toBe('invalid document: sizes[""]: must not be empty');
  });
});

describe("values", () => {
  test.each([
    [integer(0, 9), 10, "got 10, want an integer from 0 to 9"],
    [integer(0, 9), -1, "got -1, want an integer from 0 to 9"],
    [integer(0, 9), 1.5, "got 1.5, want an integer from 0 to 9"],
    [integer(0, 9), "1", 'got "1", want an integer from 0 to 9'],
    [integer(0, 9), 2n ** 64n, "got 18446744073709551616, want an integer from 0 to 9"],
    [uint64, 2n ** 64n, "got 18446744073709551616, want an integer from 0 to 18446744073709551615"],
    [uint64, 1e300, "got 1e+300, want an integer from 0 to 18446744073709551615"],
    [int64, -(2n ** 63n) - 1n, /^invalid document: got -9223372036854775809, want/],
    [id, 2 ** 32 - 1, "got 4294967295, want an integer from 0 to 4294967294"],
    [text, "a\0b", "must not contain a NUL byte"],
    [text, 5, "got 5, want a string"],
    [bool, 0, "got 0, want true or false"],
    [bool, null, "got null, want true or false"],
    [absolutePath("x.md"), "a", 'got "a", want an absolute path (x.md)'],
    [list(bool), {}, "got an object, want an array"],
    [list(bool), [true, null], "[1]: got null, want true or false"],
    [record(bool), [], "got an array, want an object"],
    [oneOf(["toString"]), "constructor", 'got "constructor", want one of toString'],
  ] as [Check<unknown>, Json, string | RegExp][])("%# is refused", (check, value, message) => {
    const expected = typeof message === "string" ? `invalid document: ${message}` : message;
    expect(errorOf(value, check).message).toMatch(expected);
  });

  test.each([
    [integer(0, 9), 9, 9],
    [integer(0, 9), -0, 0],
    [uint64, 2n ** 64n - 1n, 2n ** 64n - 1n],
    [uint64, 5, 5n],
    [int64, -(2n ** 63n), -(2n ** 63n)],
    [id, 2 ** 32 - 2, 2 ** 32 - 2],
    [anyText, "a\0b", "a\0b"],
    [absolutePath("x.md"), "/", "/"],
  ] as [Check<unknown>, Json, unknown][])("%# is accepted", (check, value, result) => {
    expect(read("document", value, check)).toBe(result);
  });
});
