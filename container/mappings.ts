/** Id mappings and clock offsets of new namespaces: written from outside, by a process that has the right to. */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { isNew, mappingText, timeOffsetsText } from "../sandbox/namespaces.ts";
import { SpecError, SyscallError } from "../specutils/errors.ts";
import type { IdMapping, Linux } from "../specutils/spec.ts";
import { isOrdinaryUser } from "../specutils/user-namespace.ts";

/**
 * Writes the mappings of the new user namespace and the offsets of the new time namespace of `pid`. For a user namespace that
 * was joined, checks that its mappings are those that config.json says.
 *
 * @throws SyscallError, SpecError
 */
export async function writeMappings(pid: number, linux: Linux | undefined): Promise<void> {
  const isUsers = isOrdinaryUser() && isNew(linux, "user");
  if (isUsers) (await import("./user-mappings.ts")).writeUserMappings(pid, linux);
  for (const [field, name] of [
    ["uidMappings", "uid_map"],
    ["gidMappings", "gid_map"],
  ] as const) {
    const file = `/proc/${pid}/${name}`;
    const mappings = linux?.[field] ?? [];
    if (isUsers) continue;
    if (isNew(linux, "user")) writeWhole(file, mappingText(mappings), `linux.${field}`);
    else if (mappings.length > 0) compareMappings(file, mappings, `linux.${field}`);
  }
  const offsets = linux?.timeOffsets;
  if (offsets !== undefined && Object.keys(offsets).length > 0) {
    writeWhole(`/proc/${pid}/timens_offsets`, timeOffsetsText(offsets), "linux.timeOffsets");
  }
}

/** The order of the lines does not matter. */
function compareMappings(file: string, mappings: readonly IdMapping[], field: string): void {
  const sorted = (lines: string) =>
    lines
      .trim()
      .replace(/[ \t]+/g, " ")
      .split(/ ?\n ?/)
      .sort()
      .join(", ");
  const actual = sorted(readFileSync(file, "utf8"));
  const wanted = sorted(mappingText(mappings));
  if (actual === wanted) return;
  throw new SpecError(
    `invalid config.json: ${field}: got ${wanted}, but the user namespace that is joined has ${actual}`,
    field,
  );
}

/** These files take their content in one write (user_namespaces(7)). */
export function writeWhole(file: string, text: string, field: string): void {
  const fd = openSync(file, "w");
  try {
    writeSync(fd, text);
  } catch (error) {
    const { errno = 0, code = "" } = error as NodeJS.ErrnoException;
    throw new SyscallError(`${field}: the kernel refuses it: ${code}`, "write", file, Math.abs(errno), {
      cause: error,
    });
  } finally {
    closeSync(fd);
  }
}
