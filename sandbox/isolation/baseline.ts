/**
 * The baseline filter of isolation level `sandboxed`: system calls that no program in a sandbox needs, and that have been
 * ways into the kernel or out of a container. It is stacked on config.json's own filter, of which it knows nothing.
 *
 * This table is the one source: docs/SECURITY.md lists the same rows, and a test compares them.
 */
import { UnsupportedError } from "../../specutils/errors.ts";
import type { Seccomp, SeccompArg } from "../../specutils/spec.ts";

/** errno(3) */
const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

const CLONE_NEWUSER = 0x1000_0000n;
const MS_REMOUNT_BIND = 0x1020n; // MS_REMOUNT | MS_BIND
const AF_ALG = 38n;
const AF_VSOCK = 40n;
const TIOCSTI = 0x5412n;
const TIOCLINUX = 0x541cn;

/** Calls that are refused together, for one reason. */
export interface BaselineRule {
  /** What `baseline-allow` of the configuration file names it by, beside the calls themselves. */
  name: string;
  syscalls: readonly string[];
  errno: number;
  /** Only calls with such an argument are refused. Comparisons are of the low half of it, which is what the kernel looks at. */
  when?: { index: number; mask: bigint; value: bigint };
  reason: string;
}

export const BASELINE: readonly BaselineRule[] = [
  {
    name: "modules",
    syscalls: ["create_module", "init_module", "finit_module", "delete_module", "query_module", "get_kernel_syms"],
    errno: EPERM,
    reason: "code in the kernel",
  },
  {
    name: "kexec",
    syscalls: ["kexec_load", "kexec_file_load"],
    errno: EPERM,
    reason: "another kernel in place of this one",
  },
  {
    name: "bpf",
    syscalls: ["bpf"],
    errno: EPERM,
    reason: "programs in the kernel; its verifier has let through what it should not",
  },
  {
    name: "perf",
    syscalls: ["perf_event_open"],
    errno: EPERM,
    reason: "sees other programs by their side effects; a long list of kernel bugs",
  },
  {
    name: "userfaultfd",
    syscalls: ["userfaultfd"],
    errno: EPERM,
    reason: "stops the kernel in the middle of a copy for as long as one likes, which makes races easy to win",
  },
  {
    name: "io_uring",
    syscalls: ["io_uring_setup", "io_uring_enter", "io_uring_register"],
    errno: EPERM,
    reason: "calls that no filter sees; a long list of kernel bugs",
  },
  {
    name: "keyrings",
    syscalls: ["add_key", "request_key", "keyctl"],
    errno: EPERM,
    reason: "keyrings of a user are shared by all namespaces with that user; a long list of kernel bugs",
  },
  {
    name: "file-handles",
    syscalls: ["open_by_handle_at"],
    errno: EPERM,
    reason: "opens files by number, whatever the mount shows (docker's Shocker escape)",
  },
  {
    name: "user-namespaces",
    syscalls: ["clone", "unshare"],
    errno: EPERM,
    when: { index: 0, mask: CLONE_NEWUSER, value: CLONE_NEWUSER },
    reason: "a new user namespace has every capability over what is in it, and so reaches code that root alone should",
  },
  {
    name: "user-namespaces",
    syscalls: ["clone3"],
    errno: ENOSYS,
    reason: "its flags lie in memory, where no filter can look; the C library falls back to clone",
  },
  {
    name: "remount",
    syscalls: ["mount"],
    errno: EPERM,
    when: { index: 3, mask: MS_REMOUNT_BIND, value: MS_REMOUNT_BIND },
    reason: "takes read-only, nosuid and nodev off the mounts that the container was given",
  },
  {
    name: "remount",
    syscalls: ["mount_setattr", "open_tree_attr"],
    errno: ENOSYS,
    reason: "the same, with the new calls",
  },
  {
    name: "terminal-input",
    syscalls: ["ioctl"],
    errno: EPERM,
    when: { index: 1, mask: 0xffff_ffffn, value: TIOCSTI },
    reason: "TIOCSTI types into a terminal that is shared with the host (CVE-2017-5226)",
  },
  {
    name: "terminal-input",
    syscalls: ["ioctl"],
    errno: EPERM,
    when: { index: 1, mask: 0xffff_ffffn, value: TIOCLINUX },
    reason: "TIOCLINUX pastes into a console (CVE-2023-1523)",
  },
  {
    name: "vsock",
    syscalls: ["socket"],
    errno: EAFNOSUPPORT,
    when: { index: 0, mask: 0xffff_ffffn, value: AF_VSOCK },
    reason: "AF_VSOCK reaches the hypervisor and other machines on it from any network namespace",
  },
  {
    name: "kernel-crypto",
    syscalls: ["socket"],
    errno: EAFNOSUPPORT,
    when: { index: 0, mask: 0xffff_ffffn, value: AF_ALG },
    reason: "AF_ALG loads and drives the kernel's ciphers; libraries have their own",
  },
  {
    name: "kernel-log",
    syscalls: ["syslog"],
    errno: EPERM,
    reason: "the kernel's log is the host's, and has addresses in it",
  },
  {
    name: "quota",
    syscalls: ["quotactl", "quotactl_fd"],
    errno: EPERM,
    reason: "the quotas of file systems are the host's",
  },
];

/** Every name that `baseline-allow` takes, sorted. */
export function baselineNames(): string[] {
  return [...new Set(BASELINE.flatMap(({ name, syscalls }) => [name, ...syscalls]))].sort();
}

/**
 * The filter as a profile, without what `allowed` names.
 *
 * @throws UnsupportedError for a name that is not in the table: a mistake there must not go unnoticed
 */
export function baselineProfile(allowed: readonly string[]): Seccomp {
  const known = baselineNames();
  const unknown = allowed.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new UnsupportedError(
      `baseline-allow: unknown name ${JSON.stringify(unknown)}, known are ${known.join(", ")}`,
    );
  }
  const syscalls = BASELINE.filter(({ name }) => !allowed.includes(name)).flatMap((rule) => {
    const names = rule.syscalls.filter((name) => !allowed.includes(name));
    if (names.length === 0) return [];
    const args: SeccompArg[] = rule.when === undefined ? [] : [condition(rule.when)];
    return [{ names, action: "SCMP_ACT_ERRNO", errnoRet: rule.errno, ...(args.length > 0 && { args }) }];
  });
  return {
    defaultAction: "SCMP_ACT_ALLOW",
    // All that the kernel runs: what is refused to a 64-bit program must not be had by calling as a 32-bit one.
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    syscalls,
  };
}

function condition({ index, mask, value }: NonNullable<BaselineRule["when"]>): SeccompArg {
  return { index, value: mask, valueTwo: value, op: "SCMP_CMP_MASKED_EQ" };
}
