import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { statePath } from "../statefile/names.ts";
import { endMembers, sandboxMemberIds, sandboxTargets } from "./members.ts";
import { saveRecord } from "./save.ts";
import { waitForEnd } from "./signal-process.ts";
import { TestRoot } from "./test-container.ts";

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

/** A root container `pod10` with two members, one of them stopped. */
async function pod(): Promise<void> {
  await host.container("pod10");
  await host.container("a", { sandboxId: "pod10" });
  await host.container("z", { sandboxId: "pod10", process: { pid: process.pid, startTime: "1" } });
}

describe("sandboxMemberIds", () => {
  test("names all of a sandbox, whoever of it is asked about, the root container last", async () => {
    await pod();
    await host.container("other");
    for (const id of ["pod10", "a", "z"]) expect(sandboxMemberIds(host.context, id)).toEqual(["a", "z", "pod10"]);
    expect(sandboxMemberIds(host.context, "other")).toEqual(["other"]);
  });

  test("takes no id for a prefix: what is deleted twice is not another pod", async () => {
    await pod();
    expect(sandboxMemberIds(host.context, "pod1")).toEqual(["pod1"]);
  });

  test("names also those that cannot be read, and those whose root container is gone", async () => {
    await pod();
    writeFileSync(statePath(host.context.root, "pod10", "a"), "{");
    expect(sandboxMemberIds(host.context, "z")).toEqual(["a", "z", "pod10"]);
    rmSync(statePath(host.context.root, "pod10", "pod10"));
    expect(sandboxMemberIds(host.context, "pod10")).toEqual(["a", "z"]);
  });
});

describe("sandboxTargets", () => {
  test("are those whose status allows it; none: the one that was asked about", async () => {
    await pod();
    expect(await sandboxTargets(host.context, "z", "pause")).toEqual(["a", "pod10"]);
    expect(await sandboxTargets(host.context, "z", "resume")).toEqual(["z"]);
  });

  test("kill takes no id for a prefix, the others do", async () => {
    await pod();
    expect(await sandboxTargets(host.context, "pod1", "pause")).toEqual(["a", "pod10"]);
    await expect(sandboxTargets(host.context, "pod1", "kill")).rejects.toThrow('container "pod1" does not exist');
  });
});

describe("endMembers", () => {
  test("kills the processes of the members, and of nobody else", async () => {
    const { process: root } = await host.container("pod");
    const { process: member } = await host.container("a", { sandboxId: "pod" });
    const { process: other } = await host.container("b", { sandboxId: "other" });
    await endMembers(host.context, "pod");
    expect(waitForEnd(member, 1000)).toBe(true);
    expect([root, other].map(isAlive)).toEqual([true, true]);
  });

  test("kills nobody by a cgroup that is none, and says so; goes on after a state file that cannot be read", async () => {
    const victim = host.start().ref;
    const directory = `${host.context.root}/fake`;
    mkdirSync(directory);
    writeFileSync(`${directory}/cgroup.procs`, `${victim.pid}\n`);
    const edited = await host.container("a", { sandboxId: "pod" });
    const cgroup: CgroupRef = { driver: "cgroupfs", version: "v2", path: "/fake", dirs: { "": directory }, owned: [] };
    saveRecord(host.context.root, { ...edited, cgroup });
    await host.container("b", { sandboxId: "pod" });
    writeFileSync(statePath(host.context.root, "pod", "b"), "{");
    const { process: last } = await host.container("c", { sandboxId: "pod" });
    await endMembers(host.context, "pod");
    expect(waitForEnd(last, 1000)).toBe(true);
    expect(isAlive(victim)).toBe(true);
    expect(host.warnings).toEqual([
      'cannot kill container "a": its saved cgroup is not its own',
      expect.stringContaining("cannot read state file"),
    ]);
  });
});
