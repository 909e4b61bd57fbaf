/** Several containers in one sandbox: joining, what concerns one and what all, and how the sandbox ends. */
import { expect } from "bun:test";
import { existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { mapIds } from "../helpers/container.ts";
import { follow } from "../helpers/follow.ts";
import { member, saved } from "../helpers/pod.ts";
import { requires } from "../helpers/requires.ts";
import { killChild, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche", "cgroup1");

const sleeper = ["sleep", "600"];

/** A running root container, which an engine would call the pod's sandbox. */
function startRoot(runtime: Runtime, change: Parameters<Runtime["create"]>[0] = () => {}): string {
  const id = runtime.create((spec) => {
    spec.process.args = sleeper;
    spec.annotations = { "io.kubernetes.cri.container-type": "sandbox" };
    change(spec);
  });
  runtime.ok(["start", id]);
  return id;
}

function startMember(runtime: Runtime, root: string, change: Parameters<Runtime["create"]>[0] = () => {}): string {
  const id = runtime.create((spec) => {
    spec.process.args = sleeper;
    member(runtime, spec, root);
    change(spec);
  });
  runtime.ok(["start", id]);
  return id;
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Pids of a process in its pid namespaces, the host's first. */
function pidsOf(pid: number): number[] {
  return (/^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "").split("\t").map(Number);
}

for (const [who, annotations] of [
  ["containerd", ["io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"]],
  ["CRI-O", ["io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"]],
  ["cloche's own annotation", ["", "dev.cloche.sandbox"]],
] as const) {
  it(`joins a sandbox as ${who} asks for it: its pid namespace is nested in the sandbox's, its mounts are its own`, () =>
    withRuntime((runtime) => {
      const root = startRoot(runtime);
      const id = startMember(runtime, root, (spec) => {
        spec.annotations = { [annotations[1]]: root, ...(annotations[0] && { [annotations[0]]: "container" }) };
      });
      const { process, sandbox, sandboxId } = saved(runtime, id, root);
      expect(sandboxId).toBe(root);
      // The host, the sandbox, what holds the container, the container.
      expect(pidsOf(process.pid)).toHaveLength(4);
      expect(pidsOf(sandbox.pid).at(-1)).toBe(1);
      expect(runtime.ok(["exec", id, "sh", "-c", "echo $$"]).trim()).not.toBe("1");
      const namespace = (pid: number, type: string) => readlinkSync(`/proc/${pid}/ns/${type}`);
      expect(namespace(process.pid, "net")).toBe(namespace(runtime.state(root).pid, "net"));
      expect(namespace(process.pid, "mnt")).not.toBe(namespace(runtime.state(root).pid, "mnt"));
    }));
}

it("a member that is to share the root container's pid namespace sees its processes, and the other way round", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root, (spec) => {
      const { pid } = runtime.state(root);
      spec.linux.namespaces = spec.linux.namespaces.map((namespace) =>
        namespace.type === "pid" ? { type: "pid", path: `/proc/${pid}/ns/pid` } : namespace,
      );
      spec.process.args = ["sleep", "601"];
    });
    expect(runtime.ok(["exec", id, "ps"])).toMatch(/sleep 600[\s\S]*sleep 601/);
    runtime.ok(["kill", root, "KILL"]);
    return runtime.reaches(id, "stopped");
  }));

it("deleting a member leaves the sandbox and the other members; deleting the root container ends them", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const [first, second] = [startMember(runtime, root), startMember(runtime, root)];
    runtime.ok(["delete", "--force", first]);
    expect([root, second].map((id) => runtime.state(id).status)).toEqual(["running", "running"]);
    const { process, sandbox } = saved(runtime, second, root);
    runtime.ok(["delete", "--force", root]);
    await waitFor("the other member has ended", () => !isAlive(process.pid) && !isAlive(sandbox.pid));
    expect(runtime.state(second).status).toBe("stopped");
    runtime.ok(["delete", second]);
  }));

it("the end of the root container's program is the end of the members, of which it is known", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root);
    runtime.ok(["kill", root, "TERM"]);
    runtime.ok(["kill", root, "KILL"]);
    await runtime.reaches(id, "stopped");
  }));

it("a member in the host's pid namespace ends with the deletion of the root container too", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root, (spec) => {
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
    });
    runtime.ok(["delete", "--force", root]);
    return runtime.reaches(id, "stopped");
  }));

it("a member whose sandbox ends during its creation is told so, and leaves nothing", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const gate = path.join(runtime.directory, "gate");
    const bundle = runtime.bundle((spec) => {
      member(runtime, spec, root);
      const script = `touch ${gate}.reached; until [ -e ${gate} ]; do sleep 0.02; done`;
      spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
    });
    const id = runtime.id();
    const creating = follow(runtime, ["create", "--bundle", bundle, id]);
    await waitFor("the hook runs", () => existsSync(`${gate}.reached`));
    process.kill(saved(runtime, root, root).sandbox.pid, "SIGKILL");
    writeFileSync(gate, "");
    expect(await creating.ended).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `cannot create container "${id}": the sandbox of container "${root}" has ended\n`,
    });
    expect(runtime.ok(["list", "--quiet"])).toBe(`${root}\n`);
  }));

it("a member that would outlive the deletion of the root container during its creation does not come to be", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const gate = path.join(runtime.directory, "gate");
    const bundle = runtime.bundle((spec) => {
      spec.process.args = sleeper;
      member(runtime, spec, root);
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
      const script = `until [ -e ${gate} ]; do sleep 0.02; done`;
      spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
    });
    // Not in a cgroup, by which it would be found and killed.
    const args = ["--cgroup-manager", "disabled", "create", "--bundle", bundle, runtime.id()];
    const creating = follow(runtime, args);
    await runtime.reaches(args.at(-1) ?? "", "creating");
    runtime.ok(["delete", "--force", root]);
    writeFileSync(gate, "");
    expect(await creating.ended).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`the sandbox of container "${root}" has ended`),
    });
    expect(runtime.ok(["list", "--quiet"])).toBe("");
  }));

it("delete --sandbox takes whole ids only; with --force what is not there is no error", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const prefix = root.slice(0, -1);
    expect(runtime.run(["delete", "--sandbox", prefix]).stderr).toContain(`container "${prefix}" does not exist`);
    runtime.ok(["delete", "--sandbox", "--force", prefix]);
    expect(runtime.run(["kill", "--sandbox", prefix, "KILL"]).stderr).toContain(`container "${prefix}" does not exist`);
    expect(runtime.state(root).status).toBe("running");
  }));

it("how a member ended is recorded although nobody waited", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root, (spec) => {
      spec.process.args = ["sh", "-c", "exit 7"];
    });
    await runtime.reaches(id, "stopped");
    await waitFor("the exit is recorded", () => {
      runtime.state(id);
      return saved(runtime, id, root).exit?.exitCode === 7;
    });
  }));

it("kill, ps and pause concern one container, with --sandbox all of them", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const members = [startMember(runtime, root), startMember(runtime, root)];
    const [first = "", second = ""] = members;
    const all = [root, ...members];
    const statuses = () => all.map((id) => runtime.state(id).status);
    const pids = (...args: string[]) => JSON.parse(runtime.ok(["ps", "--format", "json", ...args]));
    expect(pids(first)).toEqual([runtime.state(first).pid]);
    expect(pids("--sandbox", first)).toEqual(all.map((id) => runtime.state(id).pid).sort((a, b) => a - b));
    runtime.ok(["pause", first]);
    expect(statuses()).toEqual(["running", "paused", "running"]);
    runtime.ok(["pause", "--sandbox", second]);
    expect(statuses()).toEqual(["paused", "paused", "paused"]);
    runtime.ok(["resume", "--sandbox", root]);
    expect(statuses()).toEqual(["running", "running", "running"]);
    runtime.ok(["kill", second, "KILL"]);
    await runtime.reaches(second, "stopped");
    expect(statuses()).toEqual(["running", "running", "stopped"]);
    runtime.ok(["kill", "--sandbox", first, "KILL"]);
    for (const id of all) await runtime.reaches(id, "stopped");
    runtime.ok(["delete", "--sandbox", first]);
    expect(runtime.ok(["list", "--quiet"])).toBe("");
  }));

it("pause --sandbox: pauses all or none", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root);
    const bundle = runtime.bundle((spec) => {
      spec.process.args = sleeper;
      member(runtime, spec, root);
    });
    const other = runtime.id();
    runtime.ok(["--cgroup-manager", "disabled", "run", "--detach", "--bundle", bundle, other]);
    const { exitCode, stderr } = runtime.run(["pause", "--sandbox", root]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringContaining(`cannot pause container "${other}": it has no cgroup to freeze`),
    });
    expect([root, id, other].map((one) => runtime.state(one).status)).toEqual(["running", "running", "running"]);
  }));

it("a sandbox that has ended cannot be joined, and nothing is left of who tried", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    runtime.ok(["kill", root, "KILL"]);
    await runtime.reaches(root, "stopped");
    const id = runtime.id();
    const bundle = runtime.bundle((spec) => {
      spec.process.args = sleeper;
      spec.annotations = { "dev.cloche.sandbox": root };
    });
    expect(runtime.run(["create", "--bundle", bundle, id])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`cannot join the sandbox of container "${root}": container not running`),
    });
    expect(runtime.ok(["list", "--quiet"])).toBe(`${root}\n`);
  }));

it("dev.cloche.sandbox has to name a root container; an engine's pod need not have one here", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const id = startMember(runtime, root);
    for (const wrong of ["absent", id]) {
      const bundle = runtime.bundle((spec) => {
        spec.annotations = { "dev.cloche.sandbox": wrong };
      });
      expect(runtime.run(["create", "--bundle", bundle, runtime.id()])).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining(
          `annotations.dev.cloche.sandbox: cannot join "${wrong}": no root container has that id`,
        ),
      });
    }
    const alone = runtime.create((spec) => {
      spec.annotations = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.SandboxID": "no-infra-container",
      };
    });
    expect(saved(runtime, alone, alone).sandboxId).toBe(alone);
  }));

it("a member of podman's pod does not join the infra container's sandbox, which podman ends before its members", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime);
    const id = runtime.create((spec) => {
      spec.annotations = {
        "io.container.manager": "libpod",
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.SandboxID": root,
      };
    });
    expect(saved(runtime, id, id).sandboxId).toBe(id);
  }));

it("a pod with a user namespace: a member that names it by its path joins, one that does not is told", () =>
  withRuntime((runtime) => {
    const root = startRoot(runtime, (spec) => mapIds(spec));
    const id = startMember(runtime, root, (spec) => {
      const path = `/proc/${runtime.state(root).pid}/ns`;
      spec.linux.namespaces = [
        { type: "user", path: `${path}/user` },
        { type: "network", path: `${path}/net` },
        { type: "pid" },
        { type: "mount" },
      ];
      delete spec.hostname;
      spec.mounts = spec.mounts.filter(({ type }) => type !== "mqueue");
    });
    expect(pidsOf(saved(runtime, id, root).process.pid)).toHaveLength(4);
    const bundle = runtime.bundle((spec) => {
      spec.annotations = { "dev.cloche.sandbox": root };
    });
    expect(runtime.run(["create", "--bundle", bundle, runtime.id()]).stderr).toContain(
      "it has a user namespace, which linux.namespaces must name by its path",
    );
  }));

it(
  "a pod of 20: created, started, and taken down by the death of its sandbox process",
  () =>
    withRuntime(async (runtime) => {
      const root = startRoot(runtime);
      const members = Array.from({ length: 19 }, () => startMember(runtime, root));
      const processes = members.flatMap((id) => {
        const { process, sandbox } = saved(runtime, id, root);
        return [process.pid, sandbox.pid];
      });
      expect(processes.filter(isAlive)).toHaveLength(38);
      process.kill(saved(runtime, root, root).sandbox.pid, "SIGKILL");
      await waitFor("everything has ended", () => processes.every((pid) => !isAlive(pid)));
      for (const id of [root, ...members]) expect(runtime.state(id).status).toBe("stopped");
      runtime.ok(["delete", ...members, root]);
      expect(runtime.leftovers()).toEqual([]);
    }),
  120_000,
);

it("a sandbox process of a member that is killed takes that member alone with it", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    const [first, second] = [startMember(runtime, root), startMember(runtime, root)];
    process.kill(saved(runtime, first, root).sandbox.pid, "SIGKILL");
    await runtime.reaches(first, "stopped");
    expect([root, second].map((id) => runtime.state(id).status)).toEqual(["running", "running"]);
  }));

it("create of a member that is killed at any moment leaves the sandbox as it was", () =>
  withRuntime(async (runtime) => {
    const root = startRoot(runtime);
    for (let delay = 0; delay < 40; delay += 2) {
      const id = runtime.id();
      const bundle = runtime.bundle((spec) => {
        spec.process.args = sleeper;
        member(runtime, spec, root);
      });
      const child = runtime.spawn(["create", "--bundle", bundle, id]);
      await new Promise((resolve) => setTimeout(resolve, delay));
      await killChild(child);
      runtime.ok(["delete", "--force", id]);
    }
    expect(runtime.state(root).status).toBe("running");
    expect(runtime.ok(["list", "--quiet"])).toBe(`${root}\n`);
  }));
