/** The table of `linux.resources` (config-linux.md#control-groups), which is also the document of `update`. */

import {
  bool,
  type Check,
  int64,
  integer,
  list,
  nonEmptyText,
  object,
  oneOf,
  optional,
  optionalText,
  record,
  required,
  text,
  textLike,
  uint32,
  uint64,
  wideInteger,
} from "./schema.ts";
import type { BlockIoResources, CpuResources, DeviceRule, MemoryResources, Resources, ThrottleDevice } from "./spec.ts";

const DEVICES = "config-linux.md#allowed-device-list";
const MEMORY = "config-linux.md#memory";
const CPU = "config-linux.md#cpu";
const BLOCK_IO = "config-linux.md#block-io";
const HUGE_PAGES = "config-linux.md#huge-page-limits";
const NETWORK = "config-linux.md#network";
const PIDS = "config-linux.md#pids";
const RDMA = "config-linux.md#rdma";
const UNIFIED = "config-linux.md#unified";

/** Bytes, or -1 for no limit. */
const limit = wideInteger(-1n, 2n ** 63n - 1n);
const weight = integer(0, 65535);
/** The kernel's limits for device numbers (MINORBITS in include/linux/kdev_t.h); -1 stands for all. */
const majorOrAll = integer(-1, 4095);
const minorOrAll = integer(-1, 2 ** 20 - 1);
const major = integer(0, 4095);
const minor = integer(0, 2 ** 20 - 1);

const deviceRule = object<DeviceRule>(DEVICES, () => ({
  allow: required(bool),
  type: optionalText(oneOf(["a", "b", "c"], DEVICES)),
  major: optional(majorOrAll),
  minor: optional(minorOrAll),
  access: optionalText(textLike(/^[rwm]+$/, 'a composition of "r", "w" and "m"', DEVICES)),
}));

const memory = object<MemoryResources>(MEMORY, () => ({
  limit: optional(limit),
  reservation: optional(limit),
  swap: optional(limit),
  kernel: optional(limit),
  kernelTCP: optional(limit),
  swappiness: optional(uint64),
  disableOOMKiller: optional(bool),
  useHierarchy: optional(bool),
  checkBeforeUpdate: optional(bool),
}));

const cpu = object<CpuResources>(CPU, () => ({
  shares: optional(uint64),
  quota: optional(int64),
  burst: optional(uint64),
  period: optional(uint64),
  realtimeRuntime: optional(int64),
  realtimePeriod: optional(uint64),
  cpus: optionalText(text),
  mems: optionalText(text),
  idle: optional(wideInteger(0n, 1n)),
}));

const throttleDevice = object<ThrottleDevice>(BLOCK_IO, () => ({
  major: required(major),
  minor: required(minor),
  rate: required(uint64),
}));

type WeightDevice = NonNullable<BlockIoResources["weightDevice"]>[number];
const weightDeviceFields = object<WeightDevice>(BLOCK_IO, () => ({
  major: required(major),
  minor: required(minor),
  weight: optional(weight),
  leafWeight: optional(weight),
}));
const weightDevice: Check<WeightDevice> = (value, place, depth) => {
  const device = weightDeviceFields(value, place, depth);
  if (device.weight !== undefined || device.leafWeight !== undefined) return device;
  return place.fail(depth, "must have a weight or a leafWeight", BLOCK_IO);
};

const blockIo = object<BlockIoResources>(BLOCK_IO, () => ({
  weight: optional(weight),
  leafWeight: optional(weight),
  weightDevice: optional(list(weightDevice)),
  throttleReadBpsDevice: optional(list(throttleDevice)),
  throttleWriteBpsDevice: optional(list(throttleDevice)),
  throttleReadIOPSDevice: optional(list(throttleDevice)),
  throttleWriteIOPSDevice: optional(list(throttleDevice)),
}));

const hugepageLimit = object<NonNullable<Resources["hugepageLimits"]>[number]>(HUGE_PAGES, () => ({
  pageSize: required(textLike(/^[1-9][0-9]*[KMG]B$/, "a size such as 64KB, 2MB or 1GB", HUGE_PAGES)),
  limit: required(uint64),
}));

const networkPriority = object<{ name: string; priority: number }>(NETWORK, () => ({
  name: required(nonEmptyText),
  priority: required(uint32),
}));

type RdmaLimit = NonNullable<Resources["rdma"]>[string];
const rdmaFields = object<RdmaLimit>(RDMA, () => ({ hcaHandles: optional(uint32), hcaObjects: optional(uint32) }));
const rdma: Check<RdmaLimit> = (value, place, depth) => {
  const limits = rdmaFields(value, place, depth);
  if (limits.hcaHandles !== undefined || limits.hcaObjects !== undefined) return limits;
  return place.fail(depth, "must have hcaHandles or hcaObjects", RDMA);
};

/** A file in the container's own cgroup, and nothing that leads out of it. */
const cgroupFile = textLike(/^(?!\.\.?$)[^/]+$/, "the name of a file of the cgroup, without a slash", UNIFIED);

export const resourcesSchema = object<Resources>("config-linux.md#control-groups", () => ({
  devices: optional(list(deviceRule)),
  memory: optional(memory),
  cpu: optional(cpu),
  pids: optional(object<NonNullable<Resources["pids"]>>(PIDS, () => ({ limit: optional(int64) }))),
  blockIO: optional(blockIo),
  hugepageLimits: optional(list(hugepageLimit)),
  network: optional(
    object<NonNullable<Resources["network"]>>(NETWORK, () => ({
      classID: optional(uint32),
      priorities: optional(list(networkPriority)),
    })),
  ),
  rdma: optional(record(rdma, nonEmptyText)),
  unified: optional(record(text, cgroupFile)),
}));
