import { describe, expect, test } from "bun:test";
import { parseAnnotations, parseGVariant } from "./gvariant.ts";

describe("parseGVariant", () => {
  test.each<[string, string, unknown]>([
    ["'inactive-or-failed'", "s", "inactive-or-failed"],
    ['"a\\"b\\n\\u0041"', "s", 'a"b\nA'],
    ["true", "b", true],
    ["15", "i", 15n],
    ["-0x10", "i", -16n],
    ["uint64 18446744073709551615", "t", 18446744073709551615n],
    ["@t 5", "t", 5n],
    ["1.5", "d", 1.5],
    ["['a.service', 'b.service']", "as", ["a.service", "b.service"]],
    ["@as []", "as", []],
    ["[uint32 1, 2]", "au", [1n, 2n]],
    ["objectpath '/a'", "o", "/a"],
  ])("reads %s", (text, signature, value) => {
    expect(parseGVariant(text)).toEqual({ signature, value });
  });

  test.each([
    "",
    "[]",
    "'open",
    "uint32 -1",
    "byte 256",
    "2147483648",
    "true false",
    "string 5",
    "foo 5",
    "['a', 5]",
    "@au ['a']",
  ])("refuses %j", (text) => {
    expect(() => parseGVariant(text)).toThrow("column");
  });
});

describe("parseAnnotations", () => {
  test("takes those of systemd's properties and turns seconds into microseconds", () => {
    expect(
      parseAnnotations({
        "org.systemd.property.TimeoutStopSec": "uint64 5",
        "org.systemd.property.RuntimeMaxSec": "0.5",
        "org.systemd.property.CollectMode": "'inactive'",
        "io.kubernetes.cri.container-type": "container",
      }),
    ).toEqual([
      { name: "TimeoutStopUSec", signature: "t", value: 5_000_000n },
      { name: "RuntimeMaxUSec", signature: "t", value: 500_000n },
      { name: "CollectMode", signature: "s", value: "inactive" },
    ]);
  });

  test.each([
    ["org.systemd.property.killMode", "'none'"],
    ["org.systemd.property.TimeoutStopSec", "'soon'"],
    ["org.systemd.property.KillSignal", "fifteen"],
  ])("names the annotation that is wrong: %s", (key, value) => {
    expect(() => parseAnnotations({ [key]: value })).toThrow(`invalid annotations: "${key}"`);
  });
});
