/** The environment of a container's program: config.json's, and what it must have besides. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import path from "node:path";
import type { Process, Spec } from "../specutils/spec.ts";
import { O_CLOEXEC, O_PATH } from "../specutils/syscall/constants.ts";
import { openat2 } from "../specutils/syscall.ts";

const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;

/** Above any real /etc/passwd; what comes after is not looked at. */
const MAX_PASSWD_BYTES = 1 << 20;

/** A file below a directory that strangers may have filled: it is walked to as such. */
export interface FilePlace {
  root: string;
  file: string;
}

/** /etc/passwd below a container's root. */
export function passwdIn(root: string): FilePlace {
  return { root, file: "etc/passwd" };
}

/**
 * Where the /etc/passwd of a container that has no mounts yet will come from: podman binds one of its own there when the image
 * does not know the user.
 */
export function passwdOf(spec: Spec, bundle: string, rootfs: string): FilePlace {
  const mount = spec.mounts?.findLast(({ destination }) => path.posix.normalize(destination) === "/etc/passwd");
  if (mount?.source === undefined || !mount.options?.some((option) => /^r?bind$/.test(option))) return passwdIn(rootfs);
  return { root: "/", file: path.resolve(bundle, mount.source).slice(1) };
}

/**
 * The whole environment: `process.env`, HOME when it is missing (as runc and crun do), and LISTEN_FDS for a program that
 * gets sockets from systemd or podman (sd_listen_fds(3)).
 *
 * @param passwd where the container's /etc/passwd is on the host
 * @param listenFds number of sockets that the caller passes on
 */
export function programEnvironment(process: Process, passwd: FilePlace, listenFds: number): string[] {
  const env = [...(process.env ?? [])];
  if (!env.some((entry) => entry.startsWith("HOME="))) env.push(`HOME=${homeOf(passwd, process.user.uid)}`);
  if (listenFds > 0) env.push(`LISTEN_FDS=${listenFds}`, "LISTEN_PID=1");
  return env;
}

/** LISTEN_FDS of cloche's own environment; 0 without one. */
export function inheritedListenFds(): number {
  const text = process.env["LISTEN_FDS"] ?? "";
  return /^\d{1,3}$/.test(text) ? Number(text) : 0;
}

/** The home directory of `uid` in /etc/passwd; `/` when it has none, as login(1) does. */
function homeOf(passwd: FilePlace, uid: number): string {
  let home = "";
  for (const line of readPasswd(passwd).split("\n")) {
    const fields = line.split(":");
    if (fields[2] !== String(uid)) continue;
    home = fields[5] ?? "";
    break;
  }
  // A NUL would end the string early; no path holds one.
  return home === "" || home.includes("\0") ? "/" : home;
}

function readPasswd({ root, file }: FilePlace): string {
  const fd = openRegularFile(root, file);
  if (fd === undefined) return ""; // images from scratch have none
  try {
    const bytes = new Uint8Array(Math.min(fstatSync(fd).size, MAX_PASSWD_BYTES));
    return new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0)));
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
