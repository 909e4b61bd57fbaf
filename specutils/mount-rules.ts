/** What the spec says about mounts beyond the types of single fields. */

import { checkMappings } from "./mapping-rules.ts";
import { parseMountOptions } from "./mount-options.ts";
import { brief, invalid } from "./schema.ts";
import type { Mount, Spec } from "./spec.ts";

const MOUNTS = "config.md#mounts";
const OPTIONS = "config.md#linux-mount-options";

/**
 * @param warn gets what is deprecated or has no effect
 * @throws SpecError
 */
export function checkMounts(document: string, spec: Spec, warn: (message: string) => void): void {
  const hasUserNamespace = spec.linux?.namespaces?.some(({ type }) => type === "user") ?? false;
  for (const [index, mount] of (spec.mounts ?? []).entries()) {
    const field = `mounts[${index}]`;
    if (!mount.destination.startsWith("/")) {
      warn(`${field}.destination: relative path ${brief(mount.destination)} is taken from "/" (${MOUNTS})`);
    }
    checkMount(document, mount, field, hasUserNamespace, warn);
  }
}

/** Mappings of its own map a mount's ids also without option `idmap`, which came later, for older runtimes to stumble over (config.md#posix-platform-mounts). */
export function hasMappings({ uidMappings = [] }: Mount): boolean {
  return uidMappings.length > 0;
}

function checkMount(
  document: string,
  mount: Mount,
  field: string,
  hasUserNamespace: boolean,
  warn: (message: string) => void,
): void {
  const parsed = parseMountOptions(mount.options ?? [], mount.type);
  const { uidMappings, gidMappings } = mount;
  if ((uidMappings === undefined) !== (gidMappings === undefined)) {
    throw invalid(document, field, "must have both uidMappings and gidMappings, or neither", MOUNTS);
  }
  checkMappings(document, uidMappings, `${field}.uidMappings`);
  checkMappings(document, gidMappings, `${field}.gidMappings`);
  if (parsed.idmap !== undefined && !hasMappings(mount) && !hasUserNamespace) {
    throw invalid(
      document,
      `${field}.options`,
      `"${parsed.idmap}" needs uidMappings and gidMappings, or a user namespace`,
      OPTIONS,
    );
  }
  if (parsed.tmpcopyup && (mount.type !== "tmpfs" || parsed.bind !== false)) {
    throw invalid(document, `${field}.options`, '"tmpcopyup" is only possible for a mount of type "tmpfs"', OPTIONS);
  }
  if (parsed.bind !== false) {
    const [first] = parsed.data;
    // The file system is mounted already, elsewhere. Engines and runtime-tools write such options all the same.
    if (first !== undefined) warn(`${field}.options: ${brief(first)} has no effect on a bind mount (${OPTIONS})`);
    if (mount.source === undefined) throw invalid(document, `${field}.source`, "is required for a bind mount", MOUNTS);
  } else if (mount.type === undefined && !parsed.remount && parsed.propagation.length === 0) {
    throw invalid(document, `${field}.type`, "is required unless the mount is a bind mount", MOUNTS);
  }
}
