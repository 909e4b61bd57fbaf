/** Which programs cannot be clean, on which hosts, and why: each reason was checked by running the program and reading it. */

import { existsSync, readFileSync } from "node:fs";
import type { Edition } from "./programs.ts";

/** Why a program is not clean. `machine`: it is clean where `isPossible` says so. */
export interface Exception {
  programs: string[];
  cause: "engines" | "machine" | "test";
  reason: string;
  /** Whether this host has what the program needs; never, when left out. */
  isPossible?: () => boolean;
  /** Whether the virtual machine offers what is missing here. */
  isInVm?: true;
  /** The only edition that is affected. */
  edition?: Edition;
}

/** All programs that are not clean everywhere. */
export const EXCEPTIONS: Exception[] = [
  {
    programs: ["delete"],
    cause: "engines",
    reason:
      "wants `delete` of a created container refused; podman deletes created containers without --force, so runc, crun and cloche allow it",
  },
  {
    programs: ["linux_cgroups_blkio", "linux_cgroups_relative_blkio"],
    cause: "machine",
    reason: "needs blkio.leaf_weight, which left Linux with the CFQ scheduler in 5.0",
    isPossible: () => existsSync("/sys/fs/cgroup/blkio/blkio.leaf_weight"),
  },
  {
    programs: ["linux_cgroups_hugetlb", "linux_cgroups_relative_hugetlb"],
    cause: "machine",
    isInVm: true,
    reason: "needs the hugetlb controller of cgroup version 1; this host has none mounted",
    isPossible: () => existsSync("/sys/fs/cgroup/hugetlb/cgroup.procs"),
  },
  {
    programs: ["linux_cgroups_memory", "linux_cgroups_relative_memory"],
    cause: "machine",
    isInVm: true,
    reason: "sets linux.resources.memory.kernel; Linux refuses memory.kmem.limit_in_bytes since 5.16",
    isPossible: () => existsSync("/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes") && kernelIsOlderThan(5, 16),
  },
  {
    programs: ["linux_cgroups_network", "linux_cgroups_relative_network"],
    cause: "machine",
    isInVm: true,
    reason: "needs the net_cls and net_prio controllers of cgroup version 1; this host has neither",
    isPossible: () => ["net_cls", "net_prio"].every((name) => existsSync(`/sys/fs/cgroup/${name}/cgroup.procs`)),
  },
  {
    programs: ["linux_process_apparmor_profile"],
    cause: "machine",
    isInVm: true,
    reason: "needs a kernel with AppArmor and the profile acme_secure_profile loaded",
    isPossible: () => existsSync("/sys/kernel/security/apparmor/profiles"),
  },
  {
    programs: ["process_capabilities"],
    cause: "machine",
    isInVm: true,
    reason: "asks for every capability; this host grants no CAP_SYS_RESOURCE",
    isPossible: hasEveryCapability,
  },
  {
    programs: ["misc_props"],
    cause: "test",
    reason: "expects a container to start whose program, /runtimetest, it never copied into the root file system",
  },
  {
    programs: ["pidfile"],
    cause: "test",
    reason: "expects `kill` of a stopped container to succeed, against runtime.md#kill; its container runs `true`",
  },
  {
    programs: ["process_capabilities_fail"],
    cause: "test",
    reason: "wants an unknown capability refused; config.md#linux-process says that runtimes SHOULD NOT fail, but warn",
  },
  {
    programs: ["start"],
    cause: "test",
    reason: "expects `start` without `process` to succeed, against runtime.md#start and its own message",
  },
  {
    programs: ["delete_resources", "linux_cgroups_pids", "linux_cgroups_relative_pids"],
    cause: "test",
    reason:
      "compares two pointers instead of the limits behind them since pids.limit became optional; clean in the edition `peers`",
    edition: "head",
  },
];

/** The reason why a program cannot be clean on this host, or undefined when it must be. */
export function exceptionFor(program: string, edition: Edition): Exception | undefined {
  return EXCEPTIONS.find(
    (exception) =>
      exception.programs.includes(program) &&
      (exception.edition ?? edition) === edition &&
      !(exception.isPossible?.() ?? false),
  );
}

/** Whether this host's kernel is. */
export function kernelIsOlderThan(major: number, minor: number): boolean {
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8");
  const [hostMajor = 0, hostMinor = 0] = release.split(".").map((part) => Number.parseInt(part, 10));
  return hostMajor < major || (hostMajor === major && hostMinor < minor);
}

function hasEveryCapability(): boolean {
  const last = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return BigInt(`0x${effective}`) === (1n << BigInt(last + 1)) - 1n;
}
