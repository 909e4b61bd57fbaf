import { describe, expect, test } from "bun:test";
import { Globs } from "./policy.ts";

describe("Globs.covers", () => {
  test.each([
    ["secret", "secret", true],
    ["/secret", "secret", true],
    ["secret/", "secret", true],
    ["secret", "secret/below/it", true],
    ["secret", "a/secret", false],
    ["secret", "secrets", false],
    ["a/*.key", "a/x.key", true],
    ["a/*.key", "a/b/x.key", false],
    ["a/*.key", "a/x.key2", false],
    ["a/**/x", "a/x", true],
    ["a/**/x", "a/b/c/x", true],
    ["a/**/x", "b/a/x", false],
    ["**/.ssh", ".ssh", true],
    ["**/.ssh", "home/u/.ssh/id", true],
    ["**", "", true],
    ["**", "anything/at/all", true],
    ["?", "a", true],
    ["?", "ab", false],
    ["a.b", "aXb", false],
    ["[x]", "[x]", true],
    ["\u00e9*", Buffer.from("\u00e9tude").toString("latin1"), true],
    ["a/b", "a", false],
    ["*", "*", true],
    ["a*b*c", "axbxbxc", true],
    ["a*b*c", "axbxbx", false],
    ["a**", "a", true],
    ["?*?", "ab", true],
    ["?*?", "a", false],
    ["*a", "ba/x", true],
  ])("%j covers %j: %p", (glob, path, expected) => {
    expect(new Globs([glob]).covers(path)).toBe(expected);
  });

  test("takes no longer for names that are made to take long", () => {
    const begin = performance.now();
    expect(new Globs([`${"*a".repeat(20)}b`]).covers("a".repeat(255))).toBe(false);
    expect(performance.now() - begin).toBeLessThan(100);
  });

  test("one of several is enough, none matches nothing", () => {
    expect(new Globs(["x", "y"]).covers("y/z")).toBe(true);
    expect(new Globs([]).covers("y")).toBe(false);
  });
});

describe("Globs.dependsOn", () => {
  test.each([
    ["data/secret", "data", true],
    ["data/secret", "other", false],
    ["data/secret", "data/other", false],
    ["**/secret", "anything", false],
    ["**/a/secret", "x/a", true],
    ["**/a/secret", "x/b", false],
    ["a/**/secret", "a/x", true],
    ["a/**/secret", "b", false],
  ])("%j depends on where %j is: %p", (glob, path, expected) => {
    expect(new Globs([glob]).dependsOn(path)).toBe(expected);
  });
});

test.each(["", "/", "a//b", "../x", "a/./b", Array(32).fill("a").join("/")])("%j is no glob", (glob) => {
  expect(() => new Globs([glob])).toThrow("names and globs of names are wanted");
});
