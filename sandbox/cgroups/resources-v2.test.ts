import { describe, expect, test } from "bun:test";
import type { Resources } from "../../specutils/spec.ts";
import { cpuWeight, ioWeight, swapMax } from "./resource-values.ts";
import { neededControllers, planV2Writes } from "./resources-v2.ts";

function lines(resources: Resources): string[] {
  return planV2Writes(resources).map(({ file, value }) => `${file}=${value}`);
}

test("planV2Writes converts v1's fields", () => {
  const devices = [{ major: 8, minor: 0, rate: 600n }];
  const resources: Resources = {
    cpu: { shares: 1024n, quota: 50000n, period: 100000n, burst: 10n, cpus: "0-1", mems: "0", idle: 1n },
    memory: { limit: 64n, swap: 128n, reservation: 32n },
    pids: { limit: -1n },
    blockIO: { weight: 10, weightDevice: [{ major: 8, minor: 0, weight: 1000 }], throttleWriteBpsDevice: devices },
    hugepageLimits: [{ pageSize: "1GB", limit: 4n }],
    rdma: { mlx5_1: { hcaHandles: 3 } },
  };
  expect(lines(resources)).toEqual([
    "cpu.weight=100",
    "cpu.max=50000 100000",
    "cpu.max.burst=10",
    "cpu.idle=1",
    "cpuset.cpus=0-1",
    "cpuset.mems=0",
    "memory.swap.max=64",
    "memory.max=64",
    "memory.low=32",
    "pids.max=max",
    "io.bfq.weight=10",
    "io.bfq.weight=8:0 1000",
    "io.max=8:0 wbps=600",
    "hugetlb.1GB.max=4",
    "hugetlb.1GB.rsvd.max=4",
    "rdma.max=mlx5_1 hca_handle=3",
  ]);
  const weights = planV2Writes(resources).flatMap(({ fallback }) => fallback?.value ?? []);
  expect(weights).toEqual(["default 1", "8:0 10000"]);
});

test("planV2Writes: a quota or a period alone", () => {
  expect(lines({ cpu: { quota: 5000n } })).toEqual(["cpu.max=5000 100000"]);
  expect(lines({ cpu: { period: 50000n } })).toEqual(["cpu.max=max 50000"]);
  expect(lines({ cpu: { quota: -1n, period: 50000n } })).toEqual(["cpu.max=max 50000"]);
});

test("planV2Writes writes unified last, one line at a time", () => {
  expect(lines({ memory: { limit: 5n }, unified: { "io.max": "8:0 rbps=1\n8:1 rbps=2", "memory.high": "7" } })).toEqual(
    ["memory.max=5", "io.max=8:0 rbps=1", "io.max=8:1 rbps=2", "memory.high=7"],
  );
});

test.each(["../memory.max", "a/b.c", "cgroup.procs", "cgroup.subtree_control", "memory", ".max", "memory.max/x"])(
  "planV2Writes refuses the unified key %j",
  (key) => {
    expect(() => planV2Writes({ unified: { [key]: "1" } })).toThrow("linux.resources.unified");
  },
);

test.each<[string, Resources]>([
  ["memory.kernel", { memory: { kernel: 5n } }],
  ["memory.kernelTCP", { memory: { kernelTCP: 5n } }],
  ["memory.swappiness", { memory: { swappiness: 5n } }],
  ["memory.disableOOMKiller", { memory: { disableOOMKiller: true } }],
  ["cpu.realtimeRuntime", { cpu: { realtimeRuntime: 5n } }],
  ["blockIO.leafWeight", { blockIO: { leafWeight: 5 } }],
  ["network.classID", { network: { classID: 5 } }],
])("planV2Writes refuses %s, which v2 does not have, and accepts it when it asks for nothing", (field, resources) => {
  expect(() => planV2Writes(resources)).toThrow(`cannot set linux.resources.${field}`);
  const nothing: Resources = {
    memory: { kernel: 0n, kernelTCP: -1n, swappiness: 2n ** 64n - 1n, disableOOMKiller: false },
    cpu: { realtimeRuntime: 0n },
    blockIO: { leafWeight: 0 },
    network: { classID: 0, priorities: [] },
  };
  expect(planV2Writes(nothing)).toEqual([]);
});

describe("swapMax", () => {
  test("is memory+swap without memory", () => {
    expect(swapMax(64n, 128n)).toBe("64");
    expect(swapMax(64n, 64n)).toBe("0");
    expect(swapMax(64n, -1n)).toBe("max");
    expect(swapMax(undefined, -1n)).toBe("max");
    expect(swapMax(-1n, undefined)).toBe("max");
    expect(swapMax(64n, undefined)).toBeUndefined();
  });

  test("refuses what cannot be computed", () => {
    expect(() => swapMax(undefined, 5n)).toThrow("memory.limit is needed");
    expect(() => swapMax(128n, 64n)).toThrow("want at least memory.limit (128)");
  });
});

test("cpuWeight goes through the ends and the default", () => {
  expect([2n, 1024n, 262144n].map(cpuWeight)).toEqual([1, 100, 10000]);
  expect([1n, 999999n].map(cpuWeight)).toEqual([1, 10000]);
});

test("ioWeight maps the range of v1 to that of v2", () => {
  expect([10, 1000].map(ioWeight)).toEqual([1, 10000]);
});

test("neededControllers are those of the files, without the core's", () => {
  const writes = planV2Writes({ pids: { limit: 1n }, unified: { "memory.high": "1", "cgroup.max.depth": "1" } });
  expect([...neededControllers(writes)]).toEqual(["pids", "memory"]);
});
