import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { IN, Inotify } from "./inotify.ts";
import { POLLIN } from "./syscall/constants.ts";
import { poll } from "./syscall.ts";

let directory: string;
let inotify: Inotify;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/cloche-inotify-`);
  inotify = new Inotify();
});
afterEach(() => {
  inotify.close();
  rmSync(directory, { recursive: true });
});

const isTold = () => poll([{ fd: inotify.fd, events: POLLIN }], 0)[0] !== 0;

test("tells that another file was renamed over the watched one, until that is taken", () => {
  const [file, next] = [`${directory}/f`, `${directory}/f.tmp`];
  writeFileSync(file, "");
  expect(inotify.watch(file, IN.ATTRIB | IN.DELETE_SELF)).toBe(true);
  expect(isTold()).toBe(false);
  expect(inotify.take()).toBe(false);
  for (let round = 0; round < 3; round++) {
    writeFileSync(next, "");
    renameSync(next, file);
    expect(isTold()).toBe(true);
    expect(inotify.take()).toBe(true);
    expect(isTold()).toBe(false);
    // The file of that name is another one now.
    expect(inotify.watch(file, IN.ATTRIB | IN.DELETE_SELF)).toBe(true);
  }
});

test("tells of writing when that is asked for, and of nothing else", () => {
  const [file, other] = [`${directory}/f`, `${directory}/g`];
  writeFileSync(file, "");
  inotify.watch(file, IN.MODIFY);
  writeFileSync(other, "x");
  expect(isTold()).toBe(false);
  writeFileSync(file, "x", { flag: "a" });
  expect(isTold()).toBe(true);
});

test("says that there is no such file", () => {
  expect(inotify.watch(`${directory}/nope`, IN.MODIFY)).toBe(false);
});
