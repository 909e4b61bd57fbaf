/** What an idle gofer keeps of its own (proc(5), smaps_rollup). The figures are in docs/GOFER.md. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { waitFor } from "../helpers/runtime.ts";
import { serveTree } from "../helpers/served-tree.ts";

const it = requires("root", "CAP_SYS_ADMIN", "fuse");

/** Sum of fields of smaps_rollup, in KiB. */
function sum(pid: number, fields: RegExp): number {
  const found = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(fields);
  return [...found].reduce((total, [, kib]) => total + Number(kib), 0);
}

/** KiB that nobody else uses. */
function privateKiB(pid: number): number {
  return sum(pid, /^Private_(?:Clean|Dirty): +(\d+) kB$/gm);
}

/** KiB that were written to. */
function anonymousKiB(pid: number): number {
  return sum(pid, /^Anonymous: +(\d+) kB$/gm);
}

/** How often its threads have begun or ended to run. */
function switches(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8")
      .split("\n")
      .filter((line) => line.includes("ctxt_switches")),
  );
}

/** Waits until it sleeps without an end. */
async function idle(pid: number): Promise<void> {
  let before: string[] = [];
  await waitFor("the gofer is idle", () => {
    const now = switches(pid);
    const isSame = now.join() === before.join();
    before = now;
    Bun.sleepSync(4_000);
    return isSame;
  }, 40_000); // biome-ignore format: short
}

it("memory: an idle gofer has less than 8 MiB of its own, and less than 3.5 beside another one", async () => {
  const tree = serveTree();
  try {
    writeFileSync(path.join(tree.mountPoint, "file"), "");
    await waitFor("the engine's code is unmapped", () => privateKiB(tree.gofer.pid) < 8 * 1024);
    const other = serveTree();
    try {
      writeFileSync(path.join(other.mountPoint, "file"), "");
      const pids = [tree.gofer.pid, other.gofer.pid];
      await waitFor("what both have is not one's own", () => pids.every((pid) => privateKiB(pid) < 3.5 * 1024));
    } finally {
      other.end();
    }
  } finally {
    tree.end();
  }
});

it("memory: after 20,000 files were seen the kernel is asked to forget them, and then nothing wakes the gofer up", async () => {
  const tree = serveTree();
  try {
    for (let directory = 0; directory < 100; directory++) {
      mkdirSync(path.join(tree.source, String(directory)));
      for (let file = 0; file < 200; file++) writeFileSync(path.join(tree.source, `${directory}/${file}`), "");
    }
    const look = () => readdirSync(tree.mountPoint, { recursive: true, withFileTypes: true }).length;
    for (let round = 0; round < 3; round++) expect(look()).toBe(20_100);
    await idle(tree.gofer.pid);
    // It was over 20 MiB that had been written to.
    expect(anonymousKiB(tree.gofer.pid)).toBeLessThan(10 * 1024);
    // What was forgotten is found again.
    expect(look()).toBe(20_100);
    rmSync(path.join(tree.mountPoint, "7"), { recursive: true });
    expect(readdirSync(tree.source).length).toBe(99);
  } finally {
    tree.end();
  }
}, 90_000);
