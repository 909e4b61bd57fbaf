import { expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { waitFor } from "../test/helpers/runtime.ts";
import {
  isAlive,
  isExecuting,
  isPresent,
  ownProcessRef,
  parseProcessStat,
  processRef,
  zombieStatus,
} from "./process-ref.ts";
import { kill, spawnHelper, waitPid } from "./syscall.ts";

test("parseProcessStat is not misled by a command's name", () => {
  const rest = `S ${Array.from({ length: 49 }, (_, index) => index + 4).join(" ")}`;
  expect(parseProcessStat(`7 (a) R 1 (b c) ${rest}\n`)).toEqual({
    state: "S",
    name: "a) R 1 (b c",
    startTime: "22",
    isExiting: false,
    threads: 20,
    waitStatus: 52,
  });
  expect(parseProcessStat("7 (a")).toBeUndefined();
});

test("isExecuting: what has been killed runs no code of its own, even if it is still there", async () => {
  const pid = spawnHelper("/bin/sleep", ["sleep", "600"], [], []);
  const ref = processRef(pid) ?? { pid, startTime: "" };
  expect(isExecuting(ref)).toBe(true);
  kill(pid, 9);
  // Between taking the signal and beginning to exit there is nothing to be seen of either.
  await waitFor("it is on its way out", () => !isExecuting(ref));
  expect(isExecuting(ref)).toBe(false);
  expect(isPresent(ref)).toBe(true);
  waitPid(pid);
  const fields = Array.from({ length: 50 }, () => 0);
  const stat = (field: number, value: number) => `7 (a) S ${fields.with(field - 4, value).join(" ")}\n`;
  expect([stat(9, 0x4), stat(9, 0x8), stat(31, 0x100)].map((text) => parseProcessStat(text)?.isExiting)).toEqual([
    true,
    false,
    true,
  ]);
});

test("ownProcessRef is this process, and it is alive", () => {
  expect(ownProcessRef().pid).toBe(process.pid);
  expect(readFileSync("/proc/self/stat", "latin1").split(" ")).toContain(ownProcessRef().startTime);
  expect(isAlive(ownProcessRef())).toBe(true);
});

test("another start time is another process", () => {
  expect(isAlive({ pid: process.pid, startTime: "1" })).toBe(false);
});

test("a process that has ended is not alive", () => {
  const { pid } = spawnSync("true");
  expect(processRef(pid)).toBeUndefined();
  expect(isAlive({ pid, startTime: "1" })).toBe(false);
});

test("a zombie is there, and not alive", async () => {
  const pid = spawnHelper("/bin/true", ["true"], [], []);
  while (processRef(pid) === undefined || isAlive(processRef(pid) ?? { pid, startTime: "" })) await Bun.sleep(1);
  const ref = processRef(pid);
  expect(ref !== undefined && isPresent(ref)).toBe(true);
  waitPid(pid);
  expect(ref !== undefined && isPresent(ref)).toBe(false);
});

test.each([
  ["exit 42", 42 << 8],
  ["kill -9 $$", 9],
])("zombieStatus tells how a process ended that nobody has waited for: %s", async (script, status) => {
  const pid = spawnHelper("/bin/sh", ["sh", "-c", script], [], []);
  const ref = processRef(pid) ?? { pid, startTime: "" };
  while (isAlive(ref)) await Bun.sleep(1);
  expect(zombieStatus(ref)).toBe(status);
  waitPid(pid);
  expect(zombieStatus(ref)).toBeUndefined();
  expect(zombieStatus(ownProcessRef())).toBeUndefined();
});

test("zombieStatus does not take what it may not know for a success", async () => {
  const pid = spawnHelper("/bin/sh", ["sh", "-c", "exit 42"], [], []);
  const ref = processRef(pid) ?? { pid, startTime: "" };
  while (isAlive(ref)) await Bun.sleep(1);
  const script =
    "const { zombieStatus } = await import(process.env.MODULE); console.log(zombieStatus(JSON.parse(process.env.REF)))";
  const env = { ...process.env, MODULE: `${import.meta.dirname}/process-ref.ts`, REF: JSON.stringify(ref) };
  const options = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const { stdout } = spawnSync(process.execPath, ["-e", script], { ...options, env, encoding: "utf8", cwd: "/" });
  waitPid(pid);
  expect(stdout).toBe(process.getuid?.() === 0 ? "undefined\n" : `${42 << 8}\n`);
});

test("a process whose main thread has ended is alive while another thread runs", async () => {
  const script =
    "import threading, time, ctypes; threading.Thread(target=time.sleep, args=(30,)).start(); ctypes.CDLL(None).pthread_exit(None)";
  const child = spawn("python3", ["-c", script], { stdio: "ignore" });
  try {
    const pid = child.pid ?? 0;
    while (!readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ")) await Bun.sleep(5);
    expect(isAlive(processRef(pid) ?? { pid, startTime: "" })).toBe(true);
  } finally {
    child.kill("SIGKILL");
  }
});
