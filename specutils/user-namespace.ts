/** Whether this process is in a user namespace other than the machine's own (user_namespaces(7)). */
import { readFileSync } from "node:fs";

/** The map of the initial namespace: every id is itself. Written by the kernel, so the spaces are known. */
const IDENTITY = /^\s*0\s+0\s+4294967295\s*$/;

let isInside: boolean | undefined;

/**
 * True for root of a user namespace too, who is somebody else on the host: rootless podman, a container with remapped ids.
 * Such a process may not make device nodes, whatever its capabilities.
 */
export function isInUserNamespace(): boolean {
  isInside ??= !IDENTITY.test(readFileSync("/proc/self/uid_map", "utf8"));
  return isInside;
}

/** Whether this process is not even root of a user namespace, and so has to make one before it can do anything. */
export function isOrdinaryUser(): boolean {
  return process.geteuid?.() !== 0;
}

/** Whether this process is root, and root of the whole machine. */
export function isHostRoot(): boolean {
  return !isOrdinaryUser() && !isInUserNamespace();
}
