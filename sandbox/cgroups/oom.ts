/** The OOM killer's work in a container. */

import { closeSync, constants, existsSync, openSync, read, watch, writeSync } from "node:fs";
import { NR, sys, throwErrno } from "../../specutils/syscall.ts";
import { readKeyed, writeValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

const EFD_CLOEXEC = 0o2000000;
const EVENTFD_BYTES = 8;

/** How many processes of the container the OOM killer has killed. 0 if the host does not count, or the cgroup is gone. */
export function oomKillCount(ref: CgroupRef): number {
  const counts =
    ref.version === "v2"
      ? readKeyed(`${ref.dirs[""]}/memory.events`)
      : readKeyed(`${ref.dirs["memory"] ?? ""}/memory.oom_control`);
  return Number(counts["oom_kill"] ?? 0);
}

/**
 * Calls `onOom` whenever the container runs out of memory, until the returned function is called or its cgroup is gone.
 * Nothing happens on a host without memory controller. Keeps the event loop alive.
 */
export function watchOom(ref: CgroupRef, onOom: () => void): () => void {
  const dir = ref.version === "v2" ? ref.dirs[""] : ref.dirs["memory"];
  if (dir === undefined) return () => {};
  return ref.version === "v2" ? watchEvents(ref, dir, onOom) : watchEventfd(dir, onOom);
}

/** memory.events counts, and inotify tells about every change of it (cgroups(7)). */
function watchEvents(ref: CgroupRef, dir: string, onOom: () => void): () => void {
  let last = oomKillCount(ref);
  const watcher = watch(`${dir}/memory.events`, () => {
    if (!existsSync(dir)) watcher.close();
    const count = oomKillCount(ref);
    if (count > last) onOom();
    last = count;
  });
  return () => watcher.close();
}

/** v1: an eventfd registered in cgroup.event_control, which also fires when the cgroup is removed. */
function watchEventfd(dir: string, onOom: () => void): () => void {
  const eventFd = throwErrno("eventfd2", "", sys(NR.eventfd2, 0, EFD_CLOEXEC));
  const controlFd = openSync(`${dir}/memory.oom_control`, constants.O_RDONLY);
  let isStopped = false;
  const close = (): void => {
    closeSync(eventFd);
    closeSync(controlFd);
  };
  const next = (): void => {
    read(eventFd, Buffer.alloc(EVENTFD_BYTES), 0, EVENTFD_BYTES, null, (error) => {
      if (isStopped || error || !existsSync(dir)) {
        isStopped = true;
        close();
        return;
      }
      onOom();
      next();
    });
  };
  try {
    writeValue(`${dir}/cgroup.event_control`, `${eventFd} ${controlFd}`);
  } catch (error) {
    close();
    throw error;
  }
  next();
  return () => {
    if (isStopped) return;
    isStopped = true;
    // Wakes the read that is under way, which then closes the descriptors.
    writeSync(eventFd, new Uint8Array(new BigUint64Array([1n]).buffer));
  };
}
