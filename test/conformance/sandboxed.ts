/** What the programs find at isolation level `sandboxed`, which is by design: each line that is not ok there, and why. */

import { kernelIsOlderThan } from "./expected.ts";

/** Lines that are not ok, by what follows their number. */
export interface Difference {
  lines: readonly string[];
  /** The programs that print them; every one that runs `runtimetest`, when left out. */
  programs?: readonly string[];
  reason: string;
  /** Whether they are not ok on this host; always, when left out. */
  isHere?: () => boolean;
}

const NO_NEW_PRIVS = "has expected noNewPrivileges";

/** All of them, beside those of a program that is not clean at level `oci` either. */
export const DIFFERENCES: readonly Difference[] = [
  {
    lines: [NO_NEW_PRIVS],
    reason:
      "programs have no_new_privs unless config.json says `false`, which the programs leave out; clean with `dev.cloche.no-new-privileges=false`",
  },
  {
    programs: ["hostname"],
    lines: ['check hostname ""', 'check hostname "hostname-specific"'],
    reason: "the same, found by a `runtimetest` of its own",
  },
  {
    programs: ["linux_masked_paths"],
    lines: ["check masked paths", "check masked device nodes"],
    reason: "the same",
  },
  {
    programs: ["linux_readonly_paths"],
    lines: ["check read-only paths", "check read-only device nodes"],
    reason: "the same",
  },
  {
    programs: ["linux_rootfs_propagation"],
    lines: ["shared", "slave", "private", "unbindable"].map((mode) => `check root propagation: ${mode}`),
    reason: "the same",
  },
  {
    programs: ["linux_devices"],
    lines: [0, 1].map((index) => `has a file at "/dev/test${index + 1}" (linux.devices[${index}])`),
    reason: "nobody makes device nodes in a sandbox; of the host's there are those that everybody may open",
  },
  {
    programs: ["linux_ns_itype"],
    lines: ["cannot run validation tests: exit status 1"],
    reason: "leaves out one namespace after the other, and so asks for the host's mount namespace, which is refused",
  },
  {
    programs: ["linux_ns_path"],
    lines: ["mnt", "pid", "uts"].map((type) => `set ${type} namespace by path`),
    reason: "the namespaces are root's of the host, in which a sandbox has no rights; network and ipc are joined",
  },
  {
    programs: ["mounts"],
    lines: ["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"].map(
      (mode, index) => `mounts[${index + 9}] (/mnt/etc-${mode}) found in order`,
    ),
    reason:
      "bind mounts are mounted in order, but copied before, while the host's files can still be opened; mountinfo has the oldest first (from Linux 6.8 on)",
    isHere: () => !kernelIsOlderThan(6, 8),
  },
];

/** Programs whose `runtimetest` sees no_new_privs. */
export const RUN_RUNTIMETEST: readonly string[] = [
  "default",
  "hostname",
  "linux_devices",
  "linux_masked_paths",
  "linux_mount_label",
  "linux_readonly_paths",
  "linux_rootfs_propagation",
  "linux_sysctl",
  "linux_uid_mappings",
  "mounts",
  "process",
  "process_capabilities",
  "process_oom_score_adj",
  "process_rlimits",
  "process_user",
  "root_readonly_true",
];

/** The lines that `program` must not have ok, sorted; none for one that is as at level `oci`. */
export function expectedNotOk(program: string): string[] {
  const named = DIFFERENCES.flatMap(({ programs, lines, isHere }) =>
    programs?.includes(program) === true && isHere?.() !== false ? lines : [],
  );
  return [...named, ...(RUN_RUNTIMETEST.includes(program) ? [NO_NEW_PRIVS] : [])].toSorted();
}

/** The different lines of an output that are not ok, sorted; those of a `runtimetest` come as a string in the line of who ran it. */
export function notOk(output: string): string[] {
  const lines = output
    .replaceAll("\\n", "\n")
    .replaceAll('\\"', '"')
    .split("\n")
    .flatMap((line) => /^\s*not ok \d+ - (.*)$/.exec(line)?.[1] ?? []);
  return [...new Set(lines)].toSorted();
}
