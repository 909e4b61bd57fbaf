/** The shape of `events --stats`: runc's, which containerd and docker decode (integers of 64 bits, so bigint). */

export interface CgroupStats {
  cpu: {
    usage: {
      /** Nanoseconds, as all of `usage`. */
      total: bigint;
      percpu?: bigint[];
      percpu_kernel?: bigint[];
      percpu_user?: bigint[];
      kernel: bigint;
      user: bigint;
    };
    throttling: { periods: bigint; throttledPeriods: bigint; throttledTime: bigint };
    psi?: PressureStats;
  };
  cpuset: CpusetStats;
  memory: {
    /** Bytes, as everything in `memory`. */
    cache: bigint;
    usage: MemoryEntry;
    /** Memory and swap together, on v2 too. */
    swap: MemoryEntry;
    kernel: MemoryEntry;
    kernelTCP: MemoryEntry;
    raw: Record<string, bigint>;
    psi?: PressureStats;
  };
  /** A limit of 0 is no limit. */
  pids: { current: bigint; limit: bigint };
  blkio: BlkioStats;
  /** By page size. */
  hugetlb: Record<string, { usage: bigint; max: bigint; failcnt: bigint }>;
  intel_rdt: Record<string, never>;
  network_interfaces: null;
}

export interface MemoryEntry {
  limit: bigint;
  usage: bigint;
  max: bigint;
  failcnt: bigint;
}

export interface BlkioEntry {
  major: bigint;
  minor: bigint;
  op: string;
  value: bigint;
}

export interface BlkioStats {
  ioServiceBytesRecursive: BlkioEntry[];
  ioServicedRecursive: BlkioEntry[];
  ioQueueRecursive: BlkioEntry[];
  ioServiceTimeRecursive: BlkioEntry[];
  ioWaitTimeRecursive: BlkioEntry[];
  ioMergedRecursive: BlkioEntry[];
  ioTimeRecursive: BlkioEntry[];
  sectorsRecursive: BlkioEntry[];
  psi?: PressureStats;
}

export interface CpusetStats {
  cpus: number[];
  cpu_exclusive: bigint;
  mems: number[];
  mem_hardwall: bigint;
  mem_exclusive: bigint;
  memory_migrate: bigint;
  memory_spread_page: bigint;
  memory_spread_slab: bigint;
  memory_pressure: bigint;
  sched_load_balance: bigint;
  sched_relax_domain_level: bigint;
}

/** Share of time in percent over 10, 60 and 300 seconds, and the total in microseconds. */
export interface PressureData {
  avg10: number;
  avg60: number;
  avg300: number;
  total: bigint;
}

export interface PressureStats {
  some: PressureData;
  full: PressureData;
}
