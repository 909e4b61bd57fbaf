/** Cgroups on a v1 or hybrid host. */
import { expect } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { createCgroup } from "../../sandbox/cgroups/create.ts";
import { freezeCgroup, isFrozen } from "../../sandbox/cgroups/freeze.ts";
import { closeJoin, joinCgroup, openJoin } from "../../sandbox/cgroups/join.ts";
import { cgroupPids, killCgroup } from "../../sandbox/cgroups/members.ts";
import { watchOom } from "../../sandbox/cgroups/oom.ts";
import { oomKillCount } from "../../sandbox/cgroups/oom-kills.ts";
import { planCgroup } from "../../sandbox/cgroups/plan.ts";
import { probeCgroupHost } from "../../sandbox/cgroups/probe.ts";
import { removeCgroup } from "../../sandbox/cgroups/remove.ts";
import { cgroupStats, statsJson } from "../../sandbox/cgroups/stats.ts";
import type { CgroupRef } from "../../sandbox/cgroups/types.ts";
import { updateCgroup } from "../../sandbox/cgroups/update.ts";
import {
  ended,
  makeCgroup,
  readCgroup,
  startScript,
  startSleeper,
  uniqueName,
  until,
  withCgroup,
} from "../helpers/cgroup.ts";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const test = requires("root", "cgroup1");
const MIB = 1024n * 1024n;

/** Pids in the nth v1 hierarchy of the cgroup. */
function membersOf(ref: CgroupRef, index: number): number[] {
  const dirs = [...new Set(Object.values(ref.dirs))].filter((dir) => dir !== ref.dirs[""]);
  return readFileSync(`${dirs[index]}/cgroup.procs`, "utf8").trim().split("\n").map(Number);
}

test("cgroup v1: the process is in every hierarchy, under one path, before anything else happens", async () => {
  const path = `/${uniqueName()}/inner`;
  await withCgroup({ cgroupsPath: path }, (_, child) => {
    const lines = readFileSync(`/proc/${child.pid}/cgroup`, "utf8").trim().split("\n");
    expect(lines.map((line) => line.split(":")[2])).toEqual(lines.map(() => path));
  });
});

test("cgroup v1: limits and the default device rules are written", async () => {
  const resources = {
    memory: { limit: 64n * MIB, swap: 64n * MIB },
    cpu: { shares: 512n, quota: 20_000n, period: 50_000n, cpus: "0" },
    pids: { limit: 7n },
    devices: [
      { allow: false, access: "rwm" },
      { allow: true, type: "c", major: 10, minor: 229, access: "rw" },
    ],
  };
  await withCgroup({ resources }, (ref) => {
    expect(readCgroup(ref, "memory", "memory.limit_in_bytes")).toBe(String(64n * MIB));
    expect(readCgroup(ref, "memory", "memory.memsw.limit_in_bytes")).toBe(String(64n * MIB));
    expect(readCgroup(ref, "cpu", "cpu.cfs_quota_us")).toBe("20000");
    expect(readCgroup(ref, "cpuset", "cpuset.cpus")).toBe("0");
    expect(readCgroup(ref, "pids", "pids.max")).toBe("7");
    const devices = readCgroup(ref, "devices", "devices.list").split("\n");
    expect(devices).toContain("c 10:229 rw");
    expect(devices).toContain("c 1:3 rwm");
    expect(devices).not.toContain("a *:* rwm");
  });
});

test("cgroup v1: a refused value names the field, and nothing is left", async () => {
  const name = uniqueName();
  const made = makeCgroup({ cgroupsPath: `/${name}/inner`, resources: { cpu: { cpus: "4095" } } });
  expect(made).rejects.toThrow('cannot set linux.resources.cpu.cpus to "4095": cpuset.cpus:');
  await made.catch(() => {});
  for (const { mount } of probeCgroupHost().hierarchies) expect(existsSync(`${mount}/${name}`)).toBeFalse();
});

test("cgroup v1: a cgroup with processes of somebody else is refused and stays as it was", async () => {
  await withCgroup({}, async (ref, child) => {
    const again = makeCgroup({ cgroupsPath: ref.path, resources: { pids: { limit: 1n } } });
    expect(again).rejects.toThrow("it is not empty (1 processes");
    await again.catch(() => {});
    expect(cgroupPids(ref)).toEqual([child.pid]);
    expect(readCgroup(ref, "pids", "pids.max")).toBe("max");
  });
});

test("cgroup v1: an empty directory that was there before is used and left", async () => {
  const name = uniqueName();
  const { hierarchies } = probeCgroupHost();
  const dir = `${hierarchies.find(({ controllers }) => controllers.includes("pids"))?.mount}/${name}`;
  mkdirSync(dir);
  try {
    await withCgroup({ cgroupsPath: `/${name}` }, (_, child) => {
      expect(readFileSync(`${dir}/cgroup.procs`, "utf8")).toBe(`${child.pid}\n`);
    });
    expect(existsSync(dir)).toBeTrue();
  } finally {
    rmdirSync(dir);
  }
});

test("cgroup v1: the same ID under two state roots gets two cgroups", async () => {
  const id = uniqueName();
  const [one, other] = [await makeCgroup({ id }), await makeCgroup({ id })];
  expect([one.path, other.path]).toEqual([`/cloche-${id}`, `/cloche-${id}.2`]);
  await removeCgroup(one);
  await removeCgroup(other);
});

test("cgroup v1: a process enters by itself through the descriptors", async () => {
  const ref = await makeCgroup({});
  const join = openJoin(ref);
  const fds = join.tasksFds.map((_, index) => index + 3);
  expect(fds).toHaveLength(new Set(Object.values(ref.dirs)).size - (ref.dirs[""] === undefined ? 0 : 1));
  const script = `${fds.map((fd) => `printf 0 >/proc/self/fd/${fd}`).join("; ")}; exec sleep 1000`;
  const child = spawn("/bin/sh", ["-c", script], { stdio: ["ignore", "ignore", "ignore", ...join.tasksFds] });
  try {
    await until(() => cgroupPids(ref).length === 1, "the process is in");
    await until(
      () => fds.every((_, index) => membersOf(ref, index).includes(child.pid ?? 0)),
      "it is in every hierarchy",
    );
  } finally {
    closeJoin(join);
    killCgroup(ref, 9);
    await removeCgroup(ref);
  }
});

test("cgroup v1: exec joins a cgroup below, and not one outside", async () => {
  await withCgroup({}, (ref) => {
    for (const dir of new Set(Object.values(ref.dirs))) mkdirSync(`${dir}/sub`);
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      writeFileSync(`${ref.dirs["cpuset"]}/sub/${file}`, readCgroup(ref, "cpuset", file));
    }
    const second = startSleeper();
    joinCgroup(ref, second.pid, "/sub");
    expect(cgroupPids(ref)).toContain(second.pid);
    expect(() => joinCgroup(ref, second.pid, "../..")).toThrow('must not contain ".."');
  });
});

test("cgroup v1: frozen processes stay, thawed ones go on, and SIGKILL reaches both", async () => {
  await withCgroup({}, async (ref, child) => {
    freezeCgroup(ref, true);
    expect(isFrozen(ref)).toBeTrue();
    killCgroup(ref, 10);
    expect(cgroupPids(ref)).toEqual([child.pid]);
    expect(isFrozen(ref)).toBeTrue();
    const end = ended(child);
    freezeCgroup(ref, false);
    expect(await end).toBe("signal SIGUSR1");
  });
  await withCgroup({}, async (ref, child) => {
    freezeCgroup(ref, true);
    const end = ended(child);
    killCgroup(ref, 9);
    expect(await end).toBe("signal SIGKILL");
    expect(cgroupPids(ref)).toEqual([]);
  });
});

test("cgroup v1: killing ends a family that forks all the time", async () => {
  const child = startScript("read go; f() { while :; do sleep 0.01 & done; }; f & f & f & wait");
  const ref = await makeCgroup({ resources: { pids: { limit: 200n } } }, child.pid);
  child.stdin?.end("\n");
  await until(() => cgroupPids(ref).length > 20, "a crowd");
  killCgroup(ref, 9);
  expect(cgroupPids(ref)).toEqual([]);
  await removeCgroup(ref);
});

test("cgroup v1: update raises and lowers memory with swap, and puts everything back when one value is refused", async () => {
  await withCgroup({ resources: { memory: { limit: 64n * MIB, swap: 64n * MIB } } }, async (ref) => {
    const limits = () =>
      ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"].map((file) => BigInt(readCgroup(ref, "memory", file)));
    await updateCgroup(ref, { memory: { limit: 128n * MIB, swap: 128n * MIB } });
    expect(limits()).toEqual([128n * MIB, 128n * MIB]);
    await updateCgroup(ref, { memory: { limit: 32n * MIB, swap: 32n * MIB } });
    expect(limits()).toEqual([32n * MIB, 32n * MIB]);
    const refused = updateCgroup(ref, {
      pids: { limit: 5n },
      memory: { limit: 48n * MIB, swap: 48n * MIB },
      blockIO: { throttleReadBpsDevice: [{ major: 4095, minor: 5, rate: 5n }] },
    });
    expect(refused).rejects.toThrow("linux.resources.blockIO.throttleReadBpsDevice");
    await refused.catch(() => {});
    expect(limits()).toEqual([32n * MIB, 32n * MIB]);
    expect(readCgroup(ref, "pids", "pids.max")).toBe("max");
  });
});

test("cgroup v1: update leaves alone what docker sends as 0", async () => {
  await withCgroup({ resources: { pids: { limit: 9n }, cpu: { shares: 700n } } }, async (ref) => {
    await updateCgroup(ref, {
      memory: { limit: 64n * MIB, reservation: 0n, swap: 0n, kernel: 0n },
      cpu: { shares: 0n, quota: 0n, period: 0n },
      pids: { limit: 0n },
      blockIO: { weight: 0 },
    });
    expect(readCgroup(ref, "memory", "memory.limit_in_bytes")).toBe(String(64n * MIB));
    expect(readCgroup(ref, "cpu", "cpu.shares")).toBe("700");
    expect(readCgroup(ref, "pids", "pids.max")).toBe("9");
  });
});

test("cgroup v1: running out of memory is told and counted", async () => {
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
  expect(oomKillCount(ref)).toBe(0);
});

test("cgroup v1: statistics have runc's shape and exact integers", async () => {
  await withCgroup({ resources: { pids: { limit: 7n } } }, (ref) => {
    const json = statsJson(cgroupStats(ref));
    expect(json).toContain('"limit":9223372036854771712');
    expect(JSON.parse(json)).toMatchObject({ pids: { current: 1, limit: 7 }, cpuset: { mems: [0] } });
  });
});

test("cgroup v1: containers under one parent come and go at the same time", async () => {
  const parent = `/${uniqueName()}`;
  const host = probeCgroupHost();
  const script = `
    const [{ createCgroup }, { planCgroup }, { removeCgroup }, { probeCgroupHost }] = await Promise.all(
      ["create", "plan", "remove", "probe"].map((name) => import("${import.meta.dirname}/../../sandbox/cgroups/" + name + ".ts")));
    for (let round = 0; round < 60; round++) {
      const id = process.argv.at(-1) + "-" + round;
      const plan = planCgroup({ id, cgroupsPath: "${parent}/" + id, resources: { pids: { limit: 5n } }, systemd: false,
        annotations: {}, host: probeCgroupHost() });
      removeCgroup(createCgroup(plan));
    }`;
  const racers = ["a", "b", "c"].map((name) => Bun.spawn([process.execPath, "-e", script, name], { stderr: "pipe" }));
  const outcomes = await Promise.all(racers.map(async (racer) => [await racer.exited, await racer.stderr.text()]));
  expect(outcomes).toEqual(racers.map(() => [0, ""]));
  // A parent that one racer made while another was in it stays with whoever came last; it is empty in any case.
  for (const { mount } of host.hierarchies) if (existsSync(mount + parent)) rmdirSync(mount + parent);
});

test("createCgroup makes nothing for a container without cgroup", async () => {
  const { disabledCgroupPlan } = await import("../../sandbox/cgroups/plan.ts");
  expect(createCgroup(disabledCgroupPlan({ version: "v2", hierarchies: [] }), process.pid)).toEqual({
    driver: "disabled",
    version: "v2",
    path: "",
    dirs: {},
    owned: [],
  });
});

test("planCgroup refuses a controller that is not mounted, before anything is made", () => {
  const host = { version: "v1" as const, hierarchies: [{ mount: "/sys/fs/cgroup/cpu", controllers: ["cpu"] }] };
  const input = { id: "x", cgroupsPath: undefined, systemd: false, annotations: {}, host };
  expect(() => planCgroup({ ...input, resources: { pids: { limit: 5n } } })).toThrow('"pids" is not mounted');
});

const itRuns = requires("root", "cgroup1", "busybox", "cloche");

itRuns("run in a cgroup that is there already, with this very cloche below it: ends, and kills nobody", () =>
  withRuntime((runtime) => {
    const name = uniqueName();
    // Where devices has children it takes no rules.
    const dirs = ["freezer", "pids"].map((controller) => `/sys/fs/cgroup/${controller}/${name}`);
    for (const dir of dirs) mkdirSync(`${dir}/inner`, { recursive: true });
    const neighbour = startSleeper();
    try {
      for (const dir of dirs) writeFileSync(`${dir}/inner/cgroup.procs`, String(neighbour.pid));
      const bundle = runtime.bundle((spec) => {
        spec.linux.cgroupsPath = `/${name}`;
      });
      const enter = dirs.map((dir) => `echo $$ > ${dir}/inner/cgroup.procs`).join("; ");
      const run = `exec "${runtimePath()}" --root "${runtime.root}" run --bundle "${bundle}" "${runtime.id()}"`;
      const { signal } = spawnSync("/bin/sh", ["-c", `${enter}; ${run}`], { stdio: "ignore" });
      expect(signal).toBeNull();
      expect(neighbour.exitCode ?? neighbour.signalCode).toBeNull();
    } finally {
      neighbour.kill("SIGKILL");
      for (const id of runtime.run(["list", "--quiet"]).stdout.split("\n").filter(Boolean)) {
        runtime.run(["delete", "--force", id]);
      }
      spawnSync("sleep", ["0.2"]);
      for (const dir of dirs) for (const each of [`${dir}/inner`, dir]) if (existsSync(each)) rmdirSync(each);
    }
  }),
);
