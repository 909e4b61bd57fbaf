/**
 * Cgroups on v2. Membership, freezing, killing and the device filter need no controller, so they are tested on the
 * unified hierarchy of a hybrid host as well; the rest needs a host with v2 alone (the virtual machine).
 */
import { expect } from "bun:test";
import { chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, rmdirSync } from "node:fs";
import path from "node:path";
import { freezeCgroup, isFrozen } from "../../sandbox/cgroups/freeze.ts";
import { joinCgroup } from "../../sandbox/cgroups/join.ts";
import { cgroupPids, killCgroup } from "../../sandbox/cgroups/members.ts";
import { watchOom } from "../../sandbox/cgroups/oom.ts";
import { oomKillCount } from "../../sandbox/cgroups/oom-kills.ts";
import { probeCgroupHost } from "../../sandbox/cgroups/probe.ts";
import { removeCgroup } from "../../sandbox/cgroups/remove.ts";
import { cgroupStats, statsJson } from "../../sandbox/cgroups/stats.ts";
import type { CgroupHost } from "../../sandbox/cgroups/types.ts";
import { updateCgroup } from "../../sandbox/cgroups/update.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { ended, makeCgroup, readCgroup, startScript, uniqueName, until, withCgroup } from "../helpers/cgroup.ts";
import { requires } from "../helpers/requires.ts";
import { waitFor, withRuntime } from "../helpers/runtime.ts";

const MIB = 1024n * 1024n;
const test = requires("root", "cgroup2");
const testContainer = requires("root", "cgroup2", "busybox", "cloche", "oci");

/** The unified hierarchy alone, whatever else is mounted. */
function unifiedHost(): CgroupHost {
  return {
    version: "v2",
    hierarchies: probeCgroupHost().hierarchies.filter(({ controllers }) => controllers[0] === ""),
  };
}

const testUnified = unifiedHost().hierarchies.length > 0 ? requires("root") : test;

testUnified("cgroup v2: the process is in the container's cgroup, and parents that were made go with it", async () => {
  const path = `/${uniqueName()}/inner`;
  await withCgroup({ cgroupsPath: path, host: unifiedHost() }, (ref, child) => {
    expect(readFileSync(`/proc/${child.pid}/cgroup`, "utf8")).toContain(`0::${path}\n`);
    expect(cgroupPids(ref)).toEqual([child.pid]);
  });
});

testUnified(
  "cgroup v2: frozen processes stay, thawed ones can be signalled, and SIGKILL reaches the frozen",
  async () => {
    await withCgroup({ host: unifiedHost() }, async (ref, child) => {
      freezeCgroup(ref, true);
      expect([isFrozen(ref), cgroupPids(ref)]).toEqual([true, [child.pid]]);
      freezeCgroup(ref, false);
      expect([isFrozen(ref), cgroupPids(ref)]).toEqual([false, [child.pid]]);
      const end = ended(child);
      killCgroup(ref, 10);
      expect(await end).toBe("signal SIGUSR1");
    });
    await withCgroup({ host: unifiedHost() }, async (ref, child) => {
      freezeCgroup(ref, true);
      const end = ended(child);
      killCgroup(ref, 9);
      expect(await end).toBe("signal SIGKILL");
    });
  },
);

testUnified("cgroup v2: the device filter allows what the rules allow, and an update replaces it", async () => {
  const open = async (rules: { allow: boolean; type?: string; major?: number; minor?: number; access: string }[]) => {
    const child = startScript("read go; (: < /dev/null) && echo null; (: < /dev/kmsg) && echo kmsg");
    const ref = await makeCgroup(
      { host: unifiedHost(), resources: { devices: [{ allow: false, access: "rwm" }] } },
      child.pid,
    );
    if (rules.length > 0) await updateCgroup(ref, { devices: rules });
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const end = new Promise((resolve) => child.once("close", resolve));
    child.stdin?.end("\n");
    await end;
    await removeCgroup(ref);
    return output;
  };
  expect(await open([])).toBe("null\n");
  expect(await open([{ allow: true, type: "c", major: 1, minor: 11, access: "r" }])).toBe("null\nkmsg\n");
  expect(await open([{ allow: true, access: "rwm" }])).toBe("null\nkmsg\n");
});

test("cgroup v2: v1's fields are converted, and unified is written", async () => {
  const resources = {
    memory: { limit: 64n * MIB, swap: 96n * MIB, reservation: 16n * MIB },
    cpu: { shares: 1024n, quota: 20_000n, period: 50_000n, cpus: "0" },
    pids: { limit: 7n },
    unified: { "memory.high": String(48n * MIB) },
  };
  await withCgroup({ resources, cgroupsPath: `/${uniqueName()}/a/b` }, (ref) => {
    expect(readCgroup(ref, "", "memory.max")).toBe(String(64n * MIB));
    expect(readCgroup(ref, "", "memory.swap.max")).toBe(String(32n * MIB));
    expect(readCgroup(ref, "", "memory.low")).toBe(String(16n * MIB));
    expect(readCgroup(ref, "", "memory.high")).toBe(String(48n * MIB));
    expect(readCgroup(ref, "", "cpu.weight")).toBe("100");
    expect(readCgroup(ref, "", "cpu.max")).toBe("20000 50000");
    expect(readCgroup(ref, "", "cpuset.cpus")).toBe("0");
    expect(readCgroup(ref, "", "pids.max")).toBe("7");
  });
});

test("cgroup v2: a controller that does not exist is an error that names the field, and leaves nothing", async () => {
  const name = uniqueName();
  const made = makeCgroup({ cgroupsPath: `/${name}`, resources: { unified: { "nonsense.max": "1" } } });
  expect(made).rejects.toThrow('cannot set linux.resources.unified["nonsense.max"]: cgroup controller "nonsense"');
  await made.catch(() => {});
  expect(existsSync(`/sys/fs/cgroup/${name}`)).toBeFalse();
});

test("cgroup v2: update of a quota keeps the period, and of a period the quota", async () => {
  await withCgroup({ resources: { cpu: { quota: 20_000n, period: 50_000n } } }, async (ref) => {
    await updateCgroup(ref, { cpu: { quota: 30_000n } });
    expect(readCgroup(ref, "", "cpu.max")).toBe("30000 50000");
    await updateCgroup(ref, { cpu: { period: 80_000n } });
    expect(readCgroup(ref, "", "cpu.max")).toBe("30000 80000");
    await updateCgroup(ref, { cpu: { quota: -1n } });
    expect(readCgroup(ref, "", "cpu.max")).toBe("max 80000");
  });
});

test("cgroup v2: checkBeforeUpdate refuses a limit below what is used", async () => {
  await withCgroup({ resources: { memory: { limit: 64n * MIB } } }, async (ref) => {
    // A process that was moved in brings no memory along: this one allocates in there.
    const user = startScript("read go; a=$(head -c 1000000 /dev/zero | tr '\\0' x); read end");
    joinCgroup(ref, user.pid);
    user.stdin?.write("\n");
    await until(() => Number(readCgroup(ref, "", "memory.current")) > 500_000, "memory in use");
    const refused = updateCgroup(ref, { memory: { limit: 1n, checkBeforeUpdate: true } });
    expect(refused).rejects.toThrow("bytes are in use, and checkBeforeUpdate is set");
    await refused.catch(() => {});
    expect(readCgroup(ref, "", "memory.max")).toBe(String(64n * MIB));
  });
});

test("cgroup v2: a refused value of an update puts back the others", async () => {
  await withCgroup({ resources: { pids: { limit: 7n } } }, async (ref) => {
    const refused = updateCgroup(ref, { pids: { limit: 9n }, unified: { "memory.max": "lots" } });
    expect(refused).rejects.toThrow('linux.resources.unified["memory.max"] to "lots"');
    await refused.catch(() => {});
    expect(readCgroup(ref, "", "pids.max")).toBe("7");
  });
});

test("cgroup v2: running out of memory is told and counted", async () => {
  const child = startScript("read go; a=$(head -c 20000000 /dev/zero | tail -c 20000000 | tr '\\0' x)");
  const ref = await makeCgroup({ resources: { memory: { limit: 8n * MIB, swap: 8n * MIB } } }, child.pid);
  const watch = watchOom(ref);
  expect(watch?.take()).toBe(false);
  child.stdin?.end("\n");
  await until(() => watch?.take() === true, "told that it is out of memory");
  await until(() => oomKillCount(ref) > 0, "out of memory");
  watch?.close();
  killCgroup(ref, 9);
  await removeCgroup(ref);
});

test("cgroup v2: statistics have runc's shape and exact integers", async () => {
  await withCgroup({ resources: { pids: { limit: 7n } } }, (ref) => {
    const json = statsJson(cgroupStats(ref));
    expect(json).toContain('"limit":18446744073709551615');
    expect(JSON.parse(json)).toMatchObject({ pids: { current: 1, limit: 7 }, cpuset: { mems: [0] } });
  });
});

testContainer("exec: into a container that has handed its controllers down goes to where its process is", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.root.readonly = false;
      spec.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["rw"] });
      if (!spec.linux.namespaces.some(({ type }) => type === "cgroup")) spec.linux.namespaces.push({ type: "cgroup" });
      const script =
        "cd /sys/fs/cgroup; mkdir init; echo 1 > init/cgroup.procs; echo +pids > cgroup.subtree_control; cat cgroup.subtree_control > /done; sleep 60";
      spec.process.args = ["sh", "-c", script];
    });
    runtime.ok(["start", id]);
    const done = path.join(runtime.state(id).bundle, "rootfs/done");
    await waitFor("it has handed them down", () => existsSync(done) && readFileSync(done, "utf8") !== "");
    expect(readFileSync(done, "utf8")).toBe("pids\n");
    expect(runtime.ok(["exec", id, "cat", "/proc/self/cgroup"])).toContain("0::/init\n");
    runtime.ok(["delete", "--force", id]);
  }),
);

/** The host's cgroup namespace, one of its own, or that of another container. */
type CgroupNamespace = "host" | "new" | "path";

testContainer(
  "create, run and exec: the process is in the container's cgroup, whatever namespaces it is in, and whoever the ones above belong to",
  () =>
    withRuntime((runtime) => {
      const above = `/${uniqueName()}`;
      mkdirSync(`/sys/fs/cgroup${above}`);
      const change = (hasUser: boolean, kind: CgroupNamespace, of: number) => (spec: BundleSpec) => {
        spec.process.args = ["sleep", "60"];
        spec.linux.cgroupsPath = `${above}/${runtime.word}-${kind}`;
        spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "cgroup");
        if (kind === "new") spec.linux.namespaces.push({ type: "cgroup" });
        if (kind === "path") spec.linux.namespaces.push({ type: "cgroup", path: `/proc/${of}/ns/cgroup` });
        if (!hasUser) return;
        spec.linux.namespaces.push({ type: "user" });
        spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
        spec.linux.gidMappings = spec.linux.uidMappings;
      };
      const other = runtime.create((spec) => {
        change(false, "new", 0)(spec);
        spec.linux.cgroupsPath = `${above}/${runtime.word}-other`;
      });
      const { pid: otherPid } = runtime.state(other);
      for (const owner of [0, 1000]) {
        chownSync(`/sys/fs/cgroup${above}/cgroup.procs`, owner, owner);
        for (const hasUser of [false, true]) {
          for (const kind of ["host", "new", "path"] as const) {
            const id = runtime.create(change(hasUser, kind, otherPid));
            runtime.ok(["start", id]);
            const { pid } = runtime.state(id);
            const own = readFileSync(`/proc/${pid}/cgroup`, "utf8");
            expect([kind, own]).toEqual([kind, `0::${above}/${runtime.word}-${kind}\n`]);
            const namespace = readlinkSync(`/proc/${pid}/ns/cgroup`);
            // One of another user namespace is not the container's to enter again.
            if (!(hasUser && kind === "path")) {
              expect(runtime.ok(["exec", id, "readlink", "/proc/self/ns/cgroup"])).toBe(`${namespace}\n`);
              runtime.ok(["exec", "--detach", id, "sleep", "50"]);
              expect(readCgroupProcs(`${above}/${runtime.word}-${kind}`)).toHaveLength(2);
            }
            runtime.ok(["delete", "--force", id]);
          }
        }
      }
      runtime.ok(["delete", "--force", other]);
      rmdirSync(`/sys/fs/cgroup${above}`);
    }),
);

function readCgroupProcs(cgroup: string): string[] {
  return readFileSync(`/sys/fs/cgroup${cgroup}/cgroup.procs`, "utf8").trim().split("\n");
}
