/**
 * `cloche do`: runs a command in a throw-away container on the host's own files.
 *
 * The container's root is an overlay: the host's root below, a tmpfs above, so that changes are in memory and go with the
 * container. It is a sandbox where it can be. What is mounted for it is mounted in a mount namespace that this process makes for itself: whatever ends it, even SIGKILL,
 * leaves no mount on the host. unshare(2) moves only the calling thread, which is the one that starts all processes.
 */

import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, statfsSync, writeFileSync } from "node:fs";
import { isatty } from "node:tty";
import { DEFAULT_ISOLATION, type IsolationSettings } from "../container/isolation-level.ts";
import { idsHost, whyNoIds } from "../container/own-ids.ts";
import { idMappingOf } from "../sandbox/isolation/file-systems.ts";
import { messageOf, UnsupportedError } from "../specutils/errors.ts";
import { isAtLeast, type KernelVersion, runningKernel } from "../specutils/kernel-version.ts";
import { loading } from "../specutils/spans.ts";
import { workingDirectory } from "../specutils/working-directory.ts";
import { command } from "./command.ts";
import { toJson } from "./output.ts";

// <linux/sched.h> and <sys/mount.h>.
const CLONE_NEWNS = 0x0002_0000;
const MS_NOSUID = 0x2;
const MS_NODEV = 0x4;
const MS_REC = 0x4000;
const MS_SLAVE = 0x8_0000;
const MNT_DETACH = 2;

/** The first whose tmpfs holds the marks that an overlay needs in a user namespace. */
const SANDBOX_KERNEL: KernelVersion = [6, 6];

export default command({
  name: "do",
  summary: "run a command in a throw-away container on the host's files, read-only below an in-memory overlay",
  synopsis: "[--] <command> [argument...]",
  arity: [1, Number.POSITIVE_INFINITY],
  order: "leading",
  flags: {
    cwd: { kind: "string", value: "directory", help: "working directory", fallback: "current one if there, else /" },
    env: { kind: "list", short: "e", value: "name=value", help: "add an environment variable; may be repeated" },
    network: { kind: "string", choices: ["none", "host"], help: "network to use", fallback: "none" },
  },
  details: "The exit code is that of the command, 128 and the signal's number if a signal ended it.",
  async run({ context, flags, args }) {
    const { doSpec, isHidden, planHostMounts } = await import("./do-spec.ts");
    const hostMounts = planHostMounts(readFileSync("/proc/self/mountinfo", "utf8"));
    const here = workingDirectory();
    const spec = doSpec(
      {
        args,
        cwd: flags.cwd ?? (isHidden(here) ? "/" : here),
        env: flags.env,
        hasTerminal: isatty(0) && isatty(1),
        hasHostNetwork: flags.network === "host",
      },
      hostMounts,
    );
    const { runContainer } = await loading("load container/run", () => import("../container/run.ts"));
    const isolation = doIsolation(context.isolation);
    const isSandboxed = isolation.level === "sandboxed";
    return await withBundle(context.root, !isSandboxed, async (bundle) => {
      // A sandbox has its layer from --rootfs-overlay: mounted from inside, it is the kernel's own, without a server between.
      const config = isSandboxed ? { ...spec, root: { path: "/" } } : spec;
      writeFileSync(`${bundle}/config.json`, toJson(config));
      const id = `do-${randomBytes(6).toString("hex")}`;
      const options = { noPivot: false, noNewKeyring: false, preserveFds: 0, detach: false, keep: false };
      return await runContainer({ ...context, isolation }, { id, bundle, ...options });
    });
  },
});

/** A sandbox unless something else was asked for, or this host or user cannot have one. */
function doIsolation(settings: IsolationSettings = DEFAULT_ISOLATION): IsolationSettings {
  const kernel = runningKernel();
  const isPossible =
    isAtLeast(kernel, SANDBOX_KERNEL) &&
    whyNoIds(idsHost(kernel)) === undefined &&
    idMappingOf(statfsSync("/").type, kernel) === "map";
  const level = settings.isChosen ? settings.level : isPossible ? "sandboxed" : "oci";
  return { ...settings, level, ...(level === "sandboxed" && { rootfsOverlay: "memory" as const }) };
}

/**
 * Calls `use` with a bundle directory, whose `rootfs` is the overlay if that is wanted; unmounts and removes everything after it.
 */
async function withBundle<T>(root: string, isLayered: boolean, use: (bundle: string) => Promise<T>): Promise<T> {
  const { mount, NR, strerror, sys, umount } = await import("../specutils/syscall.ts");
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const unshared = sys(NR.unshare, CLONE_NEWNS);
  if (unshared < 0) {
    throw new UnsupportedError(`cannot make a mount namespace: ${strerror(-unshared)}: run cloche as root`);
  }
  // Mounts of ours must not spread to the host, while those that the host undoes must not live on here.
  mount(null, "/", null, MS_REC | MS_SLAVE, null);
  const bundle = mkdtempSync(`${root}/do-`);
  try {
    mount("tmpfs", bundle, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700");
    try {
      if (!isLayered) return await use(bundle);
      for (const directory of ["rootfs", "upper", "work"]) {
        mkdirSync(`${bundle}/${directory}`, { mode: 0o755 });
      }
      try {
        const layers = `lowerdir=/,upperdir=${bundle}/upper,workdir=${bundle}/work`;
        mount("overlay", `${bundle}/rootfs`, "overlay", MS_NODEV, layers);
      } catch (error) {
        throw new UnsupportedError(`cannot put an overlay on the host's root: ${messageOf(error)}`, { cause: error });
      }
      return await use(bundle);
    } finally {
      umount(bundle, MNT_DETACH);
    }
  } finally {
    rmdirSync(bundle);
  }
}
