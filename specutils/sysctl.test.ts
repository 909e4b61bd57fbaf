import { describe, expect, test } from "bun:test";
import type { Namespace } from "./spec.ts";
import { checkSysctl, sysctlPath } from "./sysctl.ts";

describe("sysctlPath", () => {
  test.each([
    ["net.ipv4.ip_forward", "net/ipv4/ip_forward"],
    ["net/ipv4/ip_forward", "net/ipv4/ip_forward"],
    ["net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"],
    ["net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"],
  ])("%s is %s", (name, path) => {
    expect(sysctlPath(name)).toBe(path);
  });

  test.each(["net..x", ".net.x", "net/../kernel/core_pattern", "net.//.kernel", "net/./x", "/etc/passwd", "net.", ""])(
    "%j leads elsewhere",
    (name) => {
      expect(sysctlPath(name)).toBeUndefined();
    },
  );
});

describe("checkSysctl", () => {
  const all: Namespace[] = [{ type: "ipc" }, { type: "network" }, { type: "uts" }, { type: "user" }];
  const check = (name: string, namespaces = all) => checkSysctl("config.json", { sysctl: { [name]: "1" }, namespaces });

  test.each([
    "kernel.shmmax",
    "fs.mqueue.msg_max",
    "net.core.somaxconn",
    "kernel.domainname",
    "user.max_ipc_namespaces",
  ])("%s is allowed in a namespace of its own, and not without", (name) => {
    expect(() => check(name)).not.toThrow();
    expect(() => check(name, [])).toThrow(`linux.sysctl["${name}"]: needs a namespace of type`);
  });

  test.each(["kernel.core_pattern", "vm.overcommit_memory", "fs.file-max", "kernel.msgmaxx", "fs.mqueue", "netx.a"])(
    "%s belongs to the host",
    (name) => {
      expect(() => check(name)).toThrow("is not kept per namespace");
    },
  );

  test("net.* is refused in the host's network namespace by path, and allowed in another", () => {
    const at = (path: string) => () => check("net.ipv4.ip_forward", [{ type: "network", path }]);
    expect(at("/proc/self/ns/net")).toThrow("needs a network namespace other than the host's");
    expect(at("/proc/self/ns/uts")).not.toThrow();
  });

  test("kernel.hostname is refused, in either spelling", () => {
    expect(() => check("kernel.hostname")).toThrow('conflicts with the field "hostname"');
    expect(() => check("kernel/hostname")).toThrow('conflicts with the field "hostname"');
  });

  test("a name cannot lead out of its namespace", () => {
    expect(() => check("net/../kernel/core_pattern")).toThrow("is not the name of a kernel parameter");
  });
});
