import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRdtGroup, findResctrl, joinRdtGroup } from "./intel-rdt.ts";

/** A directory in the place of resctrl, in which the kernel makes no files. */
let resctrl: string;

beforeEach(() => {
  resctrl = mkdtempSync(path.join(os.tmpdir(), "cloche-resctrl-"));
  mkdirSync(path.join(resctrl, "gold/mon_groups"), { recursive: true });
  writeFileSync(path.join(resctrl, "gold/schemata"), "    MB:0= 20;1= 70\n    L3:0=7f0;1=01f\n");
});

afterEach(() => rmSync(resctrl, { recursive: true }));

const text = (file: string) => readFileSync(path.join(resctrl, file), "utf8");

test("findResctrl finds where it is mounted, and says how to mount it", () => {
  expect(
    findResctrl("24 1 0:2 / / rw - ext4 /dev/vda rw\n30 24 0:28 / /sys/fs/resctrl rw - resctrl resctrl rw\n"),
  ).toBe("/sys/fs/resctrl");
  expect(() => findResctrl("24 1 0:2 / / rw - ext4 /dev/vda rw\n")).toThrow("linux.intelRdt: no resctrl");
});

test("without closID the group has the container's id and is removed with it", () => {
  const group = createRdtGroup(resctrl, "c1", {
    memBwSchema: "MB:0=20",
    l3CacheSchema: "L3:0=f",
    schemata: ["L2:0=1"],
  });
  expect(group).toEqual({ tasks: [path.join(resctrl, "c1/tasks")], dir: path.join(resctrl, "c1") });
  expect(text("c1/schemata")).toBe("L3:0=f\nMB:0=20\nL2:0=1\n");
  joinRdtGroup(group.tasks, 42);
  expect(text("c1/tasks")).toBe("42");
  expect(() => createRdtGroup(resctrl, "c1", {})).toThrow('there is a group "c1"');
});

test("a group named by closID stays, and has to be there unless schemata make one", () => {
  expect(createRdtGroup(resctrl, "c1", { closID: "gold" })).toEqual({ tasks: [path.join(resctrl, "gold/tasks")] });
  expect(createRdtGroup(resctrl, "c1", { closID: "/" })).toEqual({ tasks: [path.join(resctrl, "tasks")] });
  expect(() => createRdtGroup(resctrl, "c1", { closID: "silver" })).toThrow(
    'linux.intelRdt.closID: there is no group "silver"',
  );
  expect(createRdtGroup(resctrl, "c1", { closID: "silver", schemata: ["L3:0=f"] }).dir).toBeUndefined();
  expect(text("silver/schemata")).toBe("L3:0=f\n");
});

test("a group that is there must have the schemata that are asked for", () => {
  const same = { closID: "gold", l3CacheSchema: "L3:1=1f;0=7F0", memBwSchema: "MB:0=20" };
  const before = text("gold/schemata");
  createRdtGroup(resctrl, "c1", same);
  expect(text("gold/schemata")).toBe(before);
  expect(() => createRdtGroup(resctrl, "c1", { closID: "gold", memBwSchema: "MB:0=30" })).toThrow(
    'linux.intelRdt.memBwSchema: got 30 for MB:0, but the group "gold" has 20',
  );
});

test("enableMonitoring makes a monitoring group, which is removed with the container", () => {
  const group = createRdtGroup(resctrl, "c1", { closID: "gold", enableMonitoring: true });
  const directory = path.join(resctrl, "gold/mon_groups/c1");
  expect(group).toEqual({ tasks: [path.join(resctrl, "gold/tasks"), path.join(directory, "tasks")], dir: directory });
});

test("a failure leaves no group behind", () => {
  // Without mon_groups, as on a CPU that cannot monitor.
  expect(() => createRdtGroup(resctrl, "c1", { enableMonitoring: true })).toThrow("linux.intelRdt.enableMonitoring");
  expect(existsSync(path.join(resctrl, "c1"))).toBe(false);
});
