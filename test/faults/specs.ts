/** Containers that make cloche and its helper go through as many different steps as this machine allows. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";

const HOOK = { path: "/bin/true" };

/** Every kind of mount, hook, limit and privilege. `directory` gets what is bound from the host. */
export function addEverything(spec: BundleSpec, directory: string): void {
  const source = path.join(directory, "source");
  mkdirSync(source, { recursive: true });
  writeFileSync(path.join(source, "file"), "");
  const { process, linux } = spec;
  Object.assign(process, {
    user: { uid: 1000, gid: 1000, additionalGids: [5, 6], umask: 0o22 },
    cwd: "/work",
    oomScoreAdj: 500,
    ioPriority: { class: "IOPRIO_CLASS_BE", priority: 5 },
    scheduler: { policy: "SCHED_BATCH", nice: 5 },
  });
  process.capabilities = { ...process.capabilities, inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"] };
  spec.domainname = "example";
  spec.mounts.push(
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro", "nosuid", "nodev", "noexec"] },
    { destination: "/mnt/bound", type: "bind", source, options: ["rbind", "rro", "nosuid"] },
    { destination: "/mnt/file", type: "bind", source: path.join(source, "file"), options: ["bind", "ro"] },
    { destination: "/etc", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "size=1m"] },
  );
  spec.root.readonly = true;
  spec.hooks = {
    prestart: [HOOK],
    createRuntime: [HOOK],
    createContainer: [HOOK],
    startContainer: [HOOK],
    poststart: [HOOK],
    poststop: [HOOK],
  };
  linux.namespaces.push({ type: "cgroup" });
  linux.resources = {
    ...linux.resources,
    memory: { limit: 256n << 20n },
    pids: { limit: 100n },
    cpu: { shares: 512n },
  };
  linux.sysctl = { "kernel.msgmax": "8192" };
  linux.devices = [{ type: "p", path: "/dev/pipe", fileMode: 0o600 }];
  linux.personality = { domain: "LINUX" };
  linux.rootfsPropagation = "rprivate";
  linux.seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["swapon"], action: "SCMP_ACT_ERRNO" }],
  };
}

/** A container in a user and a time namespace. */
export function addUserNamespace({ linux, mounts }: BundleSpec): void {
  linux.namespaces.push({ type: "user" }, { type: "time" });
  linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  linux.timeOffsets = { monotonic: { secs: 100n, nanosecs: 0 } };
  // Of a user namespace that does not own the network, none of the host's sysfs can be had.
  void mounts;
}
