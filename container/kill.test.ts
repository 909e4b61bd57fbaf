import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { cgroupPids } from "../sandbox/cgroups/members.ts";
import { NotFoundError, StatusError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { killContainer } from "./kill.ts";
import { pauseContainer } from "./pause.ts";
import { waitForEnd } from "./signal-process.ts";
import { readRecord } from "./store.ts";
import { TestRoot } from "./test-container.ts";

const isRoot = process.getuid?.() === 0;
const one = { all: false };
const all = { all: true };

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

describe("kill", () => {
  test.each([
    ["SIGTERM", 15],
    ["SIGKILL", 9],
    ["a real-time signal", 40],
  ])("sends %s to the container process", async (_, signal) => {
    const { child, ref } = host.start();
    const ended = once(child, "exit");
    await host.container("c1", { process: ref });
    await killContainer(host.context, "c1", signal, one);
    await ended;
    expect(isAlive(ref)).toBe(false);
    expect((await readRecord(host.context.root, "c1")).status).toBe("stopped");
  });

  test("signal 0 finds a living process, and does nothing to it", async () => {
    const { process } = await host.container("c1");
    await killContainer(host.context, "c1", 0, one);
    expect(isAlive(process)).toBe(true);
  });

  test("works on a created container", async () => {
    const { process } = await host.container("c1", { status: "created" });
    await killContainer(host.context, "c1", 9, one);
    expect(waitForEnd(process, 1000)).toBe(true);
  });

  test.each([0, 9, 15])("signal %p fails on a stopped container", async (signal) => {
    await host.container("c1", { process: { pid: process.pid, startTime: "1" } });
    const attempt = killContainer(host.context, "c1", signal, one);
    await expect(attempt).rejects.toThrow('cannot kill container "c1": container not running (status is "stopped")');
    await expect(attempt).rejects.toBeInstanceOf(StatusError);
  });

  test("does not signal a process that has the pid of the container process now", async () => {
    const { ref } = host.start();
    await host.container("c1", { process: { ...ref, startTime: "1" } });
    await killContainer(host.context, "c1", 9, all);
    expect(isAlive(ref)).toBe(true);
  });

  test("takes no prefix for an id", async () => {
    const { process } = await host.container("web2");
    const attempt = killContainer(host.context, "web", 9, one);
    await expect(attempt).rejects.toThrow('container "web" does not exist');
    await expect(attempt).rejects.toBeInstanceOf(NotFoundError);
    expect(isAlive(process)).toBe(true);
  });
});

describe.skipIf(!isRoot)("kill in a cgroup", () => {
  /** A container whose process starts another one, once it is in its cgroup, and then does `script`. */
  async function family(script: string, fields: { ownPidNamespace: boolean }) {
    const go = `${host.context.root}/go`;
    const parent = host.start(`until [ -e ${go} ]; do sleep 0.02; done; sleep 1000 & ${script}`);
    const record = await host.container("c1", { ...fields, process: parent.ref, hasCgroup: true });
    const pids = () => (record.cgroup === undefined ? [] : cgroupPids(record.cgroup));
    writeFileSync(go, "");
    return { parent, pids };
  }

  test("--all reaches what a dead container process has left behind, and accepts that there is nothing", async () => {
    const { parent, pids } = await family("exit", { ownPidNamespace: false });
    await once(parent.child, "exit");
    expect(pids()).toHaveLength(1);
    await killContainer(host.context, "c1", 9, all);
    expect(pids()).toEqual([]);
    await killContainer(host.context, "c1", 9, all);
  });

  test("SIGKILL kills all processes where the pid namespace is shared", async () => {
    const { pids } = await family("wait", { ownPidNamespace: false });
    while (pids().length < 2) await Bun.sleep(5);
    await killContainer(host.context, "c1", 9, one);
    expect(pids()).toEqual([]);
    expect((await readRecord(host.context.root, "c1")).status).toBe("stopped");
  });

  test("SIGKILL ends a paused container", async () => {
    const { process } = await host.container("c1", { hasCgroup: true });
    await pauseContainer(host.context, "c1");
    await killContainer(host.context, "c1", 9, one);
    expect(waitForEnd(process, 1000)).toBe(true);
    expect(host.warnings).toEqual([]);
  });
});
