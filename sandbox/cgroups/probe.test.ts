import { expect, test } from "bun:test";
import { ownCgroupPath, parseMountinfo } from "./probe.ts";

test("parseMountinfo finds shared, named and unified hierarchies of a hybrid host", () => {
  const host = parseMountinfo(
    [
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:5 - cgroup cgroup rw,cpu,cpuacct",
      "33 31 0:30 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory",
      "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate",
    ].join("\n"),
  );
  expect(host).toEqual({
    version: "v1",
    hierarchies: [
      { mount: "/sys/fs/cgroup/cpu,cpuacct", controllers: ["cpu", "cpuacct"] },
      { mount: "/sys/fs/cgroup/a b", controllers: ["memory"] },
      { mount: "/sys/fs/cgroup/systemd", controllers: ["name=systemd"] },
      { mount: "/sys/fs/cgroup/unified", controllers: [""] },
    ],
  });
});

test("parseMountinfo calls a host with the unified hierarchy alone v2, and counts it once", () => {
  const line = (mount: string) => `30 23 0:26 / ${mount} rw shared:4 - cgroup2 cgroup2 rw`;
  expect(parseMountinfo(`${line("/sys/fs/cgroup")}\n${line("/tmp/again")}`)).toEqual({
    version: "v2",
    hierarchies: [{ mount: "/sys/fs/cgroup", controllers: [""] }],
  });
});

test("parseMountinfo finds nothing on a host without cgroups", () => {
  expect(parseMountinfo("1 0 8:1 / / rw - ext4 /dev/sda rw").hierarchies).toEqual([]);
});

test("ownCgroupPath finds the path of a controller, of a named hierarchy and of the unified one", () => {
  const text = "12:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n";
  expect(ownCgroupPath(text, "cpuacct")).toBe("/a:b");
  expect(ownCgroupPath(text, "name=systemd")).toBe("/s");
  expect(ownCgroupPath(text, "")).toBe("/u");
  expect(ownCgroupPath(text, "memory")).toBe("/");
});
