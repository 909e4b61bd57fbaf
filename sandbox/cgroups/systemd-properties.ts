/**
 * What systemd is told about a container's scope. The limits are told to it as well as written to the files, because
 * systemd would otherwise put its own idea of them back at the next daemon-reload.
 */

import type { Resources } from "../../specutils/spec.ts";
import { parseAnnotations } from "./gvariant.ts";
import { cpuWeight, swapMax } from "./resource-values.ts";
import type { CgroupVersion, UnitProperty } from "./types.ts";

const INFINITY = 2n ** 64n - 1n;
const DEFAULT_CPU_PERIOD_US = 100_000n;

/**
 * Properties of a new scope: its place, that the cgroup below it is ours (Delegate), accounting for every controller that
 * the cgroupfs driver would use, the limits, and what `org.systemd.property.*` annotations ask for, which wins.
 *
 * @throws SpecError if such an annotation cannot be read
 */
export function unitProperties(
  id: string,
  slice: string,
  resources: Resources,
  version: CgroupVersion,
  annotations: Readonly<Record<string, string>>,
): UnitProperty[] {
  const properties = [
    property("Description", "s", `cloche container ${id}`),
    property("Slice", "s", slice),
    property("Delegate", "b", true),
    property("DefaultDependencies", "b", false),
    ...[
      "MemoryAccounting",
      "CPUAccounting",
      "TasksAccounting",
      version === "v2" ? "IOAccounting" : "BlockIOAccounting",
    ].map((name) => property(name, "b", true)),
    ...limitProperties(resources, version),
    ...parseAnnotations(annotations),
  ];
  return [...new Map(properties.map((entry) => [entry.name, entry])).values()];
}

/** The limits that systemd has a property for; also for `update`. */
export function limitProperties(resources: Resources, version: CgroupVersion): UnitProperty[] {
  const { memory = {}, cpu = {}, pids = {} } = resources;
  const properties: UnitProperty[] = [];
  const add = (name: string, value: bigint): void => {
    properties.push(property(name, "t", value < 0n ? INFINITY : value));
  };
  if (memory.limit) add(version === "v2" ? "MemoryMax" : "MemoryLimit", memory.limit);
  if (version === "v2") {
    if (memory.reservation) add("MemoryLow", memory.reservation);
    const swap = swapMax(memory.limit || undefined, memory.swap || undefined);
    if (swap !== undefined) add("MemorySwapMax", swap === "max" ? INFINITY : BigInt(swap));
  }
  if (cpu.shares) {
    if (version === "v2") add("CPUWeight", BigInt(cpuWeight(cpu.shares)));
    else add("CPUShares", cpu.shares);
  }
  if (cpu.quota || cpu.period) {
    const period = cpu.period || DEFAULT_CPU_PERIOD_US;
    if (cpu.period) add("CPUQuotaPeriodUSec", cpu.period);
    add("CPUQuotaPerSecUSec", cpu.quota && cpu.quota > 0n ? perSecond(cpu.quota, period) : INFINITY);
  }
  if (pids.limit !== undefined) add("TasksMax", pids.limit === 0n ? 1n : pids.limit);
  if (version === "v2") {
    if (cpu.cpus) properties.push(property("AllowedCPUs", "ay", rangeMask(cpu.cpus)));
    if (cpu.mems) properties.push(property("AllowedMemoryNodes", "ay", rangeMask(cpu.mems)));
  }
  return properties;
}

/** systemd keeps whole percent (10 ms per second), and rounding down would starve: round up. */
function perSecond(quota: bigint, period: bigint): bigint {
  const exact = (quota * 1_000_000n) / period;
  return ((exact + 9_999n) / 10_000n) * 10_000n;
}

/** A list such as `0-3,7` as a bit mask, lowest CPU in the lowest bit of the first byte. */
export function rangeMask(list: string): number[] {
  const mask: number[] = [];
  for (const part of list.split(",").filter((text) => text.trim() !== "")) {
    const [first = 0, last = first] = part.split("-").map(Number);
    for (let bit = first; bit <= last; bit++) mask[bit >> 3] = (mask[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return Array.from(mask, (byte) => byte ?? 0);
}

function property(name: string, signature: string, value: unknown): UnitProperty {
  return { name, signature, value };
}
