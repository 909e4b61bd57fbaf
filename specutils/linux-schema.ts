/** The table of `linux` (config-linux.md), apart from its resources. */

import {
  MEMORY_POLICY_FLAGS,
  MEMORY_POLICY_MODES,
  NAMESPACES,
  PERSONALITY_DOMAINS,
  ROOTFS_PROPAGATIONS,
  SECCOMP_ACTIONS,
  SECCOMP_ARCHITECTURES,
  SECCOMP_FLAGS,
  SECCOMP_OPERATORS,
  TIME_OFFSET_CLOCKS,
} from "./kernel-names.ts";
import { resourcesSchema } from "./resources-schema.ts";
import {
  absolutePath,
  bool,
  id,
  int64,
  integer,
  list,
  nonEmptyText,
  object,
  oneOf,
  optional,
  optionalText,
  record,
  required,
  text,
  textLike,
  uint32,
  uint64,
} from "./schema.ts";
import type {
  Device,
  IdMapping,
  IntelRdt,
  Linux,
  MemoryPolicy,
  Namespace,
  NamespaceType,
  NetDevice,
  Personality,
  Seccomp,
  SeccompArg,
  SeccompSyscall,
} from "./spec.ts";

const NAMESPACE = "config-linux.md#namespaces";
const USER_MAPPINGS = "config-linux.md#user-namespace-mappings";
const TIME = "config-linux.md#offset-for-time-namespace";
const DEVICES = "config-linux.md#devices";
const NETWORK_DEVICES = "config-linux.md#network-devices";
const SECCOMP = "config-linux.md#seccomp";
const MASKED = "config-linux.md#masked-paths";
const READ_ONLY = "config-linux.md#readonly-paths";
const INTEL_RDT = "config-linux.md#intelrdt";
const MEMORY_POLICY = "config-linux.md#memory-policy";
const PERSONALITY = "config-linux.md#personality";

const namespace = object<Namespace>(NAMESPACE, () => ({
  type: required(oneOf(Object.keys(NAMESPACES) as NamespaceType[], NAMESPACE)),
  path: optionalText(absolutePath(NAMESPACE)),
}));

export const idMapping = object<IdMapping>(USER_MAPPINGS, () => ({
  containerID: required(id),
  hostID: required(id),
  size: required(integer(1, 2 ** 32 - 1)),
}));

const device = object<Device>(DEVICES, () => ({
  type: required(oneOf(["c", "b", "u", "p"], DEVICES)),
  path: required(absolutePath(DEVICES)),
  major: optional(integer(0, 4095)),
  minor: optional(integer(0, 2 ** 20 - 1)),
  // Some engines leave the file type in the mode, as stat(2) returns it.
  fileMode: optional(integer(0, 0o177777)),
  uid: optional(id),
  gid: optional(id),
}));

/** What the kernel takes as the name of an interface (dev_valid_name in net/core/dev.c). */
const interfaceName = textLike(/^(?!\.\.?$)[^/:\s]{1,15}$/, "the name of a network interface", NETWORK_DEVICES);

const seccompArg = object<SeccompArg>(SECCOMP, () => ({
  index: required(integer(0, 5)),
  value: required(uint64),
  valueTwo: optional(uint64),
  op: required(oneOf(SECCOMP_OPERATORS, SECCOMP)),
}));

const seccompSyscall = object<SeccompSyscall>(SECCOMP, () => ({
  names: required(list(nonEmptyText)),
  action: required(oneOf(SECCOMP_ACTIONS, SECCOMP)),
  errnoRet: optional(uint32),
  args: optional(list(seccompArg)),
}));

const seccomp = object<Seccomp>(SECCOMP, () => ({
  defaultAction: required(oneOf(SECCOMP_ACTIONS, SECCOMP)),
  defaultErrnoRet: optional(uint32),
  architectures: optional(list(oneOf(SECCOMP_ARCHITECTURES, SECCOMP))),
  flags: optional(list(oneOf(SECCOMP_FLAGS, SECCOMP))),
  listenerPath: optionalText(text),
  listenerMetadata: optionalText(text),
  syscalls: optional(list(seccompSyscall)),
}));

const oneLine = textLike(/^[^\n]*$/, "a single line", INTEL_RDT);

const intelRdt = object<IntelRdt>(INTEL_RDT, () => ({
  closID: optionalText(textLike(/^(\/|(?!\.\.?$)[^/\n]+)$/, 'the name of a directory, or "/"', INTEL_RDT)),
  schemata: optional(list(oneLine)),
  l3CacheSchema: optionalText(oneLine),
  memBwSchema: optionalText(textLike(/^MB:[^\n]*$/, 'a single line that begins with "MB:"', INTEL_RDT)),
  enableCMT: optional(bool),
  enableMBM: optional(bool),
  enableMonitoring: optional(bool),
}));

const memoryPolicy = object<MemoryPolicy>(MEMORY_POLICY, () => ({
  mode: required(oneOf(Object.keys(MEMORY_POLICY_MODES), MEMORY_POLICY)),
  nodes: optionalText(textLike(/^[0-9, -]*$/, 'a list of nodes such as "0-3,7"', MEMORY_POLICY)),
  flags: optional(list(oneOf(Object.keys(MEMORY_POLICY_FLAGS), MEMORY_POLICY))),
}));

const personality = object<Personality>(PERSONALITY, () => ({
  domain: required(oneOf(Object.keys(PERSONALITY_DOMAINS), PERSONALITY)),
  flags: optional(list(text)),
}));

const timeOffset = object<{ secs?: bigint; nanosecs?: number }>(TIME, () => ({
  secs: optional(int64),
  nanosecs: optional(integer(0, 999_999_999)),
}));

export const linuxSchema = object<Linux>("config-linux.md", () => ({
  uidMappings: optional(list(idMapping)),
  gidMappings: optional(list(idMapping)),
  sysctl: optional(record(text, nonEmptyText)),
  resources: optional(resourcesSchema),
  cgroupsPath: optionalText(text),
  namespaces: optional(list(namespace)),
  devices: optional(list(device)),
  netDevices: optional(
    record(
      object<NetDevice>(NETWORK_DEVICES, () => ({ name: optionalText(interfaceName) })),
      interfaceName,
    ),
  ),
  seccomp: optional(seccomp),
  rootfsPropagation: optionalText(oneOf(ROOTFS_PROPAGATIONS, "config-linux.md#rootfs-mount-propagation")),
  maskedPaths: optional(list(absolutePath(MASKED))),
  readonlyPaths: optional(list(absolutePath(READ_ONLY))),
  mountLabel: optionalText(text),
  intelRdt: optional(intelRdt),
  memoryPolicy: optional(memoryPolicy),
  personality: optional(personality),
  timeOffsets: optional(record(timeOffset, oneOf(TIME_OFFSET_CLOCKS, TIME))),
}));
