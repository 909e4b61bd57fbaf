import { afterEach, beforeEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { isAlive, processRef } from "../specutils/process-ref.ts";
import { spawnHelper, waitPid } from "../specutils/syscall.ts";
import { exitPath } from "../statefile/names.ts";
import { EXIT_FILE_START } from "./exit-record.ts";
import { listContainers } from "./list.ts";
import { processesOf } from "./ps.ts";
import { stateOfContainer } from "./state.ts";
import { TestRoot } from "./test-container.ts";
import { waitContainers } from "./wait.ts";

const gone = { pid: process.pid, startTime: "1" };

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

/** What `wait` says of one container. */
async function exitCode(id: string): Promise<number | undefined> {
  let code: number | undefined;
  await waitContainers(host.context, [id], (given) => {
    code = given;
  });
  return code;
}

test("wait returns the exit code when the container ends, and again later", async () => {
  const file = exitPath(host.context.root, "c1", "c1");
  const process = host.start("sleep 0.2; exit 7").ref;
  const sandbox = host.start(`sleep 0.4; echo exited 7 1000000000 > ${file}`).ref;
  await host.container("c1", { process, sandbox });
  expect(await exitCode("c1")).toBe(7);
  expect(await exitCode("c1")).toBe(7);
});

test("wait returns 128 and the signal", async () => {
  await host.container("c1", { process: gone });
  writeFileSync(exitPath(host.context.root, "c1", "c1"), "signaled 15 1000000000\n");
  expect(await exitCode("c1")).toBe(143);
});

test("wait returns the exit code of a process that nobody has waited for", async () => {
  const pid = spawnHelper("/bin/sh", ["sh", "-c", "exit 6"], [], []);
  const sandbox = host.start().ref;
  await host.container("c1", { process: processRef(pid) ?? gone, sandbox });
  expect(await exitCode("c1")).toBe(6);
  waitPid(pid);
  expect(await exitCode("c1")).toBe(6);
});

test("state blames the sandbox process only if it has written nothing, and holds the container's pid namespace", async () => {
  const pid = spawnHelper("/bin/sh", ["sh", "-c", "kill -9 $$"], [], []);
  const process = processRef(pid) ?? gone;
  while (isAlive(process)) await Bun.sleep(1);
  const cases = [
    ["c1", EXIT_FILE_START, true, gone],
    ["c2", EXIT_FILE_START, false, gone],
    ["c3", `${EXIT_FILE_START}ended 0 1\n`, true, gone],
    ["c4", EXIT_FILE_START, true, host.start().ref],
  ] as const;
  for (const [id, text, ownPidNamespace, sandbox] of cases) {
    await host.container(id, { process, sandbox, ownPidNamespace });
    writeFileSync(exitPath(host.context.root, id, id), text);
  }
  const exits = await Promise.all(cases.map(async ([id]) => (await stateOfContainer(host.context, id)).exit));
  waitPid(pid);
  expect(exits.map((exit) => exit?.signal)).toEqual([9, 9, 9, 9]);
  expect(exits.map((exit) => exit?.reason)).toEqual(["sandbox-ended", undefined, undefined, undefined]);
});

test("wait does not invent an exit code that nobody has seen", async () => {
  await host.container("c1", { process: gone, sandbox: gone });
  await expect(exitCode("c1")).rejects.toThrow('cannot tell how container "c1" ended');
});

test("state has runc's fields, and a pid only while there is a process", async () => {
  const { process } = await host.container("c1", { annotations: { a: "b" } });
  const expected = {
    ociVersion: "1.3.0",
    id: "c1",
    pid: process.pid,
    status: "running" as const,
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    created: "2026-01-01T00:00:00.000000000Z",
    annotations: { a: "b" },
    sandboxId: "c1",
  };
  expect(await stateOfContainer(host.context, "c1")).toEqual(expected);
  await host.container("c2", { process: gone });
  writeFileSync(exitPath(host.context.root, "c2", "c2"), "exited 3 1000000000\n");
  const { annotations: _, ...rest } = expected;
  const exit = { exitCode: 3, at: "1970-01-01T00:00:01.000000000Z" };
  expect(await stateOfContainer(host.context, "c2")).toEqual({
    ...rest,
    id: "c2",
    sandboxId: "c2",
    pid: 0,
    status: "stopped",
    exit,
  });
});

test("list names the owner, and warns about what it cannot read", async () => {
  await host.container("c1");
  writeFileSync(`${host.context.root}/c2_c2.state`, "{}");
  const listed = listContainers(host.context);
  expect(listed.map(({ id, owner }) => [id, owner])).toEqual([
    ["c1", process.getuid?.() === 0 ? "root" : expect.any(String)],
  ]);
  expect(host.warnings).toHaveLength(1);
});

test("ps: the container process alone, without a cgroup", async () => {
  const { process } = await host.container("c1");
  expect(await processesOf(host.context, "c1")).toEqual([process.pid]);
});

test("ps: nobody in a stopped container", async () => {
  await host.container("c1", { process: gone });
  expect(await processesOf(host.context, "c1")).toEqual([]);
});

test.skipIf(process.getuid?.() !== 0)("ps: every process in the cgroup", async () => {
  const { process } = await host.container("c1", { hasCgroup: true });
  expect(await processesOf(host.context, "c1")).toEqual([process.pid]);
});
