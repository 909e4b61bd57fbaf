/** What the kernel says about uid and gid mappings (user_namespaces(7)); its own answer is a bare EINVAL. */

import { invalid } from "./schema.ts";
import type { IdMapping } from "./spec.ts";

const CLAUSE = "config-linux.md#user-namespace-mappings";
/** Most lines in a uid_map or gid_map (UID_GID_MAP_MAX_EXTENTS). */
const MAX_MAPPINGS = 340;
const MAX_ID = 2 ** 32 - 1;

/** @throws SpecError when a mapping leaves the range of ids or overlaps another one */
export function checkMappings(document: string, mappings: readonly IdMapping[] = [], field: string): void {
  if (mappings.length > MAX_MAPPINGS) {
    throw invalid(document, field, `got ${mappings.length} entries, want at most ${MAX_MAPPINGS}`, CLAUSE);
  }
  for (const side of ["containerID", "hostID"] as const) {
    const sorted = mappings.map((mapping, index) => ({
      first: mapping[side],
      end: mapping[side] + mapping.size,
      index,
    }));
    sorted.sort((a, b) => a.first - b.first);
    let previousEnd = 0;
    for (const { first, end, index } of sorted) {
      if (end > MAX_ID) {
        throw invalid(document, `${field}[${index}].size`, `reaches beyond the last ${side}, ${MAX_ID - 1}`, CLAUSE);
      }
      if (first < previousEnd) {
        throw invalid(document, `${field}[${index}].${side}`, "overlaps another entry", CLAUSE);
      }
      previousEnd = end;
    }
  }
}
