import { expect, test } from "bun:test";
import type { Resources } from "../../specutils/spec.ts";
import { planV1Writes } from "./resources-v1.ts";

const ALL = new Set(["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"]);

function lines(resources: Resources, controllers = ALL): string[] {
  return planV1Writes(resources, controllers).map(({ controller, file, value }) => `${controller} ${file}=${value}`);
}

test("planV1Writes writes every field to its controller's file", () => {
  const devices = [{ major: 8, minor: 0, rate: 600n }];
  const resources: Resources = {
    cpu: { shares: 1024n, quota: 50000n, period: 100000n, burst: 0n, cpus: "0-1", mems: "0", idle: 1n },
    memory: { limit: 64n, swap: 128n, reservation: 32n, swappiness: 0n, disableOOMKiller: true },
    pids: { limit: 5n },
    blockIO: {
      weight: 10,
      leafWeight: 20,
      weightDevice: [{ major: 8, minor: 0, weight: 30, leafWeight: 40 }],
      throttleReadBpsDevice: devices,
      throttleWriteIOPSDevice: devices,
    },
    hugepageLimits: [{ pageSize: "2MB", limit: 4n }],
    network: { classID: 1048577, priorities: [{ name: "eth0", priority: 5 }] },
    rdma: { mlx5_1: { hcaHandles: 3, hcaObjects: 9 } },
  };
  expect(lines(resources)).toEqual([
    "cpu cpu.shares=1024",
    "cpu cpu.cfs_period_us=100000",
    "cpu cpu.cfs_quota_us=50000",
    "cpu cpu.cfs_burst_us=0",
    "cpu cpu.idle=1",
    "cpuset cpuset.cpus=0-1",
    "cpuset cpuset.mems=0",
    "memory memory.limit_in_bytes=64",
    "memory memory.memsw.limit_in_bytes=128",
    "memory memory.soft_limit_in_bytes=32",
    "memory memory.oom_control=1",
    "memory memory.swappiness=0",
    "pids pids.max=5",
    "blkio blkio.weight=10",
    "blkio blkio.leaf_weight=20",
    "blkio blkio.weight_device=8:0 30",
    "blkio blkio.leaf_weight_device=8:0 40",
    "blkio blkio.throttle.read_bps_device=8:0 600",
    "blkio blkio.throttle.write_iops_device=8:0 600",
    "hugetlb hugetlb.2MB.limit_in_bytes=4",
    "hugetlb hugetlb.2MB.rsvd.limit_in_bytes=4",
    "net_cls net_cls.classid=1048577",
    "net_prio net_prio.ifpriomap=eth0 5",
    "rdma rdma.max=mlx5_1 hca_handle=3 hca_object=9",
  ]);
});

test("planV1Writes leaves alone what docker sends as 0, with no controller at all", () => {
  const unset: Resources = {
    memory: { limit: 0n, swap: 0n, reservation: 0n, kernel: 0n, disableOOMKiller: false, swappiness: 2n ** 64n - 1n },
    cpu: { shares: 0n, quota: 0n, period: 0n, realtimePeriod: 0n, realtimeRuntime: 0n, cpus: "", mems: "" },
    blockIO: { weight: 0 },
    network: { classID: 0 },
  };
  expect(lines(unset, new Set())).toEqual([]);
});

test("planV1Writes: -1 is unlimited, for memory together with swap", () => {
  expect(lines({ memory: { limit: -1n }, pids: { limit: -1n }, cpu: { quota: -1n } })).toEqual([
    "cpu cpu.cfs_quota_us=-1",
    "memory memory.limit_in_bytes=-1",
    "memory memory.memsw.limit_in_bytes=-1",
    "pids pids.max=max",
  ]);
});

test("planV1Writes: a pids limit of 0 forbids every fork and still lets the container process in", () => {
  expect(lines({ pids: { limit: 0n } })).toEqual(["pids pids.max=1"]);
});

test("planV1Writes names the field whose controller is missing", () => {
  expect(() => planV1Writes({ network: { classID: 5 } }, new Set(["cpu"]))).toThrow(
    'cannot set linux.resources.network.classID: cgroup controller "net_cls" is not mounted on this host',
  );
});

test("planV1Writes refuses unified, but not an empty one", () => {
  expect(() => planV1Writes({ unified: { "memory.max": "1" } }, ALL)).toThrow("linux.resources.unified");
  expect(planV1Writes({ unified: {} }, ALL)).toEqual([]);
});

test("planV1Writes refuses a page size that names another file", () => {
  expect(() => planV1Writes({ hugepageLimits: [{ pageSize: "../../x", limit: 1n }] }, ALL)).toThrow("pageSize");
});

test("planV1Writes refuses memory+swap below memory, which no order of writing makes possible", () => {
  expect(() => planV1Writes({ memory: { limit: 64n, swap: 32n } }, ALL)).toThrow("want at least memory.limit (64)");
  expect(lines({ memory: { swap: 32n } })).toEqual(["memory memory.memsw.limit_in_bytes=32"]);
});
