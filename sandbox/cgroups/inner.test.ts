import { expect, test } from "bun:test";
import { pathBelow } from "./inner.ts";

test("pathBelow tells where in a cgroup a process is, and that it is elsewhere", () => {
  const membership = (path: string) => `9:pids:/other\n0::${path}\n`;
  expect(pathBelow(membership("/a/c1/init.scope"), "/a/c1")).toBe("/init.scope");
  expect(pathBelow(membership("/a/c1/x/y"), "/a/c1")).toBe("/x/y");
  expect(pathBelow(membership("/a/c1"), "/a/c1")).toBeUndefined();
  expect(pathBelow(membership("/a/c10/x"), "/a/c1")).toBeUndefined();
  expect(pathBelow("9:pids:/a/c1/x\n", "/a/c1")).toBeUndefined();
});
