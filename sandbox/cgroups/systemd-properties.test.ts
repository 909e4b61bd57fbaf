import { expect, test } from "bun:test";
import type { Resources } from "../../specutils/spec.ts";
import { limitProperties, rangeMask, unitProperties } from "./systemd-properties.ts";

function byName(resources: Resources, version: "v1" | "v2" = "v2"): Record<string, unknown> {
  return Object.fromEntries(limitProperties(resources, version).map(({ name, value }) => [name, value]));
}

test("limitProperties tells systemd what the files will say", () => {
  const resources: Resources = {
    memory: { limit: 64n, swap: 128n, reservation: -1n },
    cpu: { shares: 1024n, quota: 50001n, period: 100000n, cpus: "0-2,9" },
    pids: { limit: 0n },
  };
  expect(byName(resources)).toEqual({
    MemoryMax: 64n,
    MemorySwapMax: 64n,
    MemoryLow: 2n ** 64n - 1n,
    CPUWeight: 100n,
    CPUQuotaPeriodUSec: 100000n,
    CPUQuotaPerSecUSec: 510000n,
    TasksMax: 1n,
    AllowedCPUs: [7, 2],
  });
  expect(byName(resources, "v1")).toEqual({
    MemoryLimit: 64n,
    CPUShares: 1024n,
    CPUQuotaPeriodUSec: 100000n,
    CPUQuotaPerSecUSec: 510000n,
    TasksMax: 1n,
  });
});

test("limitProperties says nothing about what is not set", () => {
  expect(byName({ memory: { limit: 0n }, cpu: { shares: 0n } })).toEqual({});
});

test("unitProperties: an annotation wins over our own choice", () => {
  const annotations = { "org.systemd.property.Description": "'mine'" };
  const properties = unitProperties("c1", "a.slice", {}, "v2", annotations);
  expect(properties.filter(({ name }) => name === "Description")).toEqual([
    { name: "Description", signature: "s", value: "mine" },
  ]);
  expect(properties).toContainEqual({ name: "Delegate", signature: "b", value: true });
  expect(properties).toContainEqual({ name: "Slice", signature: "s", value: "a.slice" });
});

test("rangeMask sets the bits of a list", () => {
  expect(rangeMask("0-1,4")).toEqual([0b10011]);
  expect(rangeMask("8")).toEqual([0, 1]);
});
