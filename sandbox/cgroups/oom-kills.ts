/** How often the OOM killer has struck in a container. Apart from oom.ts because every command may have to ask. */

import { readKeyed } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/**
 * How many processes of the container the OOM killer has killed, v2: below its cgroup, too. 0 if the host does not count, or
 * the cgroup is gone. The kernel counts before it kills, so whoever sees the victim dead sees it counted.
 */
export function oomKillCount(ref: CgroupRef): number {
  const [dir, file] =
    ref.version === "v2" ? [ref.dirs[""], "memory.events"] : [ref.dirs["memory"], "memory.oom_control"];
  return dir === undefined ? 0 : Number(readKeyed(`${dir}/${file}`)["oom_kill"] ?? 0);
}
