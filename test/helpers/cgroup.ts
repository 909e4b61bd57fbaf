/** Cgroups for tests: made through the modules that `create` uses, around a process of the test's own. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createCgroup } from "../../sandbox/cgroups/create.ts";
import { cgroupPids, killCgroup } from "../../sandbox/cgroups/members.ts";
import { type CgroupInput, planCgroup } from "../../sandbox/cgroups/plan.ts";
import { probeCgroupHost } from "../../sandbox/cgroups/probe.ts";
import { removeCgroup } from "../../sandbox/cgroups/remove.ts";
import type { CgroupRef } from "../../sandbox/cgroups/types.ts";

let counter = 0;

/** A name that no other test has. */
export function uniqueName(): string {
  counter += 1;
  return `cgtest-${process.pid}-${counter}`;
}

/** A process that sleeps until it is killed. */
export function startSleeper(): ChildProcess & { pid: number } {
  return startScript("exec sleep 1000");
}

/** A shell script; its standard input is a pipe and its output is collected by the caller. */
export function startScript(script: string): ChildProcess & { pid: number } {
  const child = spawn("/bin/sh", ["-c", script], { stdio: ["pipe", "pipe", "pipe"] });
  if (child.pid === undefined) throw new Error("cannot start a shell");
  return child as ChildProcess & { pid: number };
}

/** Makes a cgroup by a plan, with defaults for what the test does not care about. */
export async function makeCgroup(input: Partial<CgroupInput>, pid?: number): Promise<CgroupRef> {
  const name = uniqueName();
  const plan = planCgroup({
    id: name,
    cgroupsPath: undefined,
    resources: undefined,
    systemd: false,
    annotations: {},
    host: probeCgroupHost(),
    ...input,
  });
  return createCgroup(plan, pid);
}

/** Makes a cgroup with a sleeper in it, hands both to `use`, and takes them away again, checking that nothing stays. */
export async function withCgroup(
  input: Partial<CgroupInput>,
  use: (ref: CgroupRef, child: ChildProcess & { pid: number }) => unknown,
): Promise<void> {
  const child = startSleeper();
  try {
    const ref = await makeCgroup(input, child.pid);
    try {
      await use(ref, child);
    } finally {
      killCgroup(ref, 9);
      await removeCgroup(ref);
    }
    const left = ref.owned.filter((dir) => existsSync(dir));
    if (left.length > 0 || cgroupPids(ref).length > 0) throw new Error(`left behind: ${left.join(", ")}`);
  } finally {
    child.kill("SIGKILL");
  }
}

/** The trimmed content of a file of the cgroup. */
export function readCgroup(ref: CgroupRef, controller: string, file: string): string {
  return readFileSync(`${ref.dirs[controller]}/${file}`, "utf8").trim();
}

/** How a child ended: `exit 0` or `signal SIGKILL`. */
export function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exit ${code}` : `signal ${signal}`));
  });
}

/** Waits until a condition holds, for half a minute at most: a virtual machine without KVM is slow. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`did not happen in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
