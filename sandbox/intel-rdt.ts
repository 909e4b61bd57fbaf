/** `linux.intelRdt`: the resctrl group whose share of caches and memory bandwidth a container has (config-linux.md#intelrdt). */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ClocheError, SpecError, UnsupportedError } from "../specutils/errors.ts";
import { quote } from "../specutils/quote.ts";
import type { IntelRdt } from "../specutils/spec.ts";

/** What was done for one container. */
export interface RdtGroup {
  /** The `tasks` files that every process of the container is written to. */
  tasks: string[];
  /** The directory to remove with the container; none if the group was there before, or is to outlive it. */
  dir?: string;
}

/** Where resctrl is mounted. @throws UnsupportedError when it is not */
export function findResctrl(mountinfo: string = readFileSync("/proc/self/mountinfo", "utf8")): string {
  const line = mountinfo.split("\n").find((entry) => entry.includes(" - resctrl "));
  const mountPoint = line?.split(" ")[4];
  if (mountPoint !== undefined) return mountPoint;
  throw new UnsupportedError(
    "linux.intelRdt: no resctrl file system is mounted (mount -t resctrl resctrl /sys/fs/resctrl, if the CPU has RDT)",
  );
}

/**
 * Makes or finds the group, sets its schemata and makes a monitoring group. Undoes what it made when it fails.
 *
 * @param resctrl where resctrl is mounted
 * @throws SpecError, ClocheError naming the field
 */
export function createRdtGroup(resctrl: string, id: string, rdt: IntelRdt): RdtGroup {
  const { closID, l3CacheSchema, memBwSchema, schemata = [] } = rdt;
  const older = [l3CacheSchema, memBwSchema].filter((line) => line !== undefined && line !== "") as string[];
  const name = closID || id;
  const directory = name === "/" ? resctrl : path.join(resctrl, name);
  const exists = existsSync(directory);
  const made: string[] = [];
  try {
    if (!exists) {
      if (closID && older.length + schemata.length === 0) {
        throw new SpecError(
          `linux.intelRdt.closID: there is no group ${quote(closID)} in ${resctrl}`,
          "linux.intelRdt.closID",
        );
      }
      makeGroup(directory, "linux.intelRdt.closID");
      made.push(directory);
    } else if (!closID) {
      throw new ClocheError(`linux.intelRdt: there is a group ${quote(id)} in ${resctrl} already`);
    } else if (older.length > 0) {
      compareSchemata(directory, older);
    }
    const lines = exists ? schemata : [...older, ...schemata];
    if (lines.length > 0) write(path.join(directory, "schemata"), `${lines.join("\n")}\n`, "linux.intelRdt.schemata");
    const group: RdtGroup = { tasks: [path.join(directory, "tasks")] };
    // A group that was made for this container alone; removing it removes its monitoring groups.
    if (!exists && !closID) group.dir = directory;
    if (wantsMonitoring(rdt)) {
      const monitored = path.join(directory, "mon_groups", id);
      makeGroup(monitored, "linux.intelRdt.enableMonitoring");
      made.push(monitored);
      group.tasks.push(path.join(monitored, "tasks"));
      group.dir ??= monitored;
    }
    return group;
  } catch (error) {
    for (const directory of made.reverse()) rmdirSync(directory);
    throw error;
  }
}

/** The two older fields asked for parts of what `enableMonitoring` asks for, which the hardware does not have apart. */
function wantsMonitoring({ enableMonitoring, enableCMT, enableMBM }: IntelRdt): boolean {
  return enableMonitoring === true || enableCMT === true || enableMBM === true;
}

/** Puts a process into the group. */
export function joinRdtGroup(tasks: readonly string[], pid: number): void {
  for (const file of tasks) write(file, String(pid), "linux.intelRdt: join the group");
}

function makeGroup(directory: string, field: string): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    throw refusal(field, directory, error);
  }
}

function write(file: string, text: string, field: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw refusal(field, file, error);
  }
}

function refusal(field: string, file: string, cause: unknown): ClocheError {
  const { code = "" } = cause as NodeJS.ErrnoException;
  return new ClocheError(`${field}: the kernel refuses ${quote(file)}: ${code}`, { cause });
}

/** Of a group that is there, the schemata must be those that are asked for. @throws SpecError */
function compareSchemata(directory: string, wanted: readonly string[]): void {
  const file = path.join(directory, "schemata");
  const actual = new Map(parseSchemata(readFileSync(file, "utf8").split("\n")));
  for (const [key, value] of parseSchemata(wanted)) {
    if (actual.get(key) === value) continue;
    const field = key.startsWith("MB:") ? "linux.intelRdt.memBwSchema" : "linux.intelRdt.l3CacheSchema";
    throw new SpecError(
      `${field}: got ${value} for ${key}, but the group ${quote(path.basename(directory))} has ${actual.get(key) ?? "none"}`,
      field,
    );
  }
}

/** `L3:0=0ff;1=f` as pairs of `L3:0` and `ff`, `L3:1` and `f`. */
function parseSchemata(lines: readonly string[]): [string, string][] {
  return lines.flatMap((line) => {
    const [resource = "", domains = ""] = line.trim().split(":");
    return domains
      .split(";")
      .filter((domain) => domain.includes("="))
      .map((domain): [string, string] => {
        const [number = "", value = ""] = domain.trim().split("=");
        return [
          `${resource}:${number}`,
          value
            .trim()
            .toLowerCase()
            .replace(/^0+(?=.)/, ""),
        ];
      });
  });
}
