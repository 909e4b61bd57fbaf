/**
 * Builds what the virtual machine boots: Debian's cloud kernel, an initramfs with the drivers to get further, and a Debian root
 * file system as an ext4 image. Nothing is installed on the host; everything lies in the test cache, by the hash of its recipe.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { cacheFolder } from "../conformance/cache.ts";

/**
 * Debian releases whose cloud kernel can be booted: 6.1 by default; 5.10 is the last with kernel memory limits and an example
 * of a host without mount_setattr, cgroup.kill and core scheduling.
 */
export const KERNELS = { "6.1": "bookworm", "5.10": "bullseye" } as const;

/** A kernel that `KERNELS` lists. */
export type Kernel = keyof typeof KERNELS;

/** Paths of the parts to boot. */
export interface Image {
  kernel: string;
  initramfs: string;
  /** What the guest sees as /lib/modules. */
  modules: string;
  disk: string;
}

const ROOT_PACKAGES = [
  "apparmor",
  "busybox-static",
  "crun",
  "dbus",
  "iproute2",
  "kmod",
  "libseccomp2",
  "mount",
  "procps",
  "runc",
  "strace",
  "systemd-sysv",
];

/** Needed before the modules of the kernel package can be reached. */
const BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtiofs", "ext4"];

/** Scripts that run inside. */
export const GUEST_FILES = join(import.meta.dirname, "guest");

/**
 * Names the parts to boot, after building those that are missing. The first build takes two to three minutes.
 *
 * @throws Error when a Debian tool is missing or fails.
 */
export function buildImage(kernel: Kernel): Image {
  const recipe = [import.meta.filename, join(GUEST_FILES, "initramfs-init")].map((path) => readFileSync(path, "utf8"));
  const key = createHash("sha256").update(recipe.join()).digest("hex").slice(0, 12);
  const folder = cacheFolder(join("vm", key));
  const disk = made(join(folder, "root.ext4"), buildDisk);
  const boot = made(join(folder, `boot-${kernel}`), (target) => buildBoot(kernel, target));
  return {
    kernel: join(boot, "vmlinuz"),
    initramfs: join(boot, "initramfs"),
    modules: join(boot, "modules/lib/modules"),
    disk,
  };
}

/** Builds beside the target and renames, so that an interrupted or simultaneous build is never seen half done. */
function made(target: string, build: (target: string) => void): string {
  if (existsSync(target)) return target;
  const folder = mkdtempSync(`${target}.building-`);
  const built = join(folder, "result");
  try {
    build(built);
    if (!existsSync(target)) renameSync(built, target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return target;
}

/** Unpacks the kernel package of a release into `target`: `vmlinuz`, `initramfs` and what they were made from. */
function buildBoot(kernel: Kernel, target: string): void {
  mkdirSync(target);
  const apt = aptFor(KERNELS[kernel], target);
  const meta = run("apt-cache", [...apt, "show", "linux-image-cloud-amd64"]);
  const name = /^Depends: (linux-image-\S+)/m.exec(meta)?.[1];
  if (name === undefined) throw new Error(`cannot find the cloud kernel of Debian ${KERNELS[kernel]}`);
  run("apt-get", [...apt, "--quiet", "download", name], target);
  for (const archive of debs(target)) run("dpkg-deb", ["-x", join(target, archive), join(target, "kernel")]);
  const version = name.slice("linux-image-".length);
  renameSync(join(target, "kernel/boot", `vmlinuz-${version}`), join(target, "vmlinuz"));

  const modules = join(target, "modules");
  renameSync(join(target, "kernel/lib/modules", version), join(mkdirs(modules, "lib/modules"), version));
  run("depmod", ["-b", modules, version]);
  buildInitramfs(target, modules, version);
  for (const name of ["kernel", "files", "apt", ...debs(target)])
    rmSync(join(target, name), { recursive: true, force: true });
}

/** Packs busybox, the boot modules with what they depend on, and the first program into `target`/initramfs. */
function buildInitramfs(target: string, modules: string, version: string): void {
  const files = join(target, "files");
  for (const name of ["bin", "dev", "modules", "newroot", "proc", "sys"]) mkdirs(files, name);
  const paths = new Set<string>();
  for (const module of BOOT_MODULES) {
    const answer = run("modprobe", ["-d", modules, "-S", version, "--show-depends", module]);
    for (const [, path] of answer.matchAll(/^insmod (\S+)/gm)) if (path !== undefined) paths.add(path);
  }
  const names = [...paths].map((path) => basename(path));
  for (const path of paths) cpSync(path, join(files, "modules", basename(path)));
  cpSync("/bin/busybox", join(files, "bin/busybox"));
  const init = readFileSync(join(GUEST_FILES, "initramfs-init"), "utf8");
  writeFileSync(join(files, "init"), init.replace("@modules@", names.join(" ")), { mode: 0o755 });
  run("sh", ["-c", `find . | cpio --quiet -o -H newc | gzip -1 > ../initramfs`], files);
}

/** Options that make apt read one Debian release with lists of its own; for the host's release its own lists do. */
function aptFor(release: string, target: string): string[] {
  if (release === "bookworm") return [];
  const folder = join(target, "apt");
  mkdirSync(join(folder, "lists/partial"), { recursive: true });
  const signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  writeFileSync(
    join(folder, "sources.list"),
    `deb ${signed} http://deb.debian.org/debian ${release} main
deb ${signed} http://deb.debian.org/debian-security ${release}-security main
`,
  );
  const options = [
    `Dir::Etc::SourceList=${folder}/sources.list`,
    "Dir::Etc::SourceParts=-",
    `Dir::State::Lists=${folder}/lists`,
    // What is installed here is not on offer there.
    "Dir::State::Status=/dev/null",
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "Acquire::Check-Valid-Until=false",
  ].flatMap((option) => ["-o", option]);
  run("apt-get", [...options, "--quiet", "update"]);
  return options;
}

/** Makes the root file system with debootstrap and packs it into a sparse ext4 image. */
function buildDisk(target: string): void {
  const root = `${target}.root`;
  run("debootstrap", ["--variant=minbase", `--include=${ROOT_PACKAGES.join(",")}`, "bookworm", root]);
  for (const name of ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"]) {
    rmSync(join(root, name), { recursive: true, force: true });
  }
  run("truncate", ["-s", "3G", target]);
  run("mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-d", root, target]);
  rmSync(root, { recursive: true, force: true });
}

function debs(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".deb"));
}

function mkdirs(base: string, name: string): string {
  const folder = join(base, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Runs a tool and returns its output; on failure the error holds what it printed. */
function run(command: string, args: string[], cwd?: string): string {
  try {
    return execFileSync(command, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 1 << 26,
    });
  } catch (cause) {
    const output = cause instanceof Error && "stderr" in cause ? String(cause.stderr).trim().split("\n").at(-1) : "";
    throw new Error(`cannot run "${command} ${args.join(" ")}": ${output || cause}`, { cause });
  }
}
