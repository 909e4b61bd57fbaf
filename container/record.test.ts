import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { ownProcessRef } from "../specutils/process-ref.ts";
import { StateFileError } from "../statefile/document.ts";
import { parseRecord, refreshRecord, type SavedContainer } from "./record.ts";
import { salvageRemains } from "./salvage.ts";
import { testRecord } from "./test-record.ts";

const path = "/r/c1_c1.state";
const gone = { pid: process.pid, startTime: "1" };

/** A record in which every field is set. */
const full: Required<SavedContainer> = {
  ...testRecord("c1"),
  annotations: { a: "b" },
  creator: gone,
  process: gone,
  sandbox: gone,
  oomScoreAdj: -500,
  spawnOomScoreAdj: 0,
  hasMembers: true,
  cgroup: { driver: "cgroupfs", version: "v1", path: "/c1", dirs: { pids: "/x/c1" }, owned: ["/x/c1"] },
  isolation: { level: "sandboxed", range: { uid: 100000, gid: 100000 }, allowed: ["bpf"] },
  gofer: gone,
  hooks: { poststop: [{ path: "/bin/true", args: ["true"], env: ["A=B"], timeout: 1 }] },
  seccompFilter: "key",
  seccompListener: { path: "/run/agent.sock", metadata: "m" },
  hasStartSteps: true,
  intelRdtDir: "/x",
  reservedCgroupDirs: ["/x"],
  linux: { personality: { domain: "LINUX32" }, memoryPolicy: { mode: "MPOL_LOCAL" } },
  intelRdtTasks: ["/sys/fs/resctrl/c1/tasks"],
  exit: { signal: 9, at: "2026-01-01T00:00:00.000000000Z", reason: "oom-killed" },
  startFailure: "exec: no such file or directory",
  startedAt: "2026-01-01T00:00:00.000000000Z",
  pausedAt: "2026-01-01T00:00:00.000000000Z",
  resumedAt: "2026-01-01T00:00:00.000000000Z",
  oomKillsBefore: 1,
  startSocket: "/r/start-1-2",
  pausedFrom: "created",
};

test("parseRecord gives back what was saved", () => {
  expect(parseRecord(path, JSON.stringify(full))).toEqual(full);
});

test("parseRecord ignores fields that it does not know", () => {
  expect(parseRecord(path, JSON.stringify({ ...full, later: 1 }))).toMatchObject(full);
});

for (const field of Object.keys(full)) {
  test(`parseRecord refuses a wrong ${field}`, () => {
    for (const wrong of [7.5, null, [1]]) {
      const text = JSON.stringify({ ...full, [field]: wrong });
      expect(() => parseRecord(path, text)).toThrow(StateFileError);
      expect(() => parseRecord(path, text)).toThrow(field);
    }
  });
}

test.each([0, -1, 1.5])("parseRecord refuses pid %p, which would mean a group of processes", (pid) => {
  expect(() => parseRecord(path, JSON.stringify({ ...full, process: { pid, startTime: "1" } }))).toThrow("process");
});

test("parseRecord refuses a file from a newer version, and says so", () => {
  expect(() => parseRecord(path, '{"version":2}')).toThrow(
    'cannot read state file "/r/c1_c1.state": version: got 2, this cloche knows 1: use the newer cloche that wrote it',
  );
});

test("parseRecord refuses the file cut at any place", () => {
  const text = JSON.stringify(full);
  for (let length = 0; length < text.length; length++) {
    expect(() => parseRecord(path, text.slice(0, length))).toThrow(StateFileError);
  }
});

const never = () => undefined;

test("refreshRecord: a program that runs although nobody has said so is running", () => {
  const record = testRecord("c1", { status: "created", process: ownProcessRef() });
  const creating = { ...record, creator: ownProcessRef() };
  for (const each of [record, creating]) refreshRecord(each, never);
  expect([record.status, creating.status]).toEqual(["running", "created"]);
});

for (const status of ["created", "running", "paused"] as const) {
  test(`refreshRecord: ${status} stays as it is while the process lives`, () => {
    const record = testRecord("c1", { status, process: ownProcessRef(), startSocket: "/start" });
    refreshRecord(record, never);
    expect(record.status).toBe(status);
  });

  test(`refreshRecord: ${status} becomes stopped when the process is gone, and keeps how it ended`, () => {
    const record = testRecord("c1", { status, process: gone, pausedFrom: "running" });
    const exit = { signal: 9, at: "2026-01-01T00:00:00.000000000Z" };
    refreshRecord(record, () => exit);
    expect(record).toEqual(testRecord("c1", { status: "stopped", process: gone, exit }));
  });
}

test("refreshRecord: creating lasts as long as the creator", () => {
  const living = testRecord("c1", { status: "creating", creator: ownProcessRef() });
  refreshRecord(living, never);
  expect(living.status).toBe("creating");
  const orphaned = testRecord("c1", { status: "creating", creator: gone });
  refreshRecord(orphaned, never);
  expect(orphaned).toEqual(testRecord("c1", { status: "stopped" }));
});

test("refreshRecord asks again for an exit record that was not there before, and for no other", () => {
  const exit = { exitCode: 0, at: "2026-01-01T00:00:00.000000000Z" };
  const record = testRecord("c1", { status: "stopped", process: gone });
  refreshRecord(record, never);
  expect(record.exit).toBeUndefined();
  refreshRecord(record, () => exit);
  refreshRecord(record, () => ({ ...exit, exitCode: 1 }));
  expect(record.exit).toEqual(exit);
});

test("salvageRemains finds whole fields in a file cut at any place, and nothing else", () => {
  const root = mkdtempSync(`${tmpdir()}/cloche-salvage-`);
  const text = JSON.stringify(full);
  const found = new Set<string>();
  for (let length = 0; length <= text.length; length++) {
    writeFileSync(`${root}/c1_c1.state`, text.slice(0, length));
    const remains = salvageRemains(root, { id: "c1", sandboxId: "c1" });
    for (const [field, value] of Object.entries(remains)) {
      expect(value).toEqual(full[field as keyof typeof remains]);
      found.add(field);
    }
  }
  rmSync(root, { recursive: true });
  const salvaged = ["cgroup", "isolation", "process", "reservedCgroupDirs", "sandbox", "startSocket"];
  expect([...found].sort()).toEqual(salvaged);
});
