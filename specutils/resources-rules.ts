/** What the spec says about `linux.resources` beyond the types of single fields. */

import { invalid } from "./schema.ts";
import type { Resources } from "./spec.ts";

/**
 * @param prefix of the fields in errors: `linux.resources.` in a config.json, nothing in a document of its own
 * @throws SpecError
 */
export function checkResources(document: string, { memory = {}, cpu = {} }: Resources, prefix: string): void {
  const { swappiness = 0n } = memory;
  if (swappiness > 100n) {
    throw invalid(document, `${prefix}memory.swappiness`, `got ${swappiness}, want 0 to 100`, "config-linux.md#memory");
  }
  const { quota = 0n, burst = 0n } = cpu;
  if (quota > 0n && burst > quota) {
    throw invalid(
      document,
      `${prefix}cpu.burst`,
      `got ${burst}, want at most the quota ${quota}`,
      "config-linux.md#cpu",
    );
  }
}
