import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { addMember, openSandbox, sandboxToJoin } from "./join.ts";
import { TestRoot } from "./test-container.ts";
import { testRecord } from "./test-record.ts";

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

test("addMember: a later root container of that id is not joined", async () => {
  const { root } = host.context;
  const later = await host.container("pod");
  const planned = { ...later, created: "2025-01-01T00:00:00.000000000Z" };
  await expect(addMember(root, planned, testRecord("c1", { sandboxId: "pod" }))).rejects.toThrow(
    'container "pod" does not exist',
  );
  expect(readdirSync(root)).toEqual(["pod_pod.state"]);
  await addMember(root, later, testRecord("c1", { sandboxId: "pod" }));
  expect(readdirSync(root).sort()).toEqual(["pod_c1.state", "pod_pod.state"]);
});

test("sandboxToJoin: a pod whose id can be none of ours is none of ours", async () => {
  for (const id of ["p".repeat(120), "../pod", ""]) {
    const pod = { "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": id };
    expect(await sandboxToJoin(host.context, "c1", { ociVersion: "1.3.0", annotations: pod })).toBeUndefined();
    const own = { ociVersion: "1.3.0", annotations: { "dev.cloche.sandbox": id } };
    await expect(sandboxToJoin(host.context, "c1", own)).rejects.toThrow(
      `annotations.dev.cloche.sandbox: cannot join ${JSON.stringify(id)}: no root container has that id`,
    );
  }
});

test("openSandbox: a pid namespace is nested in the sandbox's or not made", () => {
  const linux = { namespaces: [{ type: "pid" as const }] };
  expect(openSandbox(undefined, linux)).toBeUndefined();
  expect(openSandbox(testRecord("pod"), {})).toBeUndefined();
  for (const sandbox of [undefined, { pid: process.pid, startTime: "1" }]) {
    const root = testRecord("pod", sandbox && { sandbox });
    expect(() => openSandbox(root, linux)).toThrow('cannot join the sandbox of container "pod": it has ended');
  }
});
