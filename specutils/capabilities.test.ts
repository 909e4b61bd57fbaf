import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { CAPABILITIES, capabilityMask } from "./capabilities.ts";

test("capabilityMask sets the bit of each name", () => {
  const unknown: string[] = [];
  const mask = capabilityMask(["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE", "CAP_KILL"], (name) =>
    unknown.push(name),
  );
  expect(mask).toBe((1n << 0n) | (1n << 5n) | (1n << 40n));
  expect(unknown).toEqual([]);
});

test("capabilityMask hands out unknown names and leaves them out", () => {
  const unknown: string[] = [];
  expect(capabilityMask(["CAP_FLY", "KILL", "cap_kill", "CAP_KILL"], (name) => unknown.push(name))).toBe(1n << 5n);
  expect(unknown).toEqual(["CAP_FLY", "KILL", "cap_kill"]);
});

const HEADER = "/usr/include/linux/capability.h";
test.skipIf(!existsSync(HEADER))("CAPABILITIES are those of the kernel's header, with its numbers", () => {
  const defined = readFileSync(HEADER, "utf8").matchAll(/^#define\s+(CAP_\w+)\s+(\d+)\s*$/gm);
  for (const [, name, bit] of defined) expect(CAPABILITIES[Number(bit)] as string | undefined).toBe(name);
});
