/** The settings of `linux.resources` as writes to the files of cgroup v1 controllers. */

import { UnsupportedError } from "../../specutils/errors.ts";
import type { Resources, ThrottleDevice } from "../../specutils/spec.ts";
import { checkPageSize, rdmaLine, swapMax } from "./resource-values.ts";
import type { CgroupWrite } from "./types.ts";

const RESOURCES = "linux.resources";
/** What older engines send for "not set": -1 in an unsigned field. */
const UNSET_UINT64 = 2n ** 64n - 1n;

/**
 * Preconditions: `resources` is valid by the spec's schema. A 0 where the kernel has no use for it means "leave alone",
 * which is how docker sends what the user did not set.
 *
 * @throws SpecError if memory and swap contradict each other
 * @throws UnsupportedError if a setting needs a controller that is not among `controllers`
 */
export function planV1Writes(resources: Resources, controllers: ReadonlySet<string>): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const add = (controller: string, file: string, value: bigint | number | string, field: string, more = {}): void => {
    const path = `${RESOURCES}.${field}`;
    if (!controllers.has(controller)) {
      throw new UnsupportedError(`cannot set ${path}: cgroup controller "${controller}" is not mounted on this host`);
    }
    writes.push({ controller, file, value: String(value), field: path, ...more });
  };
  if (resources.unified && Object.keys(resources.unified).length > 0) {
    throw new UnsupportedError(`cannot set ${RESOURCES}.unified: this host uses cgroup v1`);
  }
  addCpu(resources, add);
  addMemory(resources, add);
  const pids = resources.pids?.limit;
  // A limit of 0 and one of 1 both forbid every fork, but with 0 not even the container process could be cloned into it.
  if (pids !== undefined) add("pids", "pids.max", pids < 0n ? "max" : pids === 0n ? 1n : pids, "pids.limit");
  addBlockIo(resources, add);
  for (const { pageSize, limit } of resources.hugepageLimits ?? []) {
    checkPageSize(pageSize);
    add("hugetlb", `hugetlb.${pageSize}.limit_in_bytes`, limit, "hugepageLimits");
    add("hugetlb", `hugetlb.${pageSize}.rsvd.limit_in_bytes`, limit, "hugepageLimits", { isOptional: true });
  }
  const classId = resources.network?.classID;
  if (classId) add("net_cls", "net_cls.classid", classId, "network.classID");
  for (const { name, priority } of resources.network?.priorities ?? []) {
    add("net_prio", "net_prio.ifpriomap", `${name} ${priority}`, "network.priorities");
  }
  for (const [device, limits] of Object.entries(resources.rdma ?? {})) {
    add("rdma", "rdma.max", rdmaLine(device, limits), `rdma.${device}`);
  }
  return writes;
}

type Add = (controller: string, file: string, value: bigint | number | string, field: string, more?: object) => void;

function addCpu({ cpu = {} }: Resources, add: Add): void {
  if (cpu.shares) add("cpu", "cpu.shares", cpu.shares, "cpu.shares");
  const group = { group: "cfs" };
  if (cpu.period) add("cpu", "cpu.cfs_period_us", cpu.period, "cpu.period", group);
  if (cpu.quota) add("cpu", "cpu.cfs_quota_us", cpu.quota < 0n ? -1n : cpu.quota, "cpu.quota", group);
  if (cpu.burst !== undefined) add("cpu", "cpu.cfs_burst_us", cpu.burst, "cpu.burst", group);
  if (cpu.realtimePeriod) add("cpu", "cpu.rt_period_us", cpu.realtimePeriod, "cpu.realtimePeriod", { group: "rt" });
  if (cpu.realtimeRuntime) add("cpu", "cpu.rt_runtime_us", cpu.realtimeRuntime, "cpu.realtimeRuntime", { group: "rt" });
  // The kernel refuses shares for an idle group, so it becomes idle last.
  if (cpu.idle !== undefined) add("cpu", "cpu.idle", cpu.idle, "cpu.idle", { isOptional: cpu.idle === 0n });
  if (cpu.cpus) add("cpuset", "cpuset.cpus", cpu.cpus, "cpu.cpus");
  if (cpu.mems) add("cpuset", "cpuset.mems", cpu.mems, "cpu.mems");
}

function addMemory({ memory = {} }: Resources, add: Add): void {
  const group = { group: "memory" };
  // The kernel would answer "invalid argument" to whichever of the two comes second.
  if (memory.limit && memory.swap) swapMax(memory.limit, memory.swap);
  // Without memory, memory+swap has no meaning of its own: an unlimited container is meant to be unlimited in both.
  const swap = memory.swap || (memory.limit === -1n ? -1n : 0n);
  if (memory.limit) add("memory", "memory.limit_in_bytes", memory.limit, "memory.limit", group);
  if (memory.swap) {
    add("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap", group);
  } else if (swap) {
    add("memory", "memory.memsw.limit_in_bytes", swap, "memory.limit", { ...group, isOptional: true });
  }
  if (memory.reservation) add("memory", "memory.soft_limit_in_bytes", memory.reservation, "memory.reservation");
  if (memory.kernel) add("memory", "memory.kmem.limit_in_bytes", memory.kernel, "memory.kernel");
  if (memory.kernelTCP) add("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernelTCP, "memory.kernelTCP");
  if (memory.useHierarchy) add("memory", "memory.use_hierarchy", 1, "memory.useHierarchy");
  if (memory.disableOOMKiller) add("memory", "memory.oom_control", 1, "memory.disableOOMKiller");
  if (memory.swappiness !== undefined && memory.swappiness !== UNSET_UINT64 && memory.swappiness !== -1n) {
    add("memory", "memory.swappiness", memory.swappiness, "memory.swappiness");
  }
}

/** CFQ is gone since Linux 5.0; where BFQ has taken its files' place they carry its name. */
function addBlockIo({ blockIO }: Resources, add: Add): void {
  if (blockIO === undefined) return;
  const bfq = (file: string, value: string | number): object => ({ fallback: { file, value: String(value) } });
  const { weight, leafWeight } = blockIO;
  if (weight) add("blkio", "blkio.weight", weight, "blockIO.weight", bfq("blkio.bfq.weight", weight));
  if (leafWeight) add("blkio", "blkio.leaf_weight", leafWeight, "blockIO.leafWeight");
  for (const device of blockIO.weightDevice ?? []) {
    const prefix = `${device.major}:${device.minor}`;
    const field = "blockIO.weightDevice";
    if (device.weight) {
      const value = `${prefix} ${device.weight}`;
      add("blkio", "blkio.weight_device", value, field, bfq("blkio.bfq.weight_device", value));
    }
    if (device.leafWeight) add("blkio", "blkio.leaf_weight_device", `${prefix} ${device.leafWeight}`, field);
  }
  const throttle = (file: string, name: string, devices: ThrottleDevice[] = []): void => {
    for (const device of devices) {
      add("blkio", `blkio.throttle.${file}`, `${device.major}:${device.minor} ${device.rate}`, `blockIO.${name}`);
    }
  };
  throttle("read_bps_device", "throttleReadBpsDevice", blockIO.throttleReadBpsDevice);
  throttle("write_bps_device", "throttleWriteBpsDevice", blockIO.throttleWriteBpsDevice);
  throttle("read_iops_device", "throttleReadIOPSDevice", blockIO.throttleReadIOPSDevice);
  throttle("write_iops_device", "throttleWriteIOPSDevice", blockIO.throttleWriteIOPSDevice);
}
