/** What a container uses, read from its cgroup files. Files that the host does not have count as zero. */

import { readdirSync } from "node:fs";
import { readKeyed, readValue } from "./files.ts";
import type { BlkioEntry, BlkioStats, CgroupStats, MemoryEntry, PressureData, PressureStats } from "./stats-types.ts";
import type { CgroupRef } from "./types.ts";

const UNLIMITED = 2n ** 64n - 1n;
const NS_PER_US = 1000n;

/** The statistics of `events --stats`; all zero if the cgroup is gone. */
export function cgroupStats(ref: CgroupRef): CgroupStats {
  return ref.version === "v2" ? statsV2(ref.dirs[""] ?? "") : statsV1(ref.dirs);
}

/** As JSON in which every integer is exact: `JSON.stringify` takes no bigint, and a number is rounded above 2^53. */
export function statsJson(stats: CgroupStats): string {
  return JSON.stringify(stats, (_, value: unknown) => (typeof value === "bigint" ? rawJson(value) : value));
}

/** JSON.rawJSON is in Bun and Node, but not yet in TypeScript's library. */
function rawJson(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}

function statsV1(dirs: Readonly<Record<string, string>>): CgroupStats {
  const cpu = dirs["cpu"] ?? "";
  const cpuacct = dirs["cpuacct"] ?? "";
  const memory = dirs["memory"] ?? "";
  const pids = dirs["pids"] ?? "";
  const throttling = readKeyed(`${cpu}/cpu.stat`);
  const raw = readKeyed(`${memory}/memory.stat`);
  return {
    cpu: {
      usage: {
        total: integer(`${cpuacct}/cpuacct.usage`),
        percpu: integers(`${cpuacct}/cpuacct.usage_percpu`),
        percpu_kernel: integers(`${cpuacct}/cpuacct.usage_percpu_sys`),
        percpu_user: integers(`${cpuacct}/cpuacct.usage_percpu_user`),
        kernel: integer(`${cpuacct}/cpuacct.usage_sys`),
        user: integer(`${cpuacct}/cpuacct.usage_user`),
      },
      throttling: {
        periods: throttling["nr_periods"] ?? 0n,
        throttledPeriods: throttling["nr_throttled"] ?? 0n,
        throttledTime: throttling["throttled_time"] ?? 0n,
      },
    },
    cpuset: cpusetStats(dirs["cpuset"] ?? "", "cpuset.cpus", "cpuset.mems"),
    memory: {
      cache: raw["cache"] ?? 0n,
      usage: memoryV1(`${memory}/memory.`),
      swap: memoryV1(`${memory}/memory.memsw.`),
      kernel: memoryV1(`${memory}/memory.kmem.`),
      kernelTCP: memoryV1(`${memory}/memory.kmem.tcp.`),
      raw,
    },
    pids: { current: integer(`${pids}/pids.current`), limit: integer(`${pids}/pids.max`) },
    blkio: blkioV1(dirs["blkio"] ?? ""),
    hugetlb: hugetlb(dirs["hugetlb"], "usage_in_bytes", "max_usage_in_bytes", (prefix) => integer(`${prefix}.failcnt`)),
    intel_rdt: {},
    network_interfaces: null,
  };
}

function statsV2(dir: string): CgroupStats {
  const cpu = readKeyed(`${dir}/cpu.stat`);
  const raw = readKeyed(`${dir}/memory.stat`);
  const usage = memoryV2(`${dir}/memory`);
  const swapOnly = memoryV2(`${dir}/memory.swap`);
  const isBounded = usage.limit !== UNLIMITED && swapOnly.limit !== UNLIMITED;
  const nothing = { limit: 0n, usage: 0n, max: 0n, failcnt: 0n };
  return {
    cpu: {
      usage: {
        total: (cpu["usage_usec"] ?? 0n) * NS_PER_US,
        kernel: (cpu["system_usec"] ?? 0n) * NS_PER_US,
        user: (cpu["user_usec"] ?? 0n) * NS_PER_US,
      },
      throttling: {
        periods: cpu["nr_periods"] ?? 0n,
        throttledPeriods: cpu["nr_throttled"] ?? 0n,
        throttledTime: (cpu["throttled_usec"] ?? 0n) * NS_PER_US,
      },
      ...pressure(`${dir}/cpu.pressure`),
    },
    cpuset: cpusetStats(dir, "cpuset.cpus.effective", "cpuset.mems.effective"),
    memory: {
      cache: raw["file"] ?? 0n,
      usage,
      swap: {
        ...swapOnly,
        usage: swapOnly.usage + usage.usage,
        limit: isBounded ? swapOnly.limit + usage.limit : UNLIMITED,
      },
      kernel: { ...nothing, usage: raw["kernel"] ?? 0n },
      kernelTCP: { ...nothing, usage: raw["sock"] ?? 0n },
      raw,
      ...pressure(`${dir}/memory.pressure`),
    },
    pids: { current: integer(`${dir}/pids.current`), limit: integer(`${dir}/pids.max`) },
    blkio: { ...ioStat(`${dir}/io.stat`), ...pressure(`${dir}/io.pressure`) },
    hugetlb: hugetlb(dir, "current", "peak", (prefix) => readKeyed(`${prefix}.events`)["max"] ?? 0n),
    intel_rdt: {},
    network_interfaces: null,
  };
}

function memoryV1(prefix: string): MemoryEntry {
  return {
    limit: integer(`${prefix}limit_in_bytes`),
    usage: integer(`${prefix}usage_in_bytes`),
    max: integer(`${prefix}max_usage_in_bytes`),
    failcnt: integer(`${prefix}failcnt`),
  };
}

function memoryV2(prefix: string): MemoryEntry {
  const limit = readValue(`${prefix}.max`);
  return {
    limit: limit === undefined || limit === "max" ? UNLIMITED : BigInt(limit),
    usage: integer(`${prefix}.current`),
    max: integer(`${prefix}.peak`),
    failcnt: readKeyed(`${prefix}.events`)["max"] ?? 0n,
  };
}

function emptyBlkio(): BlkioStats {
  return {
    ioServiceBytesRecursive: [],
    ioServicedRecursive: [],
    ioQueueRecursive: [],
    ioServiceTimeRecursive: [],
    ioWaitTimeRecursive: [],
    ioMergedRecursive: [],
    ioTimeRecursive: [],
    sectorsRecursive: [],
  };
}

/** BFQ's numbers where a disk uses it, else those of the throttling layer, which sees every disk. */
function blkioV1(dir: string): BlkioStats {
  const either = (name: string): BlkioEntry[] => {
    const bfq = blkioEntries(`${dir}/blkio.bfq.${name}_recursive`);
    return bfq.length > 0 ? bfq : blkioEntries(`${dir}/blkio.throttle.${name}_recursive`);
  };
  return {
    ...emptyBlkio(),
    ioServiceBytesRecursive: either("io_service_bytes"),
    ioServicedRecursive: either("io_serviced"),
    ioServiceTimeRecursive: blkioEntries(`${dir}/blkio.bfq.io_service_time_recursive`),
    ioWaitTimeRecursive: blkioEntries(`${dir}/blkio.bfq.io_wait_time_recursive`),
    ioMergedRecursive: blkioEntries(`${dir}/blkio.bfq.io_merged_recursive`),
    ioQueueRecursive: blkioEntries(`${dir}/blkio.bfq.io_queued_recursive`),
    ioTimeRecursive: blkioEntries(`${dir}/blkio.bfq.time_recursive`),
    sectorsRecursive: blkioEntries(`${dir}/blkio.bfq.sectors_recursive`),
  };
}

/** Lines `8:0 Read 4096`, and `8:0 4096` where there is one number for a disk; the sum in `Total 4096` is left out. */
function blkioEntries(file: string): BlkioEntry[] {
  const entries: BlkioEntry[] = [];
  for (const line of lines(file)) {
    const [, major, minor, op = "", value] = /^(\d+):(\d+)(?: (\w+))? (\d+)$/.exec(line) ?? [];
    if (major === undefined || minor === undefined || value === undefined) continue;
    entries.push({ major: BigInt(major), minor: BigInt(minor), op, value: BigInt(value) });
  }
  return entries;
}

/** v2's io.stat, lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`, under v1's names. */
function ioStat(file: string): BlkioStats {
  const stats = emptyBlkio();
  const operations: Readonly<Record<string, string>> = { r: "Read", w: "Write", d: "Discard" };
  for (const line of lines(file)) {
    const [device = "", ...pairs] = line.split(" ");
    const [major, minor] = device.split(":");
    if (major === undefined || minor === undefined) continue;
    for (const pair of pairs) {
      const [, letter = "", unit, value] = /^([rwd])(bytes|ios)=(\d+)$/.exec(pair) ?? [];
      const op = operations[letter];
      if (op === undefined || value === undefined) continue;
      const entry = { major: BigInt(major), minor: BigInt(minor), op, value: BigInt(value) };
      (unit === "bytes" ? stats.ioServiceBytesRecursive : stats.ioServicedRecursive).push(entry);
    }
  }
  return stats;
}

function hugetlb(
  dir: string | undefined,
  usageName: string,
  maxName: string,
  failures: (prefix: string) => bigint,
): CgroupStats["hugetlb"] {
  if (dir === undefined) return {};
  const sizes = readdirSync(dir).flatMap((file) => /^hugetlb\.([0-9]+[KMG]B)\.[a-z_]+$/.exec(file)?.[1] ?? []);
  const stats: CgroupStats["hugetlb"] = {};
  for (const size of new Set(sizes)) {
    const prefix = `${dir}/hugetlb.${size}`;
    stats[size] = {
      usage: integer(`${prefix}.${usageName}`),
      max: integer(`${prefix}.${maxName}`),
      failcnt: failures(prefix),
    };
  }
  return stats;
}

function cpusetStats(dir: string, cpusFile: string, memsFile: string): CgroupStats["cpuset"] {
  const flag = (name: string): bigint => integer(`${dir}/cpuset.${name}`);
  return {
    cpus: parseRanges(readValue(`${dir}/${cpusFile}`) ?? ""),
    cpu_exclusive: flag("cpu_exclusive"),
    mems: parseRanges(readValue(`${dir}/${memsFile}`) ?? ""),
    mem_hardwall: flag("mem_hardwall"),
    mem_exclusive: flag("mem_exclusive"),
    memory_migrate: flag("memory_migrate"),
    memory_spread_page: flag("memory_spread_page"),
    memory_spread_slab: flag("memory_spread_slab"),
    memory_pressure: flag("memory_pressure"),
    sched_load_balance: flag("sched_load_balance"),
    sched_relax_domain_level: flag("sched_relax_domain_level"),
  };
}

/** `0-2,7` as 0, 1, 2, 7. */
export function parseRanges(list: string): number[] {
  return list
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** Pressure stall information, absent where the kernel does not gather it. */
function pressure(file: string): { psi?: PressureStats } {
  const rows = new Map(lines(file).map((line) => [line.split(" ")[0], line]));
  const some = rows.get("some");
  if (some === undefined) return {};
  return { psi: { some: pressureData(some), full: pressureData(rows.get("full") ?? "") } };
}

function pressureData(line: string): PressureData {
  const value = (name: string): string => new RegExp(`\\b${name}=([0-9.]+)`).exec(line)?.[1] ?? "0";
  return {
    avg10: Number(value("avg10")),
    avg60: Number(value("avg60")),
    avg300: Number(value("avg300")),
    total: BigInt(value("total")),
  };
}

/** The number in a file; 0 for `max` and for no file. */
function integer(file: string): bigint {
  const text = tryRead(file);
  return /^-?\d+$/.test(text) ? BigInt(text) : 0n;
}

function integers(file: string): bigint[] {
  return tryRead(file)
    .split(/\s+/)
    .filter((text) => text !== "")
    .map(BigInt);
}

function lines(file: string): string[] {
  return tryRead(file).split("\n");
}

function tryRead(file: string): string {
  return readValue(file) ?? "";
}
