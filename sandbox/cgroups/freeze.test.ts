import { expect, test } from "bun:test";
import { freezeCgroup, isFrozen } from "./freeze.ts";
import { cgroupPids, killCgroup } from "./members.ts";
import type { CgroupRef } from "./types.ts";

const GONE: CgroupRef[] = [
  { driver: "cgroupfs", version: "v2", path: "/gone", dirs: { "": "/nonexistent/gone" }, owned: [] },
  { driver: "cgroupfs", version: "v1", path: "/gone", dirs: { freezer: "/nonexistent/gone" }, owned: [] },
];

test.each(GONE)("a cgroup that is gone ($version) is thawed, empty, and cannot be frozen", (ref) => {
  freezeCgroup(ref, false);
  killCgroup(ref, 9);
  killCgroup(ref, 15);
  expect(isFrozen(ref)).toBeFalse();
  expect(cgroupPids(ref)).toEqual([]);
  expect(() => freezeCgroup(ref, true)).toThrow('cannot freeze cgroup "/gone": it does not exist');
});

test("a host without freezer cannot freeze", () => {
  const ref: CgroupRef = { driver: "disabled", version: "v2", path: "", dirs: {}, owned: [] };
  expect(isFrozen(ref)).toBeFalse();
  expect(() => freezeCgroup(ref, true)).toThrow("no cgroup freezer");
});
