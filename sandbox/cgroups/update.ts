/** Changing the limits of a container that exists (`update`). */

import { SpecError } from "../../specutils/errors.ts";
import type { Resources } from "../../specutils/spec.ts";
import { setDeviceFilter } from "./device-filter.ts";
import { checkV1Devices, planDevices, writeV1Devices } from "./devices.ts";
import { applyWrites, readValue } from "./files.ts";
import { freezeCgroup, isFrozen } from "./freeze.ts";
import { planWrites } from "./plan.ts";
import type { CgroupRef, CgroupWrite, DeviceAccess } from "./types.ts";

type Cpu = NonNullable<Resources["cpu"]>;

const EVERYTHING: DeviceAccess = {
  allow: true,
  type: "a",
  major: undefined,
  minor: undefined,
  access: "rwm",
  field: undefined,
};

/**
 * Sets what `resources` names and leaves alone what it does not, or names as 0, which is how docker sends what the user
 * did not give. Device rules replace those there were. On failure the settings are put back to what they were.
 *
 * @throws SpecError naming the field that is invalid or was refused by the kernel
 * @throws UnsupportedError if this host has no such setting
 */
export async function updateCgroup(ref: CgroupRef, resources: Resources): Promise<void> {
  const wanted = ref.version === "v2" ? completeFromCurrent(ref, resources) : withoutZeroPids(resources);
  const hierarchies = [{ mount: "", controllers: Object.keys(ref.dirs) }];
  const writes = planWrites(wanted, { version: ref.version, hierarchies });
  const devices = resources.devices?.length ? (planDevices(resources.devices) ?? [EVERYTHING]) : undefined;
  if (ref.version === "v1" && devices) checkV1Devices(devices);
  if (wanted.memory?.checkBeforeUpdate) checkMemoryUsage(ref, wanted.memory.limit);
  const before = currentValues(ref, writes);
  try {
    if (ref.unit !== undefined)
      await tellSystemd(ref, ref.unit, ref.version === "v1" ? withV1Bandwidth(ref, wanted) : wanted);
    applyWrites(ref.dirs, writes);
    if (devices) replaceDevices(ref, devices);
  } catch (error) {
    try {
      applyWrites(ref.dirs, before);
    } catch {
      // Put back as far as it goes; the reason that counts is why the new value was refused.
    }
    throw error;
  }
}

async function tellSystemd(ref: CgroupRef, unit: string, resources: Resources): Promise<void> {
  const [{ setUnitProperties }, { limitProperties }] = await Promise.all([
    import("./systemd.ts"),
    import("./systemd-properties.ts"),
  ]);
  await setUnitProperties(unit, limitProperties(resources, ref.version));
}

function withoutZeroPids(resources: Resources): Resources {
  if (resources.pids?.limit !== 0n) return resources;
  const { pids: _, ...rest } = resources;
  return rest;
}

/** systemd has quota and period in one property, too, and takes a quota that it is not told for none. */
function withV1Bandwidth(ref: CgroupRef, resources: Resources): Resources {
  const read = (file: string): bigint => BigInt(readValue(`${ref.dirs["cpu"]}/${file}`) ?? "0");
  const current = () => ({ quota: read("cpu.cfs_quota_us"), period: read("cpu.cfs_period_us") });
  return { ...resources, cpu: completeBandwidth(resources.cpu, current) };
}

/** Quota and period, where one of them is given, with the other one as it is. */
function completeBandwidth(cpu: Cpu | undefined, current: () => { quota: bigint; period: bigint }): Cpu {
  if (!cpu?.quota === !cpu?.period) return { ...cpu };
  const { quota, period } = current();
  return { ...cpu, quota: cpu?.quota || quota, period: cpu?.period || period };
}

/** On v2 one file holds what are two fields: the field that is not given keeps its present value. */
function completeFromCurrent(ref: CgroupRef, given: Resources): Resources {
  const resources = withoutZeroPids(given);
  const read = (file: string): string => readValue(`${ref.dirs[""]}/${file}`) ?? "";
  const cpu = completeBandwidth(resources.cpu, () => {
    const [quota = "max", period = "100000"] = read("cpu.max").split(" ");
    return { quota: quota === "max" ? -1n : BigInt(quota), period: BigInt(period) };
  });
  const memory = { ...resources.memory };
  if (memory.swap && !memory.limit && memory.swap !== -1n) {
    const limit = read("memory.max");
    if (/^\d+$/.test(limit)) memory.limit = BigInt(limit);
  }
  return { ...resources, cpu, memory };
}

/** What v1's kernel refuses by itself: v2's would kill processes until the new limit holds. */
function checkMemoryUsage(ref: CgroupRef, limit: bigint | undefined): void {
  if (ref.version !== "v2" || !limit || limit < 0n) return;
  const usage = BigInt(readValue(`${ref.dirs[""]}/memory.current`) ?? 0);
  if (usage <= limit) return;
  const field = "linux.resources.memory.limit";
  throw new SpecError(
    `cannot set ${field} to "${limit}": ${usage} bytes are in use, and checkBeforeUpdate is set`,
    field,
    "config-linux.md#memory",
  );
}

/** Writes that restore what is there now, as far as a file reads the way it is written: one line that is one value. */
function currentValues(ref: CgroupRef, writes: readonly CgroupWrite[]): CgroupWrite[] {
  const restore: CgroupWrite[] = [];
  for (const { fallback: _, ...write } of writes) {
    const value = readValue(`${ref.dirs[write.controller]}/${write.file}`);
    const isKeyed = /device|ifpriomap|oom_control|^io\.|^rdma\./.test(write.file);
    if (value !== undefined && !value.includes("\n") && !isKeyed) restore.push({ ...write, value });
  }
  return restore;
}

/** On v1 everything is denied for a moment, which a frozen container does not notice. */
function replaceDevices(ref: CgroupRef, devices: readonly DeviceAccess[]): void {
  if (ref.version === "v2") {
    setDeviceFilter(ref.dirs[""] ?? "", devices);
    return;
  }
  const wasFrozen = isFrozen(ref);
  if (!wasFrozen) freezeCgroup(ref, true);
  try {
    writeV1Devices(ref.dirs["devices"] ?? "", devices, true);
  } finally {
    if (!wasFrozen) freezeCgroup(ref, false);
  }
}
