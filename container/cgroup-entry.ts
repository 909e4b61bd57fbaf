/**
 * How a process that the helper is about to start gets into its cgroups: by itself wherever it can (see sandbox/init/host.c),
 * else moved by us.
 *
 * For CLONE_INTO_CGROUP the kernel asks whether whoever clones may write to the cgroup, and to the one above it that is also above
 * their own (cgroups(7)). In a user namespace capabilities do not count for that, but the ids do that the helper still has from us. A v1
 * `tasks` file counts as ours, because we have opened it.
 */
import { statSync } from "node:fs";
import path from "node:path";
import { closeJoin, joinCgroup, openJoin } from "../sandbox/cgroups/join.ts";
import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import type { SyncReply } from "../sandbox/launch.ts";

/** The way of one process into a container's cgroups. */
export class CgroupEntry {
  readonly #ref: CgroupRef;
  /** What it cannot enter by itself. */
  readonly #foreign: string | undefined;

  /**
   * @param user which user namespace the process will be in: the caller's, or another one while it still has our ids
   * (`keeps-ids`), or not any more
   */
  constructor(ref: CgroupRef, user: "own" | "keeps-ids" | "foreign") {
    this.#ref = ref;
    const unified = ref.dirs[""];
    const canEnter = unified === undefined || user === "own" || (user === "keeps-ids" && isOurs(unified));
    this.#foreign = canEnter ? undefined : unified;
  }

  /** The answer to SYNC.CGROUP. */
  reply(): SyncReply | undefined {
    if (this.#ref.driver === "disabled") return undefined;
    const join = openJoin(this.#ref);
    const clone = join.cloneIntoFd !== undefined && this.#foreign === undefined ? [join.cloneIntoFd] : [];
    return {
      value: join.tasksFds.length,
      fds: [...join.tasksFds, ...clone],
      sent: () => closeJoin(join),
    };
  }

  /** At SYNC.NAMESPACES: moves the process into what it could not enter by itself. */
  move(pid: number): void {
    if (this.#foreign !== undefined) joinCgroup({ ...this.#ref, dirs: { "": this.#foreign } }, pid);
  }
}

/** Whether a v2 cgroup and all above it belong to us, wherever we are ourselves. */
function isOurs(directory: string): boolean {
  const uid = process.geteuid?.();
  for (let at = directory; ; at = path.dirname(at)) {
    const procs = statSync(`${at}/cgroup.procs`, { throwIfNoEntry: false });
    if (procs === undefined) return at !== directory; // above the mount
    if (procs.uid !== uid) return false;
  }
}
