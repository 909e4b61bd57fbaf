/**
 * What the spec has and cloche does not do. Each field here is refused by name, and `features` says so: nothing that a
 * config asks for is left out in silence.
 */

import type { OtherPlatforms } from "./config-schema.ts";
import { UnsupportedError } from "./errors.ts";
import type { Spec } from "./spec.ts";

interface Unsupported {
  field: string;
  isUsed(spec: Spec & OtherPlatforms): boolean;
  reason: string;
}

const UNSUPPORTED: readonly Unsupported[] = [
  {
    field: "vm",
    isUsed: (spec) => spec.vm !== undefined,
    reason: "cloche isolates with namespaces, not with virtual machines",
  },
];

/** Whether cloche does what `field` asks for. */
export function isSupported(field: string): boolean {
  return !UNSUPPORTED.some((unsupported) => unsupported.field === field);
}

/** @throws UnsupportedError naming the first field that cloche cannot honour */
export function refuseUnsupported(spec: Spec & OtherPlatforms): void {
  const found = UNSUPPORTED.find((unsupported) => unsupported.isUsed(spec));
  if (found !== undefined) throw new UnsupportedError(`${found.field} is not supported: ${found.reason}`);
}
