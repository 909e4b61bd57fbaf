/**
 * The settings of `linux.resources` as writes to the files of a v2 cgroup.
 *
 * Most fields are made for v1. They are converted where v2 has a counterpart; where it has none, a value that asks for
 * something is an error (config-linux.md#unified: "If the conversion is not possible the runtime MUST generate an error").
 */

import { SpecError, UnsupportedError } from "../../specutils/errors.ts";
import type { Resources, ThrottleDevice } from "../../specutils/spec.ts";
import { checkPageSize, cpuWeight, ioWeight, rdmaLine, swapMax } from "./resource-values.ts";
import type { CgroupWrite } from "./types.ts";

const RESOURCES = "linux.resources";
const DEFAULT_CPU_PERIOD_US = 100_000n;
const UNSET_UINT64 = 2n ** 64n - 1n;

type Add = (file: string, value: bigint | number | string, field: string, more?: object) => void;

/**
 * Preconditions: `resources` is valid by the spec's schema; 0 means "leave alone" where the kernel has no use for it.
 *
 * @throws SpecError if memory and swap contradict each other, or a key of `unified` is not a file name
 * @throws UnsupportedError if a field has no counterpart in v2
 */
export function planV2Writes(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const add: Add = (file, value, field, more = {}) => {
    writes.push({ controller: "", file, value: String(value), field: `${RESOURCES}.${field}`, ...more });
  };
  addCpu(resources, add);
  addMemory(resources, add);
  const pids = resources.pids?.limit;
  // A limit of 0 and one of 1 both forbid every fork, but with 0 not even the container process could be cloned into it.
  if (pids !== undefined) add("pids.max", pids < 0n ? "max" : pids === 0n ? 1n : pids, "pids.limit");
  addBlockIo(resources, add);
  for (const { pageSize, limit } of resources.hugepageLimits ?? []) {
    checkPageSize(pageSize);
    add(`hugetlb.${pageSize}.max`, limit, "hugepageLimits");
    add(`hugetlb.${pageSize}.rsvd.max`, limit, "hugepageLimits", { isOptional: true });
  }
  if (resources.network?.classID) refuse("network.classID");
  if (resources.network?.priorities?.length) refuse("network.priorities");
  for (const [device, limits] of Object.entries(resources.rdma ?? {})) {
    add("rdma.max", rdmaLine(device, limits), `rdma.${device}`);
  }
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    checkUnifiedKey(file);
    // A value may hold several lines, such as io.max for several devices; the kernel takes one line per write.
    for (const line of value.split("\n").filter((text, _, all) => text !== "" || all.length === 1)) {
      add(file, line, `unified["${file}"]`);
    }
  }
  return writes;
}

/** The controllers that writes need, by the first part of the file name. */
export function neededControllers(writes: readonly CgroupWrite[]): Set<string> {
  const names = writes.map(({ file }) => file.slice(0, file.indexOf(".")));
  return new Set(names.filter((name) => name !== "cgroup"));
}

function addCpu({ cpu = {} }: Resources, add: Add): void {
  if (cpu.shares) add("cpu.weight", cpuWeight(cpu.shares), "cpu.shares");
  const group = { group: "cfs" };
  if (cpu.quota || cpu.period) {
    const quota = cpu.quota && cpu.quota > 0n ? cpu.quota : "max";
    const field = cpu.quota ? "cpu.quota" : "cpu.period";
    add("cpu.max", `${quota} ${cpu.period || DEFAULT_CPU_PERIOD_US}`, field, group);
  }
  if (cpu.burst !== undefined) add("cpu.max.burst", cpu.burst, "cpu.burst", group);
  if (cpu.realtimePeriod) refuse("cpu.realtimePeriod");
  if (cpu.realtimeRuntime) refuse("cpu.realtimeRuntime");
  if (cpu.idle !== undefined) add("cpu.idle", cpu.idle, "cpu.idle", { isOptional: cpu.idle === 0n });
  if (cpu.cpus) add("cpuset.cpus", cpu.cpus, "cpu.cpus");
  if (cpu.mems) add("cpuset.mems", cpu.mems, "cpu.mems");
}

function addMemory({ memory = {} }: Resources, add: Add): void {
  const swap = swapMax(memory.limit || undefined, memory.swap || undefined);
  if (swap !== undefined) {
    const isOptional = !memory.swap;
    add("memory.swap.max", swap, memory.swap ? "memory.swap" : "memory.limit", { isOptional });
  }
  if (memory.limit) add("memory.max", maxOr(memory.limit), "memory.limit");
  if (memory.reservation) add("memory.low", maxOr(memory.reservation), "memory.reservation");
  if (memory.kernel && memory.kernel !== -1n) refuse("memory.kernel");
  if (memory.kernelTCP && memory.kernelTCP !== -1n) refuse("memory.kernelTCP");
  if (memory.disableOOMKiller) refuse("memory.disableOOMKiller");
  const { swappiness } = memory;
  if (swappiness !== undefined && swappiness !== UNSET_UINT64 && swappiness !== -1n) refuse("memory.swappiness");
}

function addBlockIo({ blockIO = {} }: Resources, add: Add): void {
  // With the BFQ scheduler its own file has v1's range; io.weight belongs to io.cost and goes to 10000.
  const { weight } = blockIO;
  if (weight) {
    const fallback = { file: "io.weight", value: `default ${ioWeight(weight)}` };
    add("io.bfq.weight", weight, "blockIO.weight", { fallback });
  }
  if (blockIO.leafWeight) refuse("blockIO.leafWeight");
  for (const { major, minor, weight: deviceWeight, leafWeight } of blockIO.weightDevice ?? []) {
    if (leafWeight) refuse("blockIO.weightDevice.leafWeight");
    if (!deviceWeight) continue;
    const fallback = { file: "io.weight", value: `${major}:${minor} ${ioWeight(deviceWeight)}` };
    add("io.bfq.weight", `${major}:${minor} ${deviceWeight}`, "blockIO.weightDevice", { fallback });
  }
  const throttle = (key: string, name: string, devices: ThrottleDevice[] = []): void => {
    for (const { major, minor, rate } of devices) {
      add("io.max", `${major}:${minor} ${key}=${rate === 0n ? "max" : rate}`, `blockIO.${name}`);
    }
  };
  throttle("rbps", "throttleReadBpsDevice", blockIO.throttleReadBpsDevice);
  throttle("wbps", "throttleWriteBpsDevice", blockIO.throttleWriteBpsDevice);
  throttle("riops", "throttleReadIOPSDevice", blockIO.throttleReadIOPSDevice);
  throttle("wiops", "throttleWriteIOPSDevice", blockIO.throttleWriteIOPSDevice);
}

function maxOr(limit: bigint): string {
  return limit < 0n ? "max" : String(limit);
}

/** `unified` may set any controller's file, and nothing else: no other directory, no membership, no delegation. */
function checkUnifiedKey(file: string): void {
  if (/^[a-z][a-z_]*\.[A-Za-z0-9._-]+$/.test(file) && !/^cgroup\.(procs|threads|subtree_control|type)$/.test(file))
    return;
  const field = `${RESOURCES}.unified`;
  throw new SpecError(
    `invalid ${field}: ${JSON.stringify(file)} is not the name of a controller's file`,
    field,
    "config-linux.md#unified",
  );
}

function refuse(field: string): never {
  throw new UnsupportedError(`cannot set ${RESOURCES}.${field}: cgroup v2, which this host uses, has no such setting`);
}
