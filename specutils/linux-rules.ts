/** What the spec and the kernel say about `linux` beyond the types of single fields. */

import { parseCpuList } from "./cpu-list.ts";
import { checkMappings } from "./mapping-rules.ts";
import { checkResources } from "./resources-rules.ts";
import { brief, invalid } from "./schema.ts";
import type { Linux, MemoryPolicy, NamespaceType, Seccomp, Spec } from "./spec.ts";
import { checkSysctl } from "./sysctl.ts";

const NAMESPACES = "config-linux.md#namespaces";
const USER_MAPPINGS = "config-linux.md#user-namespace-mappings";
const TIME = "config-linux.md#offset-for-time-namespace";
const DEVICES = "config-linux.md#devices";
const SECCOMP = "config-linux.md#seccomp";
const MEMORY_POLICY = "config-linux.md#memory-policy";
/** Longest host or domain name in bytes (__NEW_UTS_LEN). */
const MAX_NAME_BYTES = 64;

/** @throws SpecError */
export function checkLinux(document: string, spec: Spec): void {
  const linux = spec.linux ?? {};
  checkNamespaces(document, linux);
  checkNames(document, spec);
  checkUserNamespace(document, linux);
  checkTimeNamespace(document, linux);
  requireNamespace(document, linux, "mount", "linux.maskedPaths", hasEntries(linux.maskedPaths));
  requireNamespace(document, linux, "mount", "linux.readonlyPaths", hasEntries(linux.readonlyPaths));
  requireNamespace(document, linux, "network", "linux.netDevices", hasEntries(Object.keys(linux.netDevices ?? {})));
  checkSysctl(document, linux);
  checkDevices(document, linux);
  checkResources(document, linux.resources ?? {}, "linux.resources.");
  if (linux.seccomp !== undefined) checkSeccomp(document, linux.seccomp);
  if (linux.memoryPolicy !== undefined) checkMemoryPolicy(document, linux.memoryPolicy);
  const [flag] = linux.personality?.flags ?? [];
  if (flag !== undefined) {
    throw invalid(
      document,
      "linux.personality.flags[0]",
      `got ${brief(flag)}, but there are no flags`,
      "config-linux.md#personality",
    );
  }
}

function checkNamespaces(document: string, { namespaces = [] }: Linux): void {
  const seen = new Set<NamespaceType>();
  for (const [index, { type }] of namespaces.entries()) {
    if (seen.has(type)) {
      throw invalid(document, `linux.namespaces[${index}].type`, `"${type}" appears twice`, NAMESPACES);
    }
    seen.add(type);
  }
}

function checkNames(document: string, spec: Spec): void {
  for (const field of ["hostname", "domainname"] as const) {
    const name = spec[field];
    if (name === undefined) continue;
    requireNamespace(document, spec.linux ?? {}, "uts", field, true);
    const bytes = new TextEncoder().encode(name).length;
    if (bytes > MAX_NAME_BYTES) {
      throw invalid(document, field, `got ${bytes} bytes, want at most ${MAX_NAME_BYTES}`, `config.md#${field}`);
    }
  }
}

/** A namespace that is joined may come with its mappings: containerd and CRI-O send both. */
function checkUserNamespace(document: string, linux: Linux): void {
  const namespace = linux.namespaces?.find(({ type }) => type === "user");
  for (const field of ["uidMappings", "gidMappings"] as const) {
    const mappings = linux[field];
    checkMappings(document, mappings, `linux.${field}`);
    if (hasEntries(mappings) && namespace === undefined) {
      throw invalid(document, `linux.${field}`, 'needs a namespace of type "user"', USER_MAPPINGS);
    }
    if (!hasEntries(mappings) && namespace !== undefined && namespace.path === undefined) {
      throw invalid(document, `linux.${field}`, "is required for a new user namespace", USER_MAPPINGS);
    }
  }
}

function checkTimeNamespace(document: string, linux: Linux): void {
  if (Object.keys(linux.timeOffsets ?? {}).length === 0) return;
  requireNamespace(document, linux, "time", "linux.timeOffsets", true);
  if (linux.namespaces?.find(({ type }) => type === "time")?.path !== undefined) {
    throw invalid(document, "linux.timeOffsets", "is not possible for a time namespace that is joined", TIME);
  }
}

function checkDevices(document: string, { devices = [] }: Linux): void {
  for (const [index, device] of devices.entries()) {
    for (const field of ["major", "minor"] as const) {
      if (device.type !== "p" && device[field] === undefined) {
        throw invalid(document, `linux.devices[${index}].${field}`, `is required for type "${device.type}"`, DEVICES);
      }
    }
  }
}

function checkSeccomp(document: string, seccomp: Seccomp): void {
  const refuse = (field: string, problem: string): never => {
    throw invalid(document, `linux.seccomp.${field}`, problem, SECCOMP);
  };
  const { listenerPath, listenerMetadata, syscalls = [] } = seccomp;
  if (seccomp.defaultErrnoRet !== undefined && !takesErrno(seccomp.defaultAction)) {
    refuse("defaultErrnoRet", `is not possible with ${seccomp.defaultAction}`);
  }
  let hasNotify = seccomp.defaultAction === "SCMP_ACT_NOTIFY";
  for (const [index, syscall] of syscalls.entries()) {
    if (syscall.names.length === 0) refuse(`syscalls[${index}].names`, "must have at least one entry");
    if (syscall.errnoRet !== undefined && !takesErrno(syscall.action)) {
      refuse(`syscalls[${index}].errnoRet`, `is not possible with ${syscall.action}`);
    }
    hasNotify ||= syscall.action === "SCMP_ACT_NOTIFY";
  }
  if (hasNotify && listenerPath === undefined) refuse("listenerPath", "is required for SCMP_ACT_NOTIFY");
  if (listenerMetadata !== undefined && listenerPath === undefined) {
    refuse("listenerMetadata", "is not possible without listenerPath");
  }
}

function takesErrno(action: string): boolean {
  return action === "SCMP_ACT_ERRNO" || action === "SCMP_ACT_TRACE";
}

/** set_mempolicy(2): which modes need nodes, which must have none. */
function checkMemoryPolicy(document: string, { mode, nodes = "", flags = [] }: MemoryPolicy): void {
  const refuse = (field: string, problem: string): never => {
    throw invalid(document, `linux.memoryPolicy.${field}`, problem, MEMORY_POLICY);
  };
  const numbers = parseCpuList(nodes) ?? refuse("nodes", `got ${brief(nodes)}, want a list of nodes such as "0-3,7"`);
  const hasNodes = numbers.length > 0;
  const isWithoutNodes = mode === "MPOL_DEFAULT" || mode === "MPOL_LOCAL";
  if (isWithoutNodes && hasNodes) refuse("nodes", `must be empty for ${mode}`);
  if (!isWithoutNodes && mode !== "MPOL_PREFERRED" && !hasNodes) refuse("nodes", `is required for ${mode}`);
  if (flags.includes("MPOL_F_STATIC_NODES") && flags.includes("MPOL_F_RELATIVE_NODES")) {
    refuse("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
  }
}

function requireNamespace(document: string, linux: Linux, type: NamespaceType, field: string, isUsed: boolean): void {
  if (!isUsed || linux.namespaces?.some((namespace) => namespace.type === type)) return;
  throw invalid(document, field, `needs a namespace of type "${type}"`, NAMESPACES);
}

function hasEntries(list: readonly unknown[] | undefined): boolean {
  return list !== undefined && list.length > 0;
}
