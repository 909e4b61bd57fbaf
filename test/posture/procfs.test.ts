/**
 * /proc of the container, and what the runtime writes below /proc: CVE-2019-16884 and CVE-2019-19921 (mounts over it),
 * CVE-2023-27561 (a link in its place), CVE-2025-52881 (writes that are led elsewhere).
 */
import { expect } from "bun:test";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itCloche = requires("root", "busybox", "cloche");

/** A directory that looks like a procfs with writable settings, as an image or a volume may bring it along. */
function makeFakeProc(directory: string): string {
  for (const name of ["self/attr/apparmor", "sys/kernel", "sys/net/ipv4"]) {
    mkdirSync(path.join(directory, name), { recursive: true });
  }
  for (const name of [
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "sys/net/ipv4/ip_forward",
    "sysrq-trigger",
    "self/oom_score_adj",
  ]) {
    writeFileSync(path.join(directory, name), "fake\n");
  }
  return directory;
}

/** Expects that the container is refused in one line that names the mount, and that nothing is left of it. */
function expectRefused(runtime: Runtime, bundle: string, reason: RegExp): void {
  const { exitCode, stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
  expect({ exitCode: exitCode === 0, stdout }).toEqual({ exitCode: false, stdout: "" });
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toMatch(reason);
  expect(runtime.leftovers()).toEqual([]);
}

const OVER_PROC: [string, (spec: BundleSpec, fake: string) => void][] = [
  [
    "a bind mount over /proc, before the procfs",
    (spec, fake) => spec.mounts.unshift({ destination: "/proc", type: "bind", source: fake, options: ["rbind"] }),
  ],
  [
    "a bind mount over /proc, after the procfs",
    (spec, fake) => spec.mounts.push({ destination: "/proc", type: "bind", source: fake, options: ["rbind"] }),
  ],
  [
    "a bind mount over /proc/, spelled otherwise",
    (spec, fake) => spec.mounts.push({ destination: "//proc/./", type: "bind", source: fake, options: ["rbind"] }),
  ],
  [
    "a bind mount over /proc through a link of the image",
    (spec, fake) => spec.mounts.push({ destination: "/link", type: "bind", source: fake, options: ["rbind"] }),
  ],
  [
    "a bind mount over /proc/self/attr",
    (spec, fake) =>
      spec.mounts.push({
        destination: "/proc/self/attr",
        type: "bind",
        source: path.join(fake, "self/attr"),
        options: ["bind"],
      }),
  ],
  [
    "a bind mount over /proc/sys through a link of the image",
    (spec, fake) =>
      spec.mounts.push({ destination: "/link/sys", type: "bind", source: path.join(fake, "sys"), options: ["bind"] }),
  ],
  [
    "a bind mount over /proc/sysrq-trigger",
    (spec, fake) =>
      spec.mounts.push({
        destination: "/proc/sysrq-trigger",
        type: "bind",
        source: path.join(fake, "sysrq-trigger"),
        options: ["bind"],
      }),
  ],
  ["a tmpfs over /proc", (spec) => spec.mounts.push({ destination: "/proc", type: "tmpfs", source: "tmpfs" })],
  ["a tmpfs over /proc/sys", (spec) => spec.mounts.push({ destination: "/proc/sys", type: "tmpfs", source: "tmpfs" })],
];

for (const [name, change] of OVER_PROC) {
  it(`CVE-2019-16884, CVE-2019-19921: ${name} is refused`, () =>
    withRuntime((runtime) => {
      const fake = makeFakeProc(path.join(runtime.directory, "fake"));
      const bundle = runtime.bundle((spec) => change(spec, fake));
      symlinkSync("proc", path.join(bundle, "rootfs/link"));
      expectRefused(runtime, bundle, /proc/);
      expect(readFileSync(path.join(fake, "self/attr/exec"), "utf8")).toBe("fake\n");
    }));
}

it("neighbour of CVE-2019-16884: files of /proc that lxcfs replaces can be mounted over", () =>
  withRuntime((runtime) => {
    const file = path.join(runtime.directory, "uptime");
    writeFileSync(file, "1.00 2.00\n");
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["cat", "/proc/uptime"];
      spec.mounts.push({ destination: "/proc/uptime", type: "bind", source: file, options: ["bind", "ro"] });
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("1.00 2.00\n");
  }));

it("neighbour of CVE-2019-16884: a procfs bound from the host is a procfs", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "test -r /proc/version && echo there"];
      spec.mounts = [{ destination: "/proc", type: "bind", source: "/proc", options: ["rbind", "ro"] }];
      spec.linux.maskedPaths = [];
      spec.linux.readonlyPaths = [];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("there\n");
  }));

it("neighbour of CVE-2019-19921: a directory named proc elsewhere can be mounted over", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "touch /srv/proc/sys/new && ls /srv/proc/sys"];
      spec.mounts.push({ destination: "/srv/proc/sys", type: "tmpfs", source: "tmpfs" });
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("new\n");
  }));

for (const name of ["proc", "sys"]) {
  for (const target of ["fake", "/fake", "../../../../tmp"]) {
    it(`CVE-2023-27561: an image whose /${name} is a link to ${target} is refused`, () =>
      withRuntime((runtime) => {
        const bundle = runtime.bundle();
        const rootfs = path.join(bundle, "rootfs");
        rmSync(path.join(rootfs, name), { recursive: true });
        mkdirSync(path.join(rootfs, "fake"));
        symlinkSync(target, path.join(rootfs, name));
        expectRefused(runtime, bundle, new RegExp(`"?/${name}"?`));
      }));
  }
}

it("neighbour of CVE-2023-27561: an image without /proc and /sys gets them, masked and read-only", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = [
        "sh",
        "-c",
        "cat /proc/timer_list; echo 1 2> /dev/null > /proc/sysrq-trigger || echo refused",
      ];
    });
    for (const name of ["proc", "sys"]) rmSync(path.join(bundle, "rootfs", name), { recursive: true });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("refused\n");
  }));

it("neighbour of CVE-2023-27561: other targets may be links", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "touch /var/real/new && ls /var/real"];
      spec.mounts.push({ destination: "/var/link", type: "tmpfs", source: "tmpfs" });
    });
    mkdirSync(path.join(bundle, "rootfs/var/real"));
    symlinkSync("real", path.join(bundle, "rootfs/var/link"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("new\n");
  }));

itCloche(
  "CVE-2025-52881: settings are written to the kernel's procfs, whatever the image and its mounts have at /proc",
  () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        // No procfs at all: what is at /proc is the image's.
        spec.mounts = spec.mounts.filter(({ destination }) => destination !== "/proc");
        spec.linux.maskedPaths = [];
        spec.linux.readonlyPaths = [];
        spec.linux.sysctl = { "net.ipv4.ip_forward": "1", "kernel.domainname": "led-astray" };
        spec.process.oomScoreAdj = 500;
        spec.process.args = ["sleep", "60"];
      });
      const fake = makeFakeProc(path.join(bundle, "rootfs/proc"));
      writeFileSync(path.join(fake, "sys/kernel/domainname"), "fake\n");
      const id = runtime.id();
      runtime.ok(["run", "--detach", "--bundle", bundle, id]);
      const { pid } = runtime.state(id);
      for (const name of ["self/oom_score_adj", "sys/net/ipv4/ip_forward", "sys/kernel/domainname"]) {
        expect(readFileSync(path.join(fake, name), "utf8")).toBe("fake\n");
      }
      expect(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8")).toBe("500\n");
    }),
);

for (const key of [
  "net.ipv4.../../../kernel/domainname",
  "net/../kernel/domainname",
  "kernel.domainname/../../../self/attr/exec",
  "net.ipv4.conf.x/y",
]) {
  it(`CVE-2025-52881: sysctl ${JSON.stringify(key)} does not leave what its name says`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.linux.sysctl = { [key]: "astray" };
      });
      const before = readFileSync("/proc/sys/kernel/domainname", "utf8");
      expectRefused(runtime, bundle, /sysctl/);
      expect(readFileSync("/proc/sys/kernel/domainname", "utf8")).toBe(before);
    }));
}

it("neighbour of CVE-2025-52881: namespaced settings are there inside and not on the host", () =>
  withRuntime((runtime) => {
    const host = readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8");
    const bundle = runtime.bundle((spec) => {
      spec.linux.sysctl = { "net.ipv4.ip_unprivileged_port_start": "77" };
      spec.process.args = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("77\n");
    expect(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8")).toBe(host);
  }));
