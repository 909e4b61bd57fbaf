/**
 * Kernel parameters of `linux.sysctl`. Only those that the kernel keeps per namespace may be set, and only if the
 * container has that namespace for itself: any other would change the host.
 */

import { statSync } from "node:fs";
import { quote } from "./quote.ts";
import { invalid } from "./schema.ts";
import type { Linux, NamespaceType } from "./spec.ts";

const CLAUSE = "config-linux.md#sysctl";

const IPC_PARAMETERS: ReadonlySet<string> = new Set([
  "kernel/msgmax",
  "kernel/msgmnb",
  "kernel/msgmni",
  "kernel/sem",
  "kernel/shmall",
  "kernel/shmmax",
  "kernel/shmmni",
  "kernel/shm_rmid_forced",
]);

/**
 * The path below /proc/sys of a parameter, undefined if the name leads elsewhere. As for sysctl(8), the first separator
 * is the separator: in `net.ipv4.conf.eth0/1.mtu` a slash, in `net/ipv4/conf/eth0.1/mtu` a dot belongs to a name.
 */
export function sysctlPath(name: string): string | undefined {
  const separator = /[./]/.exec(name)?.[0] ?? ".";
  const steps = name.split(separator).map((step) => (separator === "." ? step.replaceAll("/", ".") : step));
  return steps.every((step) => step !== "" && step !== "." && step !== "..") ? steps.join("/") : undefined;
}

/** @throws SpecError naming the first parameter that the container's namespaces do not hold for it alone */
export function checkSysctl(document: string, linux: Linux): void {
  for (const name of Object.keys(linux.sysctl ?? {})) {
    const problem = problemOf(name, linux);
    if (problem !== undefined) throw invalid(document, `linux.sysctl[${quote(name)}]`, problem, CLAUSE);
  }
}

function problemOf(name: string, linux: Linux): string | undefined {
  const path = sysctlPath(name);
  if (path === undefined) return "is not the name of a kernel parameter";
  // The hostname has a field of its own, and two values would contradict each other.
  if (path === "kernel/hostname") return 'conflicts with the field "hostname"';
  const type = namespaceOf(path);
  if (type === undefined) return "is not kept per namespace, setting it would change the host";
  const namespace = linux.namespaces?.find((candidate) => candidate.type === type);
  if (namespace === undefined) return `needs a namespace of type "${type}", or it would change the host`;
  if (type === "network" && namespace.path !== undefined && isOwnNetwork(namespace.path)) {
    return "needs a network namespace other than the host's";
  }
  return undefined;
}

function namespaceOf(path: string): NamespaceType | undefined {
  if (IPC_PARAMETERS.has(path) || path.startsWith("fs/mqueue/")) return "ipc";
  if (path.startsWith("net/")) return "network";
  if (path.startsWith("user/")) return "user";
  return path === "kernel/domainname" ? "uts" : undefined;
}

/** A path that cannot be looked at is reported when the namespace is joined. */
function isOwnNetwork(path: string): boolean {
  const own = statSync("/proc/self/ns/net", { throwIfNoEntry: false });
  const other = statSync(path, { throwIfNoEntry: false });
  return own !== undefined && other !== undefined && own.dev === other.dev && own.ino === other.ino;
}
