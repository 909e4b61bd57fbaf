import { expect, test } from "bun:test";
import type { Command } from "./command.ts";
import { parseFlags } from "./flags.ts";
import update, { resourcesOf } from "./update.ts";

function resources(...args: string[]) {
  const { flags } = parseFlags((update satisfies Command).flags, args, "anywhere");
  return resourcesOf(flags as Parameters<typeof resourcesOf>[0]);
}

test("update: limits that were not given are not in the resources", () => {
  expect(resources("--memory", "64M", "--cpu-quota", "-1", "--pids-limit=20")).toEqual({
    memory: { limit: 67108864n },
    cpu: { quota: -1n },
    pids: { limit: 20n },
    blockIO: {},
  });
});

test("update: each flag sets the field of its name", () => {
  expect(
    resources(
      ...["--memory-reservation=1", "--memory-swap=2", "--cpu-share=3", "--cpu-period=4", "--cpu-burst=5"],
      ...["--cpu-idle=1", "--cpu-rt-runtime=7", "--cpu-rt-period=8", "--cpuset-cpus=0-1", "--cpuset-mems=0"],
      ...["--blkio-weight=500"],
    ),
  ).toEqual({
    memory: { reservation: 1n, swap: 2n },
    cpu: {
      shares: 3n,
      period: 4n,
      burst: 5n,
      idle: 1n,
      realtimeRuntime: 7n,
      realtimePeriod: 8n,
      cpus: "0-1",
      mems: "0",
    },
    pids: {},
    blockIO: { weight: 500 },
  });
});

test("update: values that are no numbers are refused", () => {
  expect(() => resources("--memory", "much")).toThrow('invalid value "much" for flag -memory');
  expect(() => resources("--blkio-weight", "65536")).toThrow('invalid value "65536" for flag -blkio-weight');
});
