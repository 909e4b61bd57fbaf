import { describe, expect, test } from "bun:test";
import { JsonError, MAX_JSON_DEPTH, parseJson, readJson } from "./json.ts";

function errorOf(text: string): string {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
  return "accepted";
}

describe("parseJson", () => {
  test.each([
    "{}",
    "[]",
    "null",
    ' {"a" : [1, -2.5e3, true, false, null, "x\\n\\u00e9\\"" ] , "b":{"c":{}}}\n',
    '{"a":":","b":"\\":"}',
    '{"value":":0","value2":{"x":[[],[{}]]}}',
    '"\u007f\u2028 é 😀"',
    '{"":0}',
    "[0.1234567890123456789, 1e3, 1E-2, -0]",
  ])("reads %s as JSON.parse does", (text) => {
    expect(parseJson(text)).toEqual(JSON.parse(text));
    expect(readJson(text)).toEqual(JSON.parse(text));
  });

  test("keeps integers beyond 2^53 exact, on both sides of the limit", () => {
    expect(parseJson("[9007199254740991,9007199254740992,18446744073709551615,-9223372036854775808]")).toEqual([
      9007199254740991,
      9007199254740992n,
      18446744073709551615n,
      -9223372036854775808n,
    ]);
    expect(parseJson("[1e20]")).toEqual([1e20]);
  });

  test.each([
    "18014398509481984", // 2^54, which JSON.stringify prints as it was
    '{"limit":18014398509481984}',
    '{"limit":9223372036854775807,"swap":-1}',
    '[[{"a":[9007199254740992]}]]',
    "[-0,0.5,1e3,1E400]",
    '{"a":"\\ud800 \\u003c \\u00e9 é"}',
    '{"a":{"b":[]},"c":{}}',
  ])("answers as the reader does: %s", (text) => {
    expect(parseJson(text)).toEqual(readJson(text));
    expect(typeof parseJson(text)).toBe(typeof readJson(text));
  });

  test("refuses a name that appears twice, in compact text as well", () => {
    expect(() => parseJson('{"a":1,"b":{"c":1,"c":1}}')).toThrow('the name "c" appears twice');
    expect(() => parseJson('{"a":1, "a":1}')).toThrow('the name "a" appears twice');
  });

  test("keeps a member called __proto__ a member", () => {
    for (const text of ['{"__proto__":{"x":1}}', '{"__proto__" :{"x":12345678901234567890}}']) {
      const value = parseJson(text) as object;
      expect(Object.keys(value)).toEqual(["__proto__"]);
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    }
  });

  test.each([
    ["", "line 1, column 1: unexpected end of file"],
    ['{"a":1,\n  "b":}', 'line 2, column 7: unexpected "}"'],
    ["{]", 'line 1, column 2: unexpected "]", want a name in quotes'],
    ['{"a" 1}', 'line 1, column 6: unexpected "1", want ":"'],
    ['{"a":1 "b":2}', 'line 1, column 8: unexpected "\\"", want "," or "}"'],
    ["[1 2]", 'line 1, column 4: unexpected "2", want "," or "]"'],
    ["[1,]", 'line 1, column 4: unexpected "]"'],
    ["[01]", 'line 1, column 3: unexpected "1", want "," or "]"'],
    ["[1.]", 'line 1, column 3: unexpected ".", want "," or "]"'],
    ["[.5]", 'line 1, column 2: unexpected "."'],
    ["[+1]", 'line 1, column 2: unexpected "+"'],
    ["[NaN]", 'line 1, column 2: unexpected "N"'],
    ["nul", 'line 1, column 1: unexpected "n"'],
    ["{} {}", 'line 1, column 4: unexpected "{" after the document'],
    ['["abc', "line 1, column 6: unexpected end of file in a string"],
    ['["abc\\"]', "line 1, column 9: unexpected end of file in a string"],
    ['["a\nb"]', "line 1, column 4: control character in a string"],
    ['["\\x"]', "line 1, column 2: invalid escape in a string"],
    ["\ufeff{}", 'line 1, column 1: unexpected "\ufeff"'],
    ["{'a':1}", 'line 1, column 2: unexpected "\'", want a name in quotes'],
    ["[1] // no", 'line 1, column 5: unexpected "/" after the document'],
  ])("refuses %j and says where", (text, message) => {
    expect(errorOf(text)).toBe(message);
  });

  test.each([
    ['{"a":1,"b":{},"a":2}', 'line 1, column 15: the name "a" appears twice'],
    ['{"x":[{"a":1,\n"a":1}]}', 'line 2, column 1: the name "a" appears twice'],
    ['{"a":1,"\\u0061":2}', 'line 1, column 8: the name "a" appears twice'],
    // A string that looks like a name must not make up for the name that is lost.
    ['{"a":1,"a":":"}', 'line 1, column 8: the name "a" appears twice'],
    ['{"a":1,"a" :":"}', 'line 1, column 8: the name "a" appears twice'],
    ['{"a":1,"a" :2}', 'line 1, column 8: the name "a" appears twice'],
    ['{"a" :"\\":","a":2}', 'line 1, column 13: the name "a" appears twice'],
    ['{"__proto__":1,"__proto__":2}', 'line 1, column 16: the name "__proto__" appears twice'],
  ])("refuses a repeated name: %s", (text, message) => {
    expect(errorOf(text)).toBe(message);
  });

  test("allows the same name in two objects", () => {
    expect(parseJson('{"a":{"a":{}},"b":{"a":1}}')).toEqual({ a: { a: {} }, b: { a: 1 } });
  });

  test("refuses what is nested too deep, and reads the level above it", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(errorOf(nested(MAX_JSON_DEPTH))).toBe("accepted");
    expect(errorOf(nested(MAX_JSON_DEPTH + 1))).toContain("nested deeper than 256 levels");
    expect(errorOf("[".repeat(1_000_000))).toContain("nested deeper than 256 levels");
  });
});
