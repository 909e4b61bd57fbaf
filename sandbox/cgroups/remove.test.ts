import { expect } from "bun:test";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { requires } from "../../test/helpers/requires.ts";
import { waitFor } from "../../test/helpers/runtime.ts";
import { removeCgroup } from "./remove.ts";
import type { CgroupRef } from "./types.ts";

const it = requires("root", "cgroup1");
const top = `/sys/fs/cgroup/pids/cloche-test-remove-${process.pid}`;

function refOf(path: string, owned: string[]): CgroupRef {
  return { driver: "cgroupfs", version: "v1", path, dirs: { pids: path }, owned };
}

it("removeCgroup removes what is below, and accepts that there is nothing", () => {
  mkdirSync(`${top}/a/b/c`, { recursive: true });
  const ref = refOf(`${top}/a`, [top, `${top}/a`]);
  void removeCgroup(ref);
  void removeCgroup(ref);
  expect(existsSync(top)).toBe(false);
});

it("removeCgroup kills who has come into it since all in it were killed, and nobody in a parent", async () => {
  mkdirSync(`${top}/own`, { recursive: true });
  const [late, neighbour] = ["own", "."].map((name) => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    writeFileSync(`${top}/${name}/cgroup.procs`, String(child.pid));
    return child;
  });
  try {
    void removeCgroup(refOf(`${top}/own`, [top, `${top}/own`]));
    expect(existsSync(`${top}/own`)).toBe(false);
    await waitFor("it has been told", () => late?.signalCode === "SIGKILL");
    expect([neighbour?.exitCode, neighbour?.signalCode]).toEqual([null, null]);
  } finally {
    for (const child of [late, neighbour]) child?.kill("SIGKILL");
    await waitFor("the other one has ended", () => neighbour?.signalCode === "SIGKILL");
    void removeCgroup(refOf(top, [top]));
  }
});
