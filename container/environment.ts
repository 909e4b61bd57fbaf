/** The environment of a container's program: config.json's, and what it must have besides. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { Process } from "../specutils/spec.ts";
import { O_CLOEXEC, O_PATH } from "../specutils/syscall/constants.ts";
import { openat2 } from "../specutils/syscall.ts";

const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;

/** Above any real /etc/passwd; what comes after is not looked at. */
const MAX_PASSWD_BYTES = 1 << 20;

/**
 * The whole environment: `process.env`, HOME when it is missing (as runc and crun do), and LISTEN_FDS for a program that
 * gets sockets from systemd or podman (sd_listen_fds(3)).
 *
 * @param root the container's root on the host, which the container may have filled: it is walked as such
 * @param listenFds number of sockets that the caller passes on
 */
export function programEnvironment(process: Process, root: string, listenFds: number): string[] {
  const env = [...(process.env ?? [])];
  if (!env.some((entry) => entry.startsWith("HOME="))) env.push(`HOME=${homeOf(root, process.user.uid)}`);
  if (listenFds > 0) env.push(`LISTEN_FDS=${listenFds}`, "LISTEN_PID=1");
  return env;
}

/** LISTEN_FDS of cloche's own environment; 0 without one. */
export function inheritedListenFds(): number {
  const text = process.env["LISTEN_FDS"] ?? "";
  return /^\d{1,3}$/.test(text) ? Number(text) : 0;
}

/** The home directory of `uid` in the root's /etc/passwd; `/` when it has none, as login(1) does. */
function homeOf(root: string, uid: number): string {
  const line = readPasswd(root)
    .split("\n")
    .find((entry) => entry.split(":")[2] === String(uid));
  const home = line?.split(":")[5] ?? "";
  // A NUL would end the string early; no path holds one.
  return home === "" || home.includes("\0") ? "/" : home;
}

function readPasswd(root: string): string {
  const fd = openRegularFile(root, "etc/passwd");
  if (fd === undefined) return ""; // images from scratch have none
  try {
    const bytes = Buffer.alloc(Math.min(fstatSync(fd).size, MAX_PASSWD_BYTES));
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file below a container's root for reading; undefined when it is none. It is found first and opened after: a FIFO
 * in its place would block, and opening a device, for which the container's device rules do not hold here, can do anything.
 */
function openRegularFile(root: string, file: string): number | undefined {
  const opened: number[] = [];
  try {
    const rootFd = openSync(root, O_PATH | constants.O_DIRECTORY);
    opened.push(rootFd);
    const found = openat2(rootFd, file, O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    opened.push(found);
    return fstatSync(found).isFile() ? openSync(`/proc/self/fd/${found}`, constants.O_RDONLY) : undefined;
  } catch {
    return undefined;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}
