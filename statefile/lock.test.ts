import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { ownProcessRef } from "../specutils/process-ref.ts";
import { kill, spawnHelper, waitPid } from "../specutils/syscall.ts";
import { acquireLock, LockError } from "./lock.ts";

let directory: string;
let lock: string;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/cloche-lock-`);
  lock = `${directory}/c1.lock`;
});
afterEach(() => rmSync(directory, { recursive: true }));

/** How long `call` takes, in ms. */
async function timed(call: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await call();
  return performance.now() - before;
}

const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
const pidNamespace = readlinkSync("/proc/self/ns/pid");

/** A pid and start time of a process that has ended. */
function deadProcess(): string {
  const { stdout } = spawnSync("sh", ["-c", "cut -d' ' -f1,22 /proc/$$/stat"], { encoding: "utf8" });
  return stdout.trim();
}

describe("acquireLock", () => {
  test("leaves nothing behind when it is released", async () => {
    const release = await acquireLock(lock);
    await expect(readlinkSync(lock).split(" ")[0]).toBe(String(process.pid));
    release();
    expect(readdirSync(directory)).toEqual([]);
  });

  test("waits for a holder in the same process", async () => {
    const order: string[] = [];
    const release = await acquireLock(lock);
    const second = acquireLock(lock).then((releaseSecond) => {
      order.push("second");
      releaseSecond();
    });
    await sleep(20);
    order.push("first");
    release();
    await second;
    expect(order).toEqual(["first", "second"]);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("names the holder when a living one keeps it too long", async () => {
    const release = await acquireLock(lock);
    const attempt = acquireLock(lock, 50);
    await expect(attempt).rejects.toThrow(`locked by process ${process.pid} for more than 0.05 seconds`);
    await expect(attempt).rejects.toBeInstanceOf(LockError);
    await attempt.catch(() => {});
    release();
  });

  test.each([
    ["that has ended", () => `${deadProcess()} ${pidNamespace} ${bootId}`],
    ["whose pid is another process's now", () => `${process.pid} 1 ${pidNamespace} ${bootId}`],
    ["of an earlier boot", () => `${ownProcessRef().pid} ${ownProcessRef().startTime} ${pidNamespace} other-boot`],
  ])("takes the lock of an owner %s at once", async (_, owner) => {
    symlinkSync(owner(), lock);
    const waitedMs = await timed(async () => (await acquireLock(lock))());
    await expect(waitedMs).toBeLessThan(100);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("takes the claim of a breaker that was killed, too", async () => {
    const [pid, startTime] = deadProcess().split(" ");
    const breaker = `${deadProcess()} ${pidNamespace} ${bootId}`;
    symlinkSync(`${pid} ${startTime} ${pidNamespace} ${bootId}`, lock);
    symlinkSync(breaker, `${lock}.break.${pid}.${startTime}`);
    (await acquireLock(lock, 1000))();
    expect(readdirSync(directory)).toEqual([]);
  });

  test("does not take the lock of a living owner in another pid namespace", async () => {
    symlinkSync(`1 1 pid:[1] ${bootId}`, lock);
    await acquireLock(lock, 50).catch(() => {});
    expect(readlinkSync(lock)).toBe(`1 1 pid:[1] ${bootId}`);
  });

  test("says what keeps the lock from being made", async () => {
    await expect(acquireLock(`${directory}/nope/c1.lock`)).rejects.toThrow("ENOENT");
  });

  test("one process at a time holds it, whoever is killed and when", async () => {
    const nobody = openSync("/dev/null", "r+");
    const workers: number[] = [];
    const start = () => {
      const argv = [process.execPath, `${import.meta.dirname}/lock-worker.ts`, directory];
      workers.push(
        spawnHelper(
          process.execPath,
          argv,
          [`HOME=${directory}`],
          [0, 1, 2].map((fd) => [fd, nobody]),
        ),
      );
    };
    const end = (pid: number) => {
      kill(pid, constants.signals.SIGKILL);
      waitPid(pid);
    };
    for (let count = 0; count < 5; count++) start();
    const counter = `${directory}/counter`;
    const count = () => (existsSync(counter) ? Number(readFileSync(counter, "utf8")) : 0);
    for (let kills = 0, seen = 0; kills < 40; kills++, seen = count()) {
      await sleep(20 + Math.random() * 60);
      // On a busy machine a worker would be killed before it has begun.
      for (let waited = 0; count() < seen + 3 && waited < 2000; waited += 20) await sleep(20);
      for (const victim of workers.splice(Math.floor(Math.random() * workers.length), 1)) end(victim);
      start();
    }
    await sleep(300);
    for (const worker of workers) end(worker);
    closeSync(nobody);

    expect(existsSync(`${directory}/violation`) && readFileSync(`${directory}/violation`, "utf8")).toBe(false);
    expect(existsSync(`${directory}/late`) && readFileSync(`${directory}/late`, "utf8")).toBe(false);
    expect(count()).toBeGreaterThan(100);
    const waitedMs = await timed(async () => (await acquireLock(lock))());
    expect(waitedMs).toBeLessThan(100);
    expect(readdirSync(directory).filter((name) => name.includes(".lock"))).toEqual([]);
  }, 120_000);
});
