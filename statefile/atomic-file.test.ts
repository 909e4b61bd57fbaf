import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { mount, umount } from "../specutils/syscall.ts";
import { removeFile, temporaryPath, writeFileAtomic } from "./atomic-file.ts";

const isRoot = process.getuid?.() === 0;
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/cloche-atomic-`);
});
afterEach(() => rmSync(directory, { recursive: true }));

test("writeFileAtomic replaces a file, readable by its owner alone, and what a killed writer has left", () => {
  const path = `${directory}/f`;
  writeFileSync(path, "old", { mode: 0o644 });
  writeFileSync(temporaryPath(path), "left behind, and longer than what comes now", { mode: 0o600 });
  writeFileAtomic(path, "new ü");
  expect(readFileSync(path, "utf8")).toBe("new ü");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(directory)).toEqual(["f"]);
});

test.skipIf(!isRoot)("writeFileAtomic on a full disk throws, and leaves the file as it was", () => {
  mount("tmpfs", directory, "tmpfs", 0, "size=16k");
  try {
    const path = `${directory}/f`;
    writeFileAtomic(path, "old");
    expect(() => writeFileAtomic(path, "x".repeat(100_000))).toThrow("no space left on device");
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(directory)).toEqual(["f"]);
  } finally {
    umount(directory, 0);
  }
});

test("writeFileAtomic into a directory that is gone throws", () => {
  expect(() => writeFileAtomic(`${directory}/nope/f`, "x")).toThrow("ENOENT");
});

test("removeFile removes a file, and accepts that there is none", () => {
  writeFileSync(`${directory}/f`, "");
  removeFile(`${directory}/f`);
  removeFile(`${directory}/f`);
  expect(readdirSync(directory)).toEqual([]);
});
