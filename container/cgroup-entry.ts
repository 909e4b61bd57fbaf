/**
 * How a process that the helper is about to start gets into its cgroups: by itself wherever it can (see sandbox/init/host.c),
 * else moved by us.
 *
 * Inside a user namespace CLONE_INTO_CGROUP is refused, because the right to the directory is that of the host's root; a
 * v1 `tasks` file counts as ours, because we have opened it.
 */
import { closeJoin, joinCgroup, openJoin } from "../sandbox/cgroups/join.ts";
import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import type { SyncReply } from "../sandbox/launch.ts";

/** The answer to SYNC.CGROUP. @param isForeign whether the process will be in another user namespace */
export function cgroupReply(ref: CgroupRef, isForeign: boolean): SyncReply | undefined {
  if (ref.driver === "disabled") return undefined;
  const join = openJoin(ref);
  const clone = join.cloneIntoFd !== undefined && !isForeign ? [join.cloneIntoFd] : [];
  return {
    value: join.tasksFds.length,
    fds: [...join.tasksFds, ...clone],
    sent: () => closeJoin(join),
  };
}

/** At SYNC.NAMESPACES: moves the process into what it could not enter by itself. */
export function moveIntoCgroup(ref: CgroupRef, pid: number, isForeign: boolean): void {
  const unified = ref.dirs[""];
  if (isForeign && unified !== undefined) joinCgroup({ ...ref, dirs: { "": unified } }, pid);
}
