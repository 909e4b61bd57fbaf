/** The standard streams of a sandbox's program. */
import { fchownSync, fstatSync } from "node:fs";
import type { IdRange } from "../sandbox/isolation/spec.ts";
import type { Process } from "../specutils/spec.ts";

/**
 * Gives the pipes among our standard streams, which go to the program, to its user, so that it can open /dev/stdout anew, as
 * servers that log to it do. cloche-init does so at level `oci` (own_standard_streams); in a user namespace it has no right to.
 * Files and terminals keep their owners: somebody else uses them after the container.
 */
export function giveStreams(process: Process | undefined, range: IdRange | undefined): void {
  if (process === undefined || range === undefined) return;
  for (let fd = 0; fd < 3; fd++) {
    try {
      if (fstatSync(fd).isFIFO()) fchownSync(fd, range.uid + process.user.uid, range.gid + process.user.gid);
    } catch {
      // Closed by the caller, or on a file system without owners: the program can use what it was given all the same.
    }
  }
}
