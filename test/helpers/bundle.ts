/** Root file systems and bundles for tests: busybox, and a config.json like the one that `spec` prints, without terminal. */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Linux, Process, Root, Spec } from "../../specutils/spec.ts";

let applets: string[] | undefined;

/** The commands that busybox has. */
function listApplets(): string[] {
  applets ??= execFileSync("busybox", ["--list"], { encoding: "utf8" }).trim().split("\n");
  return applets;
}

/** Makes a root file system in `directory`: busybox under all its names, the usual directories, root and nobody. */
export function makeRootfs(directory: string): string {
  for (const name of ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"]) {
    mkdirSync(path.join(directory, name), { recursive: true });
  }
  chmodSync(directory, 0o755);
  chmodSync(path.join(directory, "tmp"), 0o1777);
  const busybox = execFileSync("/bin/sh", ["-c", "command -v busybox"], { encoding: "utf8" }).trim();
  copyFileSync(busybox, path.join(directory, "bin/busybox"));
  for (const applet of listApplets()) {
    if (applet !== "busybox") {
      symlinkSync("busybox", path.join(directory, "bin", applet));
    }
  }
  writeFileSync(path.join(directory, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
  writeFileSync(path.join(directory, "etc/group"), "root:x:0:\nnobody:x:65534:\n");
  return directory;
}

/** A spec whose usual parts are there, so that a test can change them without asking. */
export type BundleSpec = Spec & { process: Process & { args: string[]; env: string[] }; root: Root } & {
  mounts: NonNullable<Spec["mounts"]>;
  linux: Linux & Required<Pick<Linux, "namespaces" | "resources" | "maskedPaths" | "readonlyPaths">>;
};

const defaultCapabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/** The config.json that a bundle starts from: `/bin/true` as root with few capabilities, five new namespaces. */
export function defaultSpec(): BundleSpec {
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["true"],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      cwd: "/",
      capabilities: {
        bounding: [...defaultCapabilities],
        effective: [...defaultCapabilities],
        permitted: [...defaultCapabilities],
      },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024n, soft: 1024n }],
      noNewPrivileges: true,
    },
    root: { path: "rootfs" },
    hostname: "cloche",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      {
        destination: "/dev",
        type: "tmpfs",
        source: "tmpfs",
        options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
      },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      {
        destination: "/dev/shm",
        type: "tmpfs",
        source: "shm",
        options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
      },
      { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
    ],
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: [{ type: "pid" }, { type: "network" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }],
      maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

/** JSON of a spec: 64-bit integers are written with all their digits. */
export function specToJson(spec: unknown): string {
  const text = JSON.stringify(spec, (_, value) => (typeof value === "bigint" ? `@integer ${value}` : value), 2);
  return text.replaceAll(/"@integer (-?\d+)"/g, "$1");
}

/** Makes a bundle in `directory` (with a root file system unless one is there already) and returns the directory. */
export function makeBundle(directory: string, change: (spec: BundleSpec) => void = () => {}): string {
  const spec = defaultSpec();
  change(spec);
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  if (spec.root.path === "rootfs") {
    makeRootfs(path.join(directory, "rootfs"));
  }
  writeFileSync(path.join(directory, "config.json"), specToJson(spec));
  return directory;
}
