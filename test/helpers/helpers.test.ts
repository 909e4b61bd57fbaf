import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { missing, requires } from "./requires.ts";
import { waitFor, withRuntime } from "./runtime.ts";

const it = requires("root", "busybox");

it("withRuntime: removes its directory and passes failures on", async () => {
  let directory = "";
  const attempt = withRuntime((runtime) => {
    directory = runtime.directory;
    expect(existsSync(directory)).toBe(true);
    throw new Error("the test's own");
  });
  await expect(attempt).rejects.toThrow("the test's own");
  expect(existsSync(directory)).toBe(false);
});

it("leftovers: finds processes, mounts and files, and not their neighbours", () =>
  withRuntime(async (runtime) => {
    const mountPoint = `${runtime.directory}/mnt`;
    mkdirSync(mountPoint);
    const file = `/tmp/${runtime.word}.sock`;
    expect(runtime.leftovers()).toEqual([]);
    writeFileSync(file, "");
    spawnSync("mount", ["-t", "tmpfs", "tmpfs", mountPoint]);
    const child = Bun.spawn(["sleep", "60"], { cwd: mountPoint });
    const found = await waitFor("sleep runs", () => runtime.leftovers().length === 3 && runtime.leftovers());
    expect(found.toSorted()).toEqual([`file ${file}`, `mount ${mountPoint}`, `process ${child.pid}: sleep 60`]);
    child.kill();
    await child.exited;
    spawnSync("umount", [mountPoint]);
    spawnSync("rm", [file]);
  }));

it("bundle: writes 64-bit integers exactly", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.rlimits = [{ type: "RLIMIT_NOFILE", hard: 18446744073709551615n, soft: 0n }];
    });
    expect(readFileSync(`${bundle}/config.json`, "utf8")).toContain('"hard": 18446744073709551615');
    expect(existsSync(`${bundle}/rootfs/bin/sh`)).toBe(true);
  }));

test("requires: tells what is missing", () => {
  expect(missing("gcc")).toEqual([]);
  expect(missing("selinux", "gcc")).toEqual(existsSync("/sys/fs/selinux/enforce") ? [] : ["selinux"]);
});
