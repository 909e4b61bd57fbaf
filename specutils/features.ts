/** The features structure (features.md, features-linux.md): what this binary can do, whatever the host can. */

import { CAPABILITIES } from "./capabilities.ts";
import {
  HOOK_NAMES,
  MEMORY_POLICY_FLAGS,
  MEMORY_POLICY_MODES,
  NAMESPACES,
  OCI_VERSION_MAX,
  OCI_VERSION_MIN,
  SECCOMP_ACTIONS,
  SECCOMP_ARCHITECTURES,
  SECCOMP_FLAGS,
  SECCOMP_OPERATORS,
} from "./kernel-names.ts";
import { knownMountOptions } from "./mount-options.ts";
import { isSupported } from "./unsupported.ts";

export interface Features {
  ociVersionMin: string;
  ociVersionMax: string;
  hooks: readonly string[];
  mountOptions: readonly string[];
  linux: {
    namespaces: readonly string[];
    capabilities: readonly string[];
    cgroup: { v1: boolean; v2: boolean; systemd: boolean; systemdUser: boolean; rdma: boolean };
    seccomp: {
      enabled: boolean;
      actions: readonly string[];
      operators: readonly string[];
      archs: readonly string[];
      knownFlags: readonly string[];
      supportedFlags: readonly string[];
    };
    apparmor: { enabled: boolean };
    selinux: { enabled: boolean };
    intelRdt: { enabled: boolean; schemata: boolean; monitoring: boolean };
    memoryPolicy: { modes: readonly string[]; flags: readonly string[] };
    mountExtensions: { idmap: { enabled: boolean } };
    netDevices: { enabled: boolean };
  };
  annotations: Record<string, string>;
  potentiallyUnsafeConfigAnnotations: readonly string[];
}

/** Annotations of a config that change what cloche does; a trailing dot makes it a prefix. */
const UNSAFE_ANNOTATIONS = ["dev.cloche.", "org.systemd.property."];

/** @param version cloche's own, left out when unknown */
export function features(version?: string): Features {
  return {
    ociVersionMin: OCI_VERSION_MIN,
    ociVersionMax: OCI_VERSION_MAX,
    hooks: HOOK_NAMES,
    mountOptions: knownMountOptions(),
    linux: {
      namespaces: Object.keys(NAMESPACES),
      capabilities: CAPABILITIES,
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: false, rdma: true },
      seccomp: {
        enabled: true,
        actions: SECCOMP_ACTIONS,
        operators: SECCOMP_OPERATORS,
        archs: SECCOMP_ARCHITECTURES,
        knownFlags: SECCOMP_FLAGS,
        supportedFlags: SECCOMP_FLAGS,
      },
      apparmor: { enabled: isSupported("process.apparmorProfile") },
      selinux: { enabled: isSupported("process.selinuxLabel") },
      intelRdt: {
        enabled: isSupported("linux.intelRdt"),
        schemata: isSupported("linux.intelRdt"),
        monitoring: isSupported("linux.intelRdt"),
      },
      memoryPolicy: { modes: Object.keys(MEMORY_POLICY_MODES), flags: Object.keys(MEMORY_POLICY_FLAGS) },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: isSupported("linux.netDevices") },
    },
    annotations: version === undefined ? {} : { "dev.cloche.version": version },
    potentiallyUnsafeConfigAnnotations: UNSAFE_ANNOTATIONS,
  };
}
