import { describe, expect, test } from "bun:test";
import { checkConfig, parseConfig } from "./config.ts";
import { features } from "./features.ts";
import { parseMountOptions } from "./mount-options.ts";
import { isSupported } from "./unsupported.ts";

const { linux, ...general } = features("0.1.0");

/** Reads a minimal config with `more` in it. */
const accept = (more: object) => () =>
  checkConfig(parseConfig(JSON.stringify({ ociVersion: "1.3.0", root: { path: "r" }, ...more })));

describe("features lists only what the reader accepts", () => {
  test("versions", () => {
    expect(accept({ ociVersion: general.ociVersionMin })).not.toThrow();
    expect(accept({ ociVersion: general.ociVersionMax })).not.toThrow();
  });

  test.each(general.hooks)("hook %s", (name) => {
    expect(accept({ hooks: { [name]: [{ path: "/x" }] } })).not.toThrow();
    expect(accept({ hooks: { [name]: [{ path: "x" }] } })).toThrow(`hooks.${name}[0].path`);
  });

  test.each(general.mountOptions)("mount option %s is not left to the file system", (name) => {
    expect(parseMountOptions([name]).data).toEqual([]);
  });

  test.each(linux.namespaces)("namespace %s", (type) => {
    expect(accept({ linux: { namespaces: [{ type, path: "/x" }] } })).not.toThrow();
  });

  test.each(linux.capabilities)("%s", (name) => {
    expect(accept({ process: { cwd: "/", args: ["x"], capabilities: { bounding: [name] } } })()).toEqual([]);
  });

  test.each(linux.memoryPolicy.modes)("memory policy %s", (mode) => {
    const nodes = mode === "MPOL_DEFAULT" || mode === "MPOL_LOCAL" ? "" : "0";
    expect(accept({ linux: { memoryPolicy: { mode, nodes } } })).not.toThrow();
  });

  test("seccomp", () => {
    const { archs: architectures, knownFlags: flags, actions, operators } = linux.seccomp;
    const syscalls = [
      ...actions.map((action) => ({ names: ["read"], action })),
      ...operators.map((op) => ({ names: ["read"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 1, op }] })),
    ];
    const seccomp = { defaultAction: "SCMP_ACT_ALLOW", architectures, flags, listenerPath: "/x", syscalls };
    expect(accept({ linux: { seccomp } })).not.toThrow();
  });
});

test("features has every mount option that the spec requires or recommends", () => {
  const expected =
    "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime " +
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev " +
    "rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid " +
    "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared " +
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable";
  expect(general.mountOptions).toEqual(expected.split(" "));
});

test("features tells the truth about what is refused", () => {
  expect(isSupported("vm")).toBe(false);
  expect(accept({ vm: {} })).toThrow("vm is not supported");
  expect(linux.netDevices.enabled).toBe(true);
  expect(accept({ linux: { namespaces: [{ type: "network" }], netDevices: { eth0: {} } } })).not.toThrow();
});
