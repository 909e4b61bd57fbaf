import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { NotFoundError } from "../specutils/errors.ts";
import { isAlive } from "../specutils/process-ref.ts";
import { exitPath, statePath } from "../statefile/names.ts";
import { deleteContainer } from "./delete.ts";
import { waitForEnd } from "./signal-process.ts";
import { readRecord } from "./store.ts";
import { TestRoot } from "./test-container.ts";

const isRoot = process.getuid?.() === 0;
const plain = { force: false };
const force = { force: true };
const gone = { pid: process.pid, startTime: "1" };

let host: TestRoot;
beforeEach(() => {
  host = new TestRoot();
});
afterEach(() => host.remove());

const files = () => readdirSync(host.context.root);

describe("delete", () => {
  test("removes all files of a stopped container, and none of another's", async () => {
    await host.container("c1", { process: gone });
    await host.container("c1_c1");
    const others = files().filter((name) => name.includes("~"));
    writeFileSync(exitPath(host.context.root, "c1", "c1"), "exited 0 1\n");
    await deleteContainer(host.context, "c1", plain);
    expect(files()).toEqual(others);
  });

  test("kills a created container", async () => {
    const { process } = await host.container("c1", {
      status: "created",
      startSocket: `${host.context.root}/start-1-1`,
    });
    await deleteContainer(host.context, "c1", plain);
    expect(isAlive(process)).toBe(false);
    expect(files()).toEqual([]);
  });

  test("fails on a running container, and changes nothing", async () => {
    const { process } = await host.container("c1");
    await expect(deleteContainer(host.context, "c1", plain)).rejects.toThrow(
      'cannot delete container "c1": container not stopped, use --force to kill it first (status is "running")',
    );
    expect(isAlive(process)).toBe(true);
    expect((await readRecord(host.context.root, "c1")).status).toBe("running");
  });

  test("fails on a container that does not exist, and on the beginning of an id", async () => {
    const { process } = await host.container("web2");
    for (const id of ["web", "nope"]) {
      const attempt = deleteContainer(host.context, id, plain);
      await expect(attempt).rejects.toThrow(`container "${id}" does not exist`);
      await expect(attempt).rejects.toBeInstanceOf(NotFoundError);
    }
    expect(isAlive(process)).toBe(true);
  });

  test("of a subcontainer ends its own sandbox process; of the root container the sandbox's and its members", async () => {
    const [sandbox, first, second] = [host.start().ref, host.start().ref, host.start().ref];
    await host.container("root", { sandbox, hasMembers: true });
    await host.container("sub", { sandbox: first, sandboxId: "root" });
    await host.container("other", { sandbox: second, process: second, sandboxId: "root" });
    await deleteContainer(host.context, "sub", force);
    expect([sandbox, first, second].map(isAlive)).toEqual([true, false, true]);
    await deleteContainer(host.context, "root", force);
    expect([sandbox, second].every((process) => waitForEnd(process, 1000))).toBe(true);
  });
});

describe("delete --force", () => {
  test("kills a running container", async () => {
    const { process } = await host.container("c1");
    await deleteContainer(host.context, "c1", force);
    expect(isAlive(process)).toBe(false);
    expect(files()).toEqual([]);
  });

  test("is content with what does not exist, with and without a state root", async () => {
    const { process } = await host.container("web2");
    await deleteContainer(host.context, "web", force);
    await deleteContainer({ ...host.context, root: `${host.context.root}/nope` }, "c1", force);
    expect(isAlive(process)).toBe(true);
    expect(host.warnings).toEqual([]);
  });

  test("removes what a killed create has left of a container, in whatever sandbox it was to be, and nobody else's", async () => {
    const { root } = host.context;
    writeFileSync(exitPath(root, "pod", "c_1"), "");
    writeFileSync(`${statePath(root, "c_1", "c_1")}.tmp`, "{");
    writeFileSync(exitPath(root, "c_1", "other"), "");
    await deleteContainer(host.context, "c_1", force);
    expect(files()).toEqual(["c~1_other.exit"]);
  });

  test("removes an unreadable state file with what is still named in it", async () => {
    const { process } = await host.container("c1");
    const path = statePath(host.context.root, "c1", "c1");
    writeFileSync(path, readFileSync(path, "utf8").slice(0, -2));
    await expect(deleteContainer(host.context, "c1", plain)).rejects.toThrow(`cannot read state file "${path}"`);
    expect(isAlive(process)).toBe(true);
    await deleteContainer(host.context, "c1", force);
    expect(waitForEnd(process, 0)).toBe(true);
    expect(files()).toEqual([]);
    expect(host.warnings).toEqual([
      'container "c1" was deleted with a state file that cannot be read: look for leftovers',
    ]);
  });

  test("of a root container with an unreadable state file ends the members", async () => {
    await host.container("root", { hasMembers: true });
    const { process } = await host.container("sub", { sandboxId: "root" });
    writeFileSync(statePath(host.context.root, "root", "root"), "");
    await deleteContainer(host.context, "root", force);
    expect(waitForEnd(process, 1000)).toBe(true);
    expect(files()).toEqual(["root_sub.state"]);
  });

  test("removes an empty state file", async () => {
    writeFileSync(statePath(host.context.root, "c1", "c1"), "");
    await deleteContainer(host.context, "c1", force);
    expect(files()).toEqual([]);
  });
});

test.skipIf(!isRoot)("delete removes the cgroup and kills who is left in it", async () => {
  const left = host.start();
  const { cgroup } = await host.container("c1", { process: left.ref, ownPidNamespace: false, hasCgroup: true });
  await deleteContainer(host.context, "c1", force);
  expect(Object.values(cgroup?.dirs ?? {}).filter((directory) => existsSync(directory))).toEqual([]);
  expect(isAlive(left.ref)).toBe(false);
});

describe("poststop hooks", () => {
  const hook = (script: string) => ({ path: "/bin/sh", args: ["sh", "-c", script] });

  test("run after the container is gone, so that there is no state file, with its state, each one whatever the others do", async () => {
    const out = `${host.context.root}/hooks.out`;
    const hooks = {
      poststop: [hook(`ls ${host.context.root}/*.state > ${out} 2>/dev/null`), hook("exit 3"), hook(`cat >> ${out}`)],
    };
    await host.container("c1", { process: gone, hooks, annotations: { a: "b" } });
    await deleteContainer(host.context, "c1", plain);
    expect(JSON.parse(readFileSync(out, "utf8"))).toEqual({
      ociVersion: "1.3.0",
      id: "c1",
      status: "stopped",
      bundle: "/bundle",
      annotations: { a: "b" },
    });
    expect(host.warnings).toEqual([
      'cannot run poststop hook "/bin/sh": exit status 2',
      'cannot run poststop hook "/bin/sh": exit status 3',
    ]);
  });
});
