/**
 * Skips tests on machines that cannot run them, with the reason in the test's name.
 *
 * `CLOCHE_MUST_HAVE` (words separated by spaces, or `all`) names requirements that this machine is meant to fulfil, so
 * that a test which would be skipped for one of them fails instead: .ci/run sets it to what scripts/setup installs.
 */
import { test } from "bun:test";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { atLevelOci } from "./level.ts";
import { isDefaultRuntime, runtimeName } from "./runtime-path.ts";

/** Whether `command` is on PATH. */
function hasCommand(command: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((directory) => {
    try {
      accessSync(`${directory}/${command}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function isMounted(type: string, options = ""): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .some((line) => line.includes(` - ${type} `) && line.includes(options));
}

/** Whether this process has the capability with that bit (capabilities(7)) in its effective set. */
function hasCapability(bit: number): boolean {
  const mask = /^CapEff:\t(\w+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
}

const requirements = {
  root: () => process.geteuid?.() === 0,
  /** The test runs at level `oci`: for what differs at level `sandboxed` by design (docs/SECURITY.md). */
  oci: () => true,
  x86: () => process.arch === "x64",
  /** The runtime under test is cloche: for what peers do differently on purpose. */
  cloche: () => isDefaultRuntime(),
  busybox: () => hasCommand("busybox"),
  gcc: () => hasCommand("gcc"),
  go: () => hasCommand("go"),
  dbus: () => hasCommand("dbus-daemon"),
  strace: () => hasCommand("strace"),
  git: () => hasCommand("git"),
  fio: () => hasCommand("fio"),
  "stress-ng": () => hasCommand("stress-ng"),
  sqlite3: () => hasCommand("sqlite3"),
  python3: () => hasCommand("python3"),
  zsh: () => hasCommand("zsh"),
  fish: () => hasCommand("fish"),
  runc: () => hasCommand("runc"),
  crun: () => hasCommand("crun"),
  docker: () => hasCommand("docker") && hasCommand("dockerd"),
  containerd: () => hasCommand("containerd") && hasCommand("ctr"),
  /** Plugins for the network of pods. */
  cni: () => existsSync("/usr/lib/cni/bridge"),
  tini: () => hasCommand("tini"),
  podman: () => hasCommand("podman"),
  slirp4netns: () => hasCommand("slirp4netns"),
  newuidmap: () => hasCommand("newuidmap"),
  /** What podman runs for `--init`, and in the infra container of its pods. */
  catatonit: () => existsSync("/usr/libexec/podman/catatonit"),
  qemu: () => hasCommand("qemu-system-x86_64") || hasCommand("qemu-system-aarch64"),
  cgroup1: () => isMounted("cgroup"),
  /** Pure v2: every controller in the unified hierarchy. */
  cgroup2: () => existsSync("/sys/fs/cgroup/cgroup.controllers"),
  systemd: () => existsSync("/run/systemd/system"),
  /** A kernel with the new mount calls is taken for granted, its FUSE is not. */
  fuse: () => existsSync("/dev/fuse"),
  apparmor: () => existsSync("/sys/kernel/security/apparmor/profiles"),
  selinux: () => existsSync("/sys/fs/selinux/enforce"),
  CAP_SYS_ADMIN: () => hasCapability(21),
  CAP_SYS_RESOURCE: () => hasCapability(24),
} satisfies Record<string, () => boolean>;

/** Something that a test may need. */
export type Requirement = keyof typeof requirements;

/** The requirements that this machine does not fulfil. */
export function missing(...needed: Requirement[]): Requirement[] {
  return needed.filter((name) => !requirements[name]());
}

function mustHave(name: Requirement): boolean {
  const names = (process.env["CLOCHE_MUST_HAVE"] ?? "").split(" ");
  return names.includes(name) || names.includes("all");
}

/** Milliseconds; generous, because a test that hangs is rare and a busy machine is not. */
const TIMEOUT_MS = 60_000;

/** A function like `test` of bun:test, that skips with a reason where something is missing. */
export function requires(...needed: Requirement[]): (name: string, body: () => unknown, timeoutMs?: number) => void {
  const lacking = missing(...needed);
  const demanded = lacking.filter(mustHave);
  if (demanded.length > 0) {
    return (name) =>
      test(name, () => {
        throw new Error(`this machine must have ${demanded.join(", ")} (CLOCHE_MUST_HAVE), but has not`);
      });
  }
  if (lacking.length > 0) {
    return (name) => test.skip(`${name} [needs ${lacking.join(", ")}; runtime ${runtimeName()}]`, () => {});
  }
  const run = needed.includes("oci") ? atLevelOci : async (body: () => unknown) => void (await body());
  return (name, body, timeoutMs = TIMEOUT_MS) => test(name, () => run(body), timeoutMs);
}
