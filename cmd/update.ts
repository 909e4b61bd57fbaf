/** `cloche update`: changes the limits of a container while it runs. */

import { readFileSync } from "node:fs";
import { UsageError } from "../specutils/errors.ts";
import { loading } from "../specutils/spans.ts";
import type { CpuResources, MemoryResources, Resources } from "../specutils/spec.ts";
import { command } from "./command.ts";
import type { FlagTable, FlagValues } from "./flags.ts";
import { parseInt64, parseSize } from "./units.ts";

const STDIN_FD = 0;

const limitFlags = {
  memory: { kind: "string", value: "bytes", help: "memory limit; units such as 64M may be used, -1 is no limit" },
  "memory-reservation": {
    kind: "string",
    value: "bytes",
    help: "memory that the container is left with under pressure",
  },
  "memory-swap": { kind: "string", value: "bytes", help: "memory and swap together; -1 is no limit" },
  "cpu-share": { kind: "string", value: "weight", help: "weight for CPU time, from 2 to 262144" },
  "cpu-quota": { kind: "string", value: "µs", help: "CPU time per period; -1 is no limit" },
  "cpu-period": { kind: "string", value: "µs", help: "length of the period that the quota is for" },
  "cpu-burst": { kind: "string", value: "µs", help: "unused quota that may be saved up" },
  "cpu-idle": { kind: "string", value: "0|1", help: "1 lets the container run only when nothing else wants to" },
  "cpu-rt-runtime": { kind: "string", value: "µs", help: "real-time CPU time per period" },
  "cpu-rt-period": { kind: "string", value: "µs", help: "length of the real-time period" },
  "cpuset-cpus": { kind: "string", value: "list", help: "CPUs to run on, such as 0-3,5" },
  "cpuset-mems": { kind: "string", value: "list", help: "memory nodes to use" },
  "pids-limit": { kind: "string", value: "number", help: "most processes; -1 is no limit" },
  "blkio-weight": { kind: "integer", value: "weight", help: "weight for block I/O, from 10 to 1000" },
} as const satisfies FlagTable;

export default command({
  name: "update",
  summary: "change the resource limits of a container",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    resources: {
      kind: "string",
      short: "r",
      value: "file",
      help: 'read linux.resources from this JSON file, "-" for stdin; the flags of single limits then do not count',
    },
    ...limitFlags,
    "l3-cache-schema": { kind: "string", value: "schema", help: "Intel RDT schema for the L3 cache" },
    "mem-bw-schema": { kind: "string", value: "schema", help: "Intel RDT schema for memory bandwidth" },
  },
  details: "A limit that is not given, or is 0 or empty, stays as it is.",
  async run({ context, flags, id }) {
    const resources = flags.resources === undefined ? resourcesOf(flags) : await readResourcesFrom(flags.resources);
    const { updateContainer } = await loading("load container/update", () => import("../container/update.ts"));
    await updateContainer(context, id, resources, {
      ...(flags["l3-cache-schema"] === undefined ? {} : { l3CacheSchema: flags["l3-cache-schema"] }),
      ...(flags["mem-bw-schema"] === undefined ? {} : { memBwSchema: flags["mem-bw-schema"] }),
    });
  },
});

async function readResourcesFrom(file: string): Promise<Resources> {
  const { readResources } = await import("../specutils/config.ts");
  return readResources(readFileSync(file === "-" ? STDIN_FD : file, "utf8"));
}

/** The resources that the flags of single limits stand for; what was not given is not there. */
export function resourcesOf(flags: FlagValues<typeof limitFlags>): Resources {
  const size = (name: keyof typeof limitFlags) => parsed(flags[name], (text) => parseSize(name, text));
  const integer = (name: keyof typeof limitFlags) => parsed(flags[name], (text) => parseInt64(name, text));
  const memory: MemoryResources = definedOnly({
    limit: size("memory"),
    reservation: size("memory-reservation"),
    swap: size("memory-swap"),
  });
  const cpu: CpuResources = definedOnly({
    shares: integer("cpu-share"),
    quota: integer("cpu-quota"),
    period: integer("cpu-period"),
    burst: integer("cpu-burst"),
    idle: integer("cpu-idle"),
    realtimeRuntime: integer("cpu-rt-runtime"),
    realtimePeriod: integer("cpu-rt-period"),
    cpus: flags["cpuset-cpus"],
    mems: flags["cpuset-mems"],
  });
  const weight = flags["blkio-weight"];
  if (weight !== undefined && weight > 0xffff) {
    throw new UsageError(`invalid value "${weight}" for flag -blkio-weight: must be from 10 to 1000`);
  }
  return {
    memory,
    cpu,
    pids: definedOnly({ limit: integer("pids-limit") }),
    blockIO: definedOnly({ weight }),
  };
}

function parsed(value: string | number | undefined, parse: (text: string) => bigint): bigint | undefined {
  return value === undefined || value === "" ? undefined : parse(String(value));
}

function definedOnly<T extends object>(values: T): { [Key in keyof T]?: T[Key] & {} } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: T[Key] & {};
  };
}
