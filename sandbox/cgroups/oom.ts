/** The OOM killer's work in a container. */

import { closeSync, constants, existsSync, openSync } from "node:fs";
import { NR, sys, throwErrno } from "../../specutils/syscall.ts";
import { readKeyed, writeValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/** EFD_* and IN_* of eventfd2(2) and inotify_init1(2). */
const O_NONBLOCK_CLOEXEC = 0o2004000;
const IN_MODIFY = 2;
/** Room for some struct inotify_event; an eventfd gives 8 bytes. */
const EVENT_BYTES = 1024;

/** How many processes of the container the OOM killer has killed. 0 if the host does not count, or the cgroup is gone. */
export function oomKillCount(ref: CgroupRef): number {
  const counts =
    ref.version === "v2"
      ? readKeyed(`${ref.dirs[""]}/memory.events`)
      : readKeyed(`${ref.dirs["memory"] ?? ""}/memory.oom_control`);
  return Number(counts["oom_kill"] ?? 0);
}

/** Tells when a container has run out of memory. */
export interface OomWatch {
  /** Readable, in the sense of poll(2), when there is something to take. */
  fd: number;
  /** Takes what is there. Returns whether the container has run out of memory since the last time. Does not block. */
  take(): boolean;
  close(): void;
}

/** Watches for the OOM killer's work; undefined on a host without memory controller. @throws SyscallError */
export function watchOom(ref: CgroupRef): OomWatch | undefined {
  const dir = ref.version === "v2" ? ref.dirs[""] : ref.dirs["memory"];
  if (dir === undefined) return undefined;
  return ref.version === "v2" ? watchEvents(ref, dir) : watchEventfd(dir);
}

/** memory.events counts, and inotify tells about every change of it (cgroups(7)). */
function watchEvents(ref: CgroupRef, dir: string): OomWatch {
  const fd = throwErrno("inotify_init1", "", sys(NR.inotify_init1, O_NONBLOCK_CLOEXEC));
  const file = `${dir}/memory.events`;
  const added = sys(NR.inotify_add_watch, fd, file, IN_MODIFY);
  if (added < 0) {
    closeSync(fd);
    throwErrno("inotify_add_watch", file, added);
  }
  let last = oomKillCount(ref);
  const take = (): boolean => {
    drain(fd);
    const count = oomKillCount(ref);
    const isMore = count > last;
    last = count;
    return isMore;
  };
  return { fd, take, close: () => closeSync(fd) };
}

/** v1: an eventfd registered in cgroup.event_control, which also fires when the cgroup is removed. */
function watchEventfd(dir: string): OomWatch {
  const fd = throwErrno("eventfd2", "", sys(NR.eventfd2, 0, O_NONBLOCK_CLOEXEC));
  const controlFd = openSync(`${dir}/memory.oom_control`, constants.O_RDONLY);
  const close = (): void => {
    closeSync(fd);
    closeSync(controlFd);
  };
  try {
    writeValue(`${dir}/cgroup.event_control`, `${fd} ${controlFd}`);
  } catch (error) {
    close();
    throw error;
  }
  return { fd, take: () => drain(fd) && existsSync(dir), close };
}

/** Reads what is there to read. Returns whether there was anything. */
function drain(fd: number): boolean {
  const buffer = new Uint8Array(new ArrayBuffer(EVENT_BYTES));
  let isAny = false;
  while (sys(NR.read, fd, buffer, buffer.length) > 0) isAny = true;
  return isAny;
}
