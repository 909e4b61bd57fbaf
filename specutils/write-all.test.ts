import { expect, test } from "bun:test";
import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { writeAll } from "./write-all.ts";

test("writeAll fails as write(2) does", () => {
  const fd = openSync("/dev/full", "w");
  expect(() => writeAll(fd, "x")).toThrow("no space left on device");
  closeSync(fd);
});

test("writeAll gets everything through a full non-blocking pipe", async () => {
  const directory = mkdtempSync(join(tmpdir(), "cloche-write-all-"));
  const fifo = join(directory, "fifo");
  execFileSync("mkfifo", [fifo]);
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  // Starts to read when the pipe, which holds 64 KiB, has been full for a while.
  const reader = spawn("sh", ["-c", 'sleep 0.1; head -c 1000000 "$0" | wc -c', fifo], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = text(reader.stdout);
  writeAll(fd, "x".repeat(1_000_000));
  expect((await output).trim()).toBe("1000000");
  closeSync(fd);
  rmSync(directory, { recursive: true });
});
