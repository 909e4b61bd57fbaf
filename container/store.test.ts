import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { NotFoundError } from "../specutils/errors.ts";
import { ownProcessRef } from "../specutils/process-ref.ts";
import { exitPath, statePath } from "../statefile/names.ts";
import {
  createRecord,
  ExistsError,
  forgetContainer,
  listRecords,
  readRecord,
  removeRecord,
  withContainer,
} from "./store.ts";
import { testRecord } from "./test-record.ts";

let root: string;
beforeEach(() => {
  root = `${mkdtempSync(`${tmpdir()}/cloche-store-`)}/root`;
});
afterEach(() => rmSync(dirname(root), { recursive: true }));

const alive = { process: ownProcessRef(), status: "running" } as const;
const gone = { process: { pid: process.pid, startTime: "1" }, status: "running" } as const;

function stateText(id: string, sandboxId = id): string {
  return readFileSync(statePath(root, sandboxId, id), "utf8");
}

describe("createRecord", () => {
  test("saves a record for its owner's eyes only, and leaves no lock", async () => {
    await createRecord(root, testRecord("c1", alive));
    await expect(await readRecord(root, "c1")).toEqual(testRecord("c1", alive));
    expect(statSync(root).mode & 0o777).toBe(0o700);
    expect(readdirSync(root)).toEqual(["c1_c1.state"]);
  });

  test("refuses an id that is taken, in whatever sandbox, and leaves its owner alone", async () => {
    await createRecord(root, testRecord("c1", { ...alive, sandboxId: "pod" }));
    const before = stateText("c1", "pod");
    for (const sandboxId of ["c1", "pod", "other"]) {
      const attempt = createRecord(root, testRecord("c1", { ...alive, sandboxId, bundle: "/other" }));
      await expect(attempt).rejects.toThrow('cannot create container "c1": container with given ID already exists');
      await expect(attempt).rejects.toBeInstanceOf(ExistsError);
      await attempt.catch(() => {});
    }
    await expect(readdirSync(root)).toEqual(["pod_c1.state"]);
    expect(stateText("c1", "pod")).toBe(before);
  });

  test("two at once for one id: one wins", async () => {
    const attempts = ["c1", "pod"].map((sandboxId) => createRecord(root, testRecord("c1", { ...alive, sandboxId })));
    const outcomes = (await Promise.allSettled(attempts)).map(({ status }) => status);
    expect(outcomes.sort()).toEqual(["fulfilled", "rejected"]);
    expect(readdirSync(root)).toHaveLength(1);
  });

  test("refuses an id that would lead elsewhere", async () => {
    await expect(createRecord(root, testRecord("../c1"))).rejects.toThrow("invalid container ID format");
  });

  test("does not take over how an earlier container of that id has ended", async () => {
    await createRecord(root, testRecord("c0", alive));
    writeFileSync(exitPath(root, "c1", "c1"), "exited 42 1\n");
    await createRecord(root, testRecord("c1", gone));
    await expect(await readRecord(root, "c1")).toEqual(testRecord("c1", { ...gone, status: "stopped" }));
  });
});

describe("lookup", () => {
  beforeEach(async () => {
    for (const id of ["web", "web1", "db_1", "db_2"]) await createRecord(root, testRecord(id, alive));
    await createRecord(root, testRecord("sub", { ...alive, sandboxId: "web" }));
  });

  test.each([
    ["web", "web"],
    ["web1", "web1"],
    ["sub", "sub"],
    ["s", "sub"],
    ["db_1", "db_1"],
  ])("%p finds %p", async (idOrPrefix, id) => {
    expect((await readRecord(root, idOrPrefix)).id).toBe(id);
  });

  test("an ambiguous prefix names the candidates", async () => {
    await expect(readRecord(root, "db")).rejects.toThrow(
      'container "db" does not exist, and it is the beginning of several: "db_1", "db_2"',
    );
  });

  test.each(["x", "web12", "eb"])("%p does not exist", async (id) => {
    await expect(readRecord(root, id)).rejects.toThrow(`container "${id}" does not exist`);
    await expect(readRecord(root, id)).rejects.toBeInstanceOf(NotFoundError);
  });

  test("exact: a prefix does not exist", async () => {
    await expect(withContainer(root, "s", () => {}, { exact: true })).rejects.toThrow('container "s" does not exist');
  });

  test("without a state root nothing exists", async () => {
    await expect(readRecord(`${root}/nope`, "web")).rejects.toThrow('container "web" does not exist');
    await expect(listRecords(`${root}/nope`, () => {})).toEqual([]);
  });

  test("listRecords gives all by id, and goes on after one that is broken", () => {
    writeFileSync(statePath(root, "db_1", "db_1"), "{");
    const errors: string[] = [];
    const ids = listRecords(root, (error) => errors.push(error.message)).map(({ id }) => id);
    expect(ids).toEqual(["db_2", "sub", "web", "web1"]);
    expect(errors).toEqual([`cannot read state file "${root}/db~1_db~1.state": it is truncated or was edited by hand`]);
  });
});

describe("withContainer", () => {
  beforeEach(() => createRecord(root, testRecord("c1", alive)));

  test("saves what was changed", async () => {
    const result = await withContainer(root, "c1", (record) => {
      record.bundle = "/new";
      return 42;
    });
    expect(result).toBe(42);
    expect((await readRecord(root, "c1")).bundle).toBe("/new");
    expect(readdirSync(root)).toEqual(["c1_c1.state"]);
  });

  test("does not write when nothing was changed", async () => {
    const before = statSync(statePath(root, "c1", "c1")).ino;
    await withContainer(root, "c1", () => {});
    expect(statSync(statePath(root, "c1", "c1")).ino).toBe(before);
  });

  test("when it fails, only what was saved explicitly stays, and the lock is free", async () => {
    const attempt = withContainer(root, "c1", (record, save) => {
      record.bundle = "/saved";
      save();
      record.bundle = "/lost";
      throw new Error("no");
    });
    await expect(attempt).rejects.toThrow("no");
    await attempt.catch(() => {});
    expect((await readRecord(root, "c1")).bundle).toBe("/saved");
    expect(readdirSync(root)).toEqual(["c1_c1.state"]);
  });

  test("saves that the process is gone, and how it ended", async () => {
    await createRecord(root, testRecord("c2", gone));
    writeFileSync(exitPath(root, "c2", "c2"), "signaled 9 1000000000\n");
    const seen = await withContainer(root, "c2", (record) => record.status);
    expect(seen).toBe("stopped");
    expect(JSON.parse(stateText("c2"))).toMatchObject({
      status: "stopped",
      exit: { signal: 9, at: "1970-01-01T00:00:01.000000000Z" },
    });
  });

  test("does not save a record that was removed", async () => {
    writeFileSync(exitPath(root, "c1", "c1"), "exited 0 1\n");
    await withContainer(root, "c1", (record) => {
      record.bundle = "/new";
      removeRecord(root, record);
    });
    expect(readdirSync(root)).toEqual([]);
  });

  test("only: a later container of that id is not meant", async () => {
    const first = await readRecord(root, "c1");
    await withContainer(root, "c1", (record) => removeRecord(root, record));
    const later = testRecord("c1", { ...alive, created: "2026-01-01T00:00:00.000000001Z" });
    await createRecord(root, later);
    const attempt = withContainer(root, "c1", () => {}, { only: first });
    await expect(attempt).rejects.toThrow('container "c1" does not exist');
    await attempt.catch(() => {});
    const removed: string[] = [];
    const forget = (record: typeof first) => forgetContainer(root, record, () => void removed.push(record.bundle));
    expect(await forget(first)).toBe(false);
    expect(await readRecord(root, "c1")).toEqual(later);
    expect(await forget(later)).toBe(true);
    expect(removed).toEqual([later.bundle]);
    expect(readdirSync(root)).toEqual([]);
  });

  test("one after the other, also within one process", async () => {
    const count = async () =>
      withContainer(root, "c1", async (record) => {
        const before = Number(record.annotations["count"] ?? 0);
        await Bun.sleep(1);
        record.annotations["count"] = String(before + 1);
      });
    await Promise.all(Array.from({ length: 10 }, count));
    expect((await readRecord(root, "c1")).annotations["count"]).toBe("10");
  });
});

test("readRecord tells what is true, also where it cannot be saved", async () => {
  await createRecord(root, testRecord("c1", gone));
  const before = stateText("c1");
  const script = `const { readRecord } = await import(process.env.STORE);
    console.log((await readRecord("${root}", "c1")).status);`;
  const { stdout } = spawnSync(
    "unshare",
    [
      "-m",
      "sh",
      "-c",
      'mount --bind -o ro "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -e "$3"',
      "sh",
      root,
      process.execPath,
      script,
    ],
    { encoding: "utf8", env: { ...process.env, STORE: `${import.meta.dirname}/store.ts` } },
  );
  expect(stdout).toBe("stopped\n");
  expect(stateText("c1")).toBe(before);
  expect((await readRecord(root, "c1")).status).toBe("stopped");
  expect(stateText("c1")).not.toBe(before);
  expect(existsSync(statePath(root, "c1", "c1"))).toBe(true);
});
