/** Values of `linux.resources` that have to be checked or converted before they are written. */

import { SpecError } from "../../specutils/errors.ts";

const RESOURCES = "linux.resources";

/**
 * v1's shares (2 to 262144, 1024 by default) as v2's weight (1 to 10000, 100 by default). The curve goes through all
 * three pairs, as runc's and crun's do since 2025, so that a container with the default weighs as much as one without.
 */
export function cpuWeight(shares: bigint): number {
  if (shares <= 2n) return 1;
  if (shares >= 262144n) return 10000;
  const log = Math.log2(Number(shares));
  return Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34));
}

/** v1's block weight (10 to 1000) as v2's io.weight (1 to 10000). */
export function ioWeight(weight: number): number {
  return 1 + Math.floor(((weight - 10) * 9999) / 990);
}

/**
 * memory.swap.max, which counts swap alone, from the spec's memory+swap.
 *
 * @throws SpecError if memory+swap is given without memory or is below it
 */
export function swapMax(limit: bigint | undefined, swap: bigint | undefined): string | undefined {
  if (swap === undefined) return limit === -1n ? "max" : undefined;
  if (swap === -1n) return "max";
  if (limit === -1n) return String(swap);
  const field = `${RESOURCES}.memory.swap`;
  const clause = "config-linux.md#memory";
  if (limit === undefined) {
    throw new SpecError(`invalid ${field}: memory.limit is needed to set it with cgroup v2`, field, clause);
  }
  if (swap < limit) {
    throw new SpecError(
      `invalid ${field}: got ${swap}, want at least memory.limit (${limit}): it is memory and swap together`,
      field,
      clause,
    );
  }
  return String(swap - limit);
}

/** @throws SpecError if `pageSize` could name another file than a limit's. */
export function checkPageSize(pageSize: string): void {
  if (/^[1-9][0-9]*[KMG]B$/.test(pageSize)) return;
  const field = `${RESOURCES}.hugepageLimits`;
  throw new SpecError(
    `invalid ${field}: pageSize: got ${JSON.stringify(pageSize)}, want a size such as "2MB"`,
    field,
    "config-linux.md#huge-page-limits",
  );
}

/** One line of rdma.max, which v1 and v2 share. */
export function rdmaLine(device: string, limits: { hcaHandles?: number; hcaObjects?: number }): string {
  const parts = [device];
  if (limits.hcaHandles !== undefined) parts.push(`hca_handle=${limits.hcaHandles}`);
  if (limits.hcaObjects !== undefined) parts.push(`hca_object=${limits.hcaObjects}`);
  return parts.join(" ");
}
