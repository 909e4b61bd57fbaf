/** The configuration of the container of `cloche do`, as a plan: nothing here touches the host. */

import type { Mount, Spec } from "../specutils/spec.ts";
import { defaultSpec } from "./default-spec.ts";

/** What package managers and build tools need inside, and what cannot reach out of a container. */
const CAPABILITIES = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** Directories of the host that the container gets its own of. Sockets in /run lead to services that trust their callers. */
const OWN_DIRECTORIES = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/** File systems that hold no files of the host's, or that may hang or ask for more than reading. */
const SKIPPED_TYPES =
  /^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|fuse\..*|fusectl|hugetlbfs|mqueue|nsfs|proc|pstore|ramfs|rpc_pipefs|securityfs|sysfs|tmpfs|tracefs)$/;

export interface DoOptions {
  args: readonly string[];
  cwd: string;
  /** `name=value`; later ones win. */
  env: readonly string[];
  hasTerminal: boolean;
  hasHostNetwork: boolean;
}

/** The configuration; its root file system is the directory `rootfs` of the bundle, `hostMounts` come on top of it. */
export function doSpec(options: DoOptions, hostMounts: readonly Mount[]): Spec {
  const base = defaultSpec();
  return {
    ...base,
    process: {
      terminal: options.hasTerminal,
      user: { uid: 0, gid: 0 },
      args: [...options.args],
      env: [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "TERM=xterm",
        ...options.env,
      ],
      cwd: options.cwd,
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      noNewPrivileges: true,
    },
    root: { path: "rootfs" },
    mounts: [...hostMounts, ...(base.mounts ?? []), tmpfs("/run", "mode=755"), tmpfs("/tmp", "mode=1777")],
    linux: {
      ...base.linux,
      namespaces: (base.linux?.namespaces ?? []).filter(({ type }) => type !== "network" || !options.hasHostNetwork),
    },
  };
}

function tmpfs(destination: string, mode: string): Mount {
  return { destination, type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", mode] };
}

/**
 * Read-only mounts for the file systems that the host has below its root, which an overlay of the root does not show.
 * @param mountinfo text of /proc/self/mountinfo (proc_pid_mountinfo(5))
 */
export function planHostMounts(mountinfo: string): Mount[] {
  const destinations = new Set<string>();
  for (const line of mountinfo.split("\n")) {
    const fields = line.split(" ");
    const destination = fields[4]?.replace(/\\(\d{3})/g, (_escape, code) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    const type = fields[fields.indexOf("-") + 1];
    if (destination !== undefined && type !== undefined && isShown(destination, type)) {
      destinations.add(destination);
    }
  }
  return [...destinations].map((destination) => ({
    destination,
    type: "none",
    source: destination,
    options: ["bind", "ro", "nosuid", "nodev"],
  }));
}

function isShown(destination: string, type: string): boolean {
  return destination !== "/" && !isHidden(destination) && !SKIPPED_TYPES.test(type);
}

/** Whether the container has a directory of its own where the host has `path`. */
export function isHidden(path: string): boolean {
  return OWN_DIRECTORIES.some((own) => path === own || path.startsWith(`${own}/`));
}
