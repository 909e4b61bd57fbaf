/** From config.json to a `CgroupPlan`. Pure: nothing here looks at the cgroup tree. */

import type { Resources } from "../../specutils/spec.ts";
import { checkV1Devices, planDevices } from "./devices.ts";
import { cgroupfsPath, slicePath, systemdUnitName } from "./path.ts";
import { planV1Writes } from "./resources-v1.ts";
import { planV2Writes } from "./resources-v2.ts";
import { unitProperties } from "./systemd-properties.ts";
import type { CgroupHost, CgroupPlan, CgroupWrite } from "./types.ts";

export interface CgroupInput {
  id: string;
  cgroupsPath: string | undefined;
  resources: Resources | undefined;
  /** `--systemd-cgroup` */
  systemd: boolean;
  annotations: Readonly<Record<string, string>>;
  host: CgroupHost;
}

/**
 * Plans a container's cgroup.
 *
 * @throws SpecError if cgroupsPath or a resource is invalid
 * @throws UnsupportedError if a resource is set that this host has no controller for
 */
export function planCgroup(input: CgroupInput): CgroupPlan {
  const { id, cgroupsPath, host } = input;
  const resources = input.resources ?? {};
  const devices = planDevices(resources.devices ?? []);
  if (host.version === "v1" && devices !== undefined) checkV1Devices(devices);
  const plan: CgroupPlan = {
    driver: "cgroupfs",
    version: host.version,
    path: "",
    isPathOurs: cgroupsPath === undefined || cgroupsPath === "",
    hierarchies: host.hierarchies,
    writes: planWrites(resources, host),
    devices,
  };
  if (!input.systemd) return { ...plan, path: cgroupfsPath(id, cgroupsPath) };
  const { slice, name } = systemdUnitName(id, cgroupsPath);
  const properties = unitProperties(id, slice, resources, host.version, input.annotations);
  return { ...plan, driver: "systemd", path: `${slicePath(slice)}/${name}`, unit: { slice, name, properties } };
}

/** The plan for a container that gets no cgroup of its own (`--cgroup-manager disabled`, or no right to make one). */
export function disabledCgroupPlan({ version, hierarchies }: CgroupHost): CgroupPlan {
  return { driver: "disabled", version, path: "", isPathOurs: false, hierarchies, writes: [], devices: undefined };
}

/** The settings of `resources` for a host of either version; also for `update`. */
export function planWrites(resources: Resources, host: Pick<CgroupHost, "version" | "hierarchies">): CgroupWrite[] {
  if (host.version === "v2") return planV2Writes(resources);
  return planV1Writes(resources, new Set(host.hierarchies.flatMap(({ controllers }) => controllers)));
}
