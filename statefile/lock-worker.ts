/**
 * One of many processes that fight over a lock, for lock.test.ts, which also kills them.
 *
 * Usage: `lock-worker.ts <directory>`. Under the lock it writes its pid to `inside`, and adds one to `counter` in two
 * separate steps, which another process at the same time would disturb. Whoever finds another living process inside
 * writes `violation`. Each wait for the lock that is longer than a second is written to `late`.
 */

import { appendFileSync, readFileSync, rmSync } from "node:fs";
import { isAlive, processRef } from "../specutils/process-ref.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { acquireLock } from "./lock.ts";

const LATE_MS = 1000;
const directory = process.argv[2] ?? ".";
const self = processRef(process.pid);

for (;;) {
  const before = performance.now();
  const release = await acquireLock(`${directory}/c1.lock`);
  const waitedMs = performance.now() - before;
  if (waitedMs > LATE_MS) appendFileSync(`${directory}/late`, `${process.pid} waited ${waitedMs} ms\n`);
  const found = read("inside");
  if (found !== undefined && isAlive(JSON.parse(found))) {
    appendFileSync(`${directory}/violation`, `${process.pid} met ${found}\n`);
  }
  // Whole or not at all: the next one has to understand what one that was killed has left.
  writeFileAtomic(`${directory}/inside`, JSON.stringify(self));
  const count = Number(read("counter") ?? "0");
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
  if (Number(read("counter") ?? "0") !== count) appendFileSync(`${directory}/violation`, `counter changed\n`);
  writeFileAtomic(`${directory}/counter`, String(count + 1));
  rmSync(`${directory}/inside`);
  release();
}

function read(name: string): string | undefined {
  try {
    return readFileSync(`${directory}/${name}`, "utf8");
  } catch {
    return undefined;
  }
}
