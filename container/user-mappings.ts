/** Id mappings written by an ordinary user: its own ids by itself, others through shadow's setuid programs (newuidmap(1)). */
import { spawnSync } from "node:child_process";
import { mappingText } from "../sandbox/namespaces.ts";
import { UnsupportedError } from "../specutils/errors.ts";
import type { IdMapping, Linux } from "../specutils/spec.ts";
import { writeWhole } from "./mappings.ts";

/** A user may map its own user and group id, one each; what /etc/subuid and /etc/subgid give it, those programs check. */
const WRITERS = {
  uidMappings: { program: "newuidmap", file: "uid_map", ownId: () => process.geteuid?.() },
  gidMappings: { program: "newgidmap", file: "gid_map", ownId: () => process.getegid?.() },
} as const;

/**
 * Writes the mappings of the user namespace of `pid`, which is new.
 *
 * @throws UnsupportedError when the ids are not the user's to give away
 */
export function writeUserMappings(pid: number, linux: Linux | undefined): void {
  for (const field of ["uidMappings", "gidMappings"] as const) {
    const mappings = linux?.[field] ?? [];
    const { program, file, ownId } = WRITERS[field];
    const [first] = mappings;
    if (mappings.length === 1 && first?.size === 1 && first.hostID === ownId()) {
      // Or a user could leave a group that keeps it from something (user_namespaces(7)).
      if (field === "gidMappings") writeWhole(`/proc/${pid}/setgroups`, "deny", "linux.gidMappings");
      writeWhole(`/proc/${pid}/${file}`, mappingText(mappings), `linux.${field}`);
    } else {
      runWriter(program, pid, mappings, field);
    }
  }
}

function runWriter(program: string, pid: number, mappings: readonly IdMapping[], field: string): void {
  const args = [pid, ...mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size])].map(String);
  const { status, error, stderr } = spawnSync(program, args, { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
  if (status === 0) return;
  const reason = error === undefined ? stderr.trim().split("\n").join("; ") : error.message;
  throw new UnsupportedError(
    `linux.${field}: cannot map ids with ${program}: ${reason}: an ordinary user may map its own id, and what /etc/${program === "newuidmap" ? "subuid" : "subgid"} gives it`,
  );
}
