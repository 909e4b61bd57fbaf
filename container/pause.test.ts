import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { freezeCgroup, isFrozen } from "../sandbox/cgroups/freeze.ts";
import { statePath } from "../statefile/names.ts";
import { deleteContainer } from "./delete.ts";
import { pauseAll, pauseContainer } from "./pause.ts";
import { hasCgroup } from "./record.ts";
import { resumeContainer } from "./resume.ts";
import { readRecord } from "./store.ts";
import { TestRoot } from "./test-container.ts";

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

/** Status as saved, and whether the kernel has the container frozen. */
async function seen(id: string): Promise<[string, boolean]> {
  const record = await readRecord(host.context.root, id);
  return [record.status, hasCgroup(record) && isFrozen(record.cgroup)];
}

describe.skipIf(process.getuid?.() !== 0)("pause and resume", () => {
  test.each(["created", "running"] as const)("a %s container is that again afterwards", async (status) => {
    await host.container("c1", { status, hasCgroup: true, startSocket: `${host.context.root}/start-1-1` });
    await pauseContainer(host.context, "c1");
    expect(await seen("c1")).toEqual(["paused", true]);
    await resumeContainer(host.context, "c1");
    expect(await seen("c1")).toEqual([status, false]);
    expect((await readRecord(host.context.root, "c1")).pausedFrom).toBeUndefined();
  });

  test("pause fails on a paused container, resume on a running one, and nothing changes", async () => {
    await host.container("c1", { hasCgroup: true });
    await expect(resumeContainer(host.context, "c1")).rejects.toThrow("container not paused");
    expect(await seen("c1")).toEqual(["running", false]);
    await pauseContainer(host.context, "c1");
    await expect(pauseContainer(host.context, "c1")).rejects.toThrow("container not running");
    expect(await seen("c1")).toEqual(["paused", true]);
  });

  test("resume frees a container that a killed pause has left frozen", async () => {
    const { cgroup } = await host.container("c1", { hasCgroup: true });
    if (cgroup !== undefined) freezeCgroup(cgroup, true);
    expect(await seen("c1")).toEqual(["running", true]);
    await resumeContainer(host.context, "c1");
    expect(await seen("c1")).toEqual(["running", false]);
  });

  test("a paused container can be deleted by force only", async () => {
    await host.container("c1", { hasCgroup: true });
    await pauseContainer(host.context, "c1");
    await expect(deleteContainer(host.context, "c1", { force: false })).rejects.toThrow("container not stopped");
    expect(await seen("c1")).toEqual(["paused", true]);
    await deleteContainer(host.context, "c1", { force: true });
  });

  test("several are paused or none, whatever fails besides", async () => {
    await host.container("c1", { hasCgroup: true });
    await host.container("c2", { hasCgroup: true });
    const path = statePath(host.context.root, "c1", "c1");
    const text = readFileSync(path);
    await host.container("c3");
    const ids = ["c1", "c2"];
    Object.defineProperty(ids, 2, {
      get: () => {
        rmSync(path);
        return "c3";
      },
    });
    await expect(pauseAll(host.context, ids)).rejects.toThrow(
      'cannot pause container "c3": it has no cgroup to freeze',
    );
    expect(host.warnings).toEqual(['container "c1" does not exist']);
    expect(await seen("c2")).toEqual(["running", false]);
    writeFileSync(path, text);
  });

  test("one of several that has ended meanwhile needs no pause; one alone is refused", async () => {
    await host.container("c1", { hasCgroup: true });
    await host.container("ended", { process: { pid: process.pid, startTime: "1" } });
    await pauseAll(host.context, ["ended", "gone", "c1"]);
    expect(await seen("c1")).toEqual(["paused", true]);
    await expect(pauseAll(host.context, ["ended"])).rejects.toThrow("container not running");
    await expect(pauseAll(host.context, ["gone"])).rejects.toThrow('container "gone" does not exist');
  });

  test("pause fails without a cgroup, and says why", async () => {
    await host.container("c1");
    await expect(pauseContainer(host.context, "c1")).rejects.toThrow(
      'cannot pause container "c1": it has no cgroup to freeze',
    );
    expect(await seen("c1")).toEqual(["running", false]);
  });
});
