/** Id mappings and clock offsets of new namespaces: written from outside, by a process that has the right to. */
import { closeSync, openSync, writeSync } from "node:fs";
import { isNew, mappingText, timeOffsetsText } from "../sandbox/namespaces.ts";
import { SyscallError } from "../specutils/errors.ts";
import type { Linux } from "../specutils/spec.ts";

/** Writes the mappings of the user namespace and the offsets of the time namespace of `pid`. @throws SyscallError */
export function writeMappings(pid: number, linux: Linux | undefined): void {
  if (isNew(linux, "user")) {
    writeWhole(`/proc/${pid}/uid_map`, mappingText(linux?.uidMappings ?? []), "linux.uidMappings");
    writeWhole(`/proc/${pid}/gid_map`, mappingText(linux?.gidMappings ?? []), "linux.gidMappings");
  }
  const offsets = linux?.timeOffsets;
  if (offsets !== undefined && Object.keys(offsets).length > 0) {
    writeWhole(`/proc/${pid}/timens_offsets`, timeOffsetsText(offsets), "linux.timeOffsets");
  }
}

/** These files take their content in one write (user_namespaces(7)). */
function writeWhole(file: string, text: string, field: string): void {
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
