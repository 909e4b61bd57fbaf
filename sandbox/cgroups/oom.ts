/** Being told when a container runs out of memory. */

import { closeSync, constants, existsSync, openSync, readSync } from "node:fs";
import { drain, IN, Inotify, O_NONBLOCK_CLOEXEC } from "../../specutils/inotify.ts";
import { NR, sys, throwErrno } from "../../specutils/syscall.ts";
import { errorCode, writeValue } from "./files.ts";
import { oomKillCount } from "./oom-kills.ts";
import type { CgroupRef } from "./types.ts";

/** Tells when a container has run out of memory. */
export interface OomWatch {
  /** Readable, in the sense of poll(2), when there is something to take. */
  fd: number;
  /** Takes what is there. Returns whether the container has run out of memory since the last time. Does not block. */
  take(): boolean;
  close(): void;
}

/** Watches for the OOM killer's work; undefined where there is no memory controller, or no such cgroup. @throws SyscallError */
export function watchOom(ref: CgroupRef): OomWatch | undefined {
  const dir = ref.version === "v2" ? ref.dirs[""] : ref.dirs["memory"];
  if (dir === undefined || !existsSync(dir)) return undefined;
  return ref.version === "v2" ? watchEvents(ref, dir) : watchEventfd(dir);
}

/** memory.events counts, and inotify tells about every change of it (cgroups(7)). */
function watchEvents(ref: CgroupRef, dir: string): OomWatch {
  const changes = new Inotify();
  try {
    changes.watch(`${dir}/memory.events`, IN.MODIFY);
  } catch (error) {
    changes.close();
    throw error;
  }
  let last = oomKillCount(ref);
  const take = (): boolean => {
    changes.take();
    const count = oomKillCount(ref);
    const isMore = count > last;
    last = count;
    return isMore;
  };
  return { fd: changes.fd, take, close: () => changes.close() };
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
  return { fd, take: () => drain(fd) && isThere(controlFd), close };
}

/** Whether the cgroup of an open file is still there; by now another one may have its name. */
function isThere(fd: number): boolean {
  try {
    return readSync(fd, new Uint8Array(1), 0, 1, 0) > 0;
  } catch (error) {
    if (errorCode(error) === "ENODEV") return false;
    throw error;
  }
}
