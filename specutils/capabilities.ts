/** Capabilities by name (capabilities(7), include/uapi/linux/capability.h). The position in the list is the bit. */

export const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;

/** The bit (0 to 40) of a capability; undefined for a name that is none. Names are exact: `CAP_KILL`, not `kill`. */
export function capabilityBit(name: string): number | undefined {
  const bit = (CAPABILITIES as readonly string[]).indexOf(name);
  return bit === -1 ? undefined : bit;
}

/**
 * The set of the named capabilities, bit n for capability n.
 * @param onUnknown gets each name that is no capability. The spec wants a warning and no failure (config.md#linux-process),
 *   as a config may be written for a newer kernel; leaving one out can only take rights away.
 */
export function capabilityMask(names: readonly string[], onUnknown: (name: string) => void): bigint {
  let mask = 0n;
  for (const name of names) {
    const bit = capabilityBit(name);
    if (bit === undefined) onUnknown(name);
    else mask |= 1n << BigInt(bit);
  }
  return mask;
}
