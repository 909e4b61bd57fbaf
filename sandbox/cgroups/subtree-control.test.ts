import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { planV2Writes } from "./resources-v2.ts";
import { enableControllers } from "./subtree-control.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/cgroups-`);
  mkdirSync(`${root}/a/b`, { recursive: true });
  for (const dir of [root, `${root}/a`, `${root}/a/b`]) {
    writeFileSync(`${dir}/cgroup.controllers`, "cpu memory pids\n");
    writeFileSync(`${dir}/cgroup.subtree_control`, "");
  }
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("enableControllers switches on every controller in every parent, and not in the cgroup itself", () => {
  enableControllers(`${root}/a/b`, root, []);
  expect(readFileSync(`${root}/cgroup.subtree_control`, "utf8")).toBe("+cpu +memory +pids");
  expect(readFileSync(`${root}/a/cgroup.subtree_control`, "utf8")).toBe("+cpu +memory +pids");
  expect(readFileSync(`${root}/a/b/cgroup.subtree_control`, "utf8")).toBe("");
});

test("enableControllers leaves parents alone that have them all", () => {
  writeFileSync(`${root}/a/cgroup.subtree_control`, "pids cpu memory\n");
  enableControllers(`${root}/a/b`, root, []);
  expect(readFileSync(`${root}/cgroup.subtree_control`, "utf8")).toBe("");
});

test("enableControllers names the field whose controller the host does not have", () => {
  const writes = planV2Writes({ hugepageLimits: [{ pageSize: "2MB", limit: 1n }] });
  expect(() => enableControllers(`${root}/a/b`, root, writes)).toThrow(
    'cannot set linux.resources.hugepageLimits: cgroup controller "hugetlb": not available in this hierarchy',
  );
});
