/** What a gofer policy's file may say; that it holds is in test/posture/sandboxed-policy.test.ts. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import path from "node:path";
import { parseGoferPolicy } from "./gofer-policy.ts";

const parse = (text: string) => parseGoferPolicy(text, (reason) => new Error(reason) as never);

test("parseGoferPolicy reads every field", async () => {
  const { audit, mounts } = await parse(`
    audit = "/var/log/audit.jsonl"
    [mounts."*"]
    hidden = ["**/.ssh"]
    [mounts."/data"]
    file-access = "served"
    hidden = ["secret"]
    read-only = ["etc/*", "/lock"]
    logged = ["**"]
    max-bytes = 1_000_000
    max-files = 10
  `);
  expect(audit).toBe("/var/log/audit.jsonl");
  expect(mounts.get("*")).toMatchObject({ hidden: ["**/.ssh"], readOnly: [], maxBytes: 0, fileAccess: undefined });
  expect(mounts.get("/data")).toEqual({
    hidden: ["secret"],
    readOnly: ["etc/*", "/lock"],
    logged: ["**"],
    maxBytes: 1_000_000,
    maxFiles: 10,
    fileAccess: "served",
  });
});

test("parseGoferPolicy reads the example of docs/GOFER.md", async () => {
  const text = readFileSync(path.join(import.meta.dirname, "../docs/GOFER.md"), "utf8");
  const [, example = ""] = /```toml\n(.*?)```/s.exec(text) ?? [];
  expect([...(await parse(example)).mounts.keys()]).toEqual(["*", "/data", "/cache"]);
});

describe("parseGoferPolicy refuses, in one line that names the field,", () => {
  test.each([
    ["mount = 1", "mount: unknown key, known are audit, mounts"],
    ["__proto__ = 1", "__proto__: unknown key, known are audit, mounts"],
    ["audit = 'here.jsonl'", "audit: must be the absolute path of a file"],
    ["audit = true", "audit: must be the absolute path of a file"],
    ["mounts = []", "mounts: must be a table"],
    ["mounts = 2026-01-01", "mounts: must be a table"],
    ["mounts.'/data' = 1", 'mounts."/data": must be a table'],
    ["[mounts.data]", 'mounts."data": must be "*" or the destination of a mount'],
    ["[mounts.'/data/']", 'mounts."/data/": must be "*" or the destination of a mount'],
    ["[mounts.'/a/../b']", 'mounts."/a/../b": must be "*" or the destination of a mount'],
    ["[mounts.'/d']\nhide = []", 'mounts."/d".hide: unknown key, known are hidden, read-only, logged, max-bytes, '],
    ["[mounts.'/d']\ntoString = 1", 'mounts."/d".toString: unknown key, known are hidden, '],
    ["[mounts.'/d']\nhidden = 'a'", 'mounts."/d".hidden: must be a list of globs'],
    ["[mounts.'/d']\nread-only = [1]", 'mounts."/d".read-only: must be a list of globs'],
    ["[mounts.'/d']\nhidden = ['a', '../b']", 'mounts."/d".hidden[1]: "../b": names and globs of names are wanted'],
    ["[mounts.'/d']\nlogged = ['']", 'mounts."/d".logged[0]: "": names and globs of names are wanted'],
    ["[mounts.'/d']\nmax-bytes = 0", 'mounts."/d".max-bytes: must be a whole number from 1 on'],
    ["[mounts.'/d']\nmax-bytes = '1G'", 'mounts."/d".max-bytes: must be a whole number from 1 on'],
    ["[mounts.'/d']\nmax-files = 1.5", 'mounts."/d".max-files: must be a whole number from 1 on'],
    ["[mounts.'/d']\nfile-access = 'mine'", 'mounts."/d".file-access: must be one of auto, donated, served'],
    [
      "[mounts.'/d']\nfile-access = 'donated'\nhidden = ['a']",
      'mounts."/d".file-access: what is donated has no policy',
    ],
    ["[mounts.'/d']\n[mounts.'/d']", "line 2, column"],
    ["mounts = ", "line 1, column"],
    [`audit = "/${"a".repeat(40_000)}"`, "larger than 32768 bytes"],
  ])("%p", async (text, reason) => {
    const failure = await parse(text).catch((error) => error);
    expect(failure.message).toStartWith(reason);
    expect(failure.message).not.toContain("\n");
  });
});
