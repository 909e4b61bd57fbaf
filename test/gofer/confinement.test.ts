/** What a gofer that serves still has of the host, seen from outside. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { missing, requires } from "../helpers/requires.ts";
import { type ServedTrees, serveTrees } from "../helpers/served-tree.ts";

const needed = ["root", "CAP_SYS_ADMIN", "fuse"] as const;
const itServes = requires(...needed);
const HOOK_TIMEOUT_MS = 60_000;

/** CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_ADMIN, SETFCAP. */
const IN_FORCE = "00000000802000cb";
/** FSETID besides, which is put in force for some requests. */
const PERMITTED = "00000000802000db";
/** SETPCAP and SYS_CHROOT besides, which the confining itself takes. */
const BOUNDING_AT_START = "00000000802401db";

describe.each([1, 3])("a gofer that serves %d", (count) => {
  let served: ServedTrees;
  beforeAll(() => {
    if (missing(...needed).length > 0) return;
    served = serveTrees(count);
    // It has done all kinds of things before it is looked at.
    const script = "echo a > f; mkdir d; ln -s f l; ls -la; cat f l; mv f d; rm l; chmod 600 d/f; sync d/f";
    for (const { mountPoint } of served.trees) spawnSync("sh", ["-c", script], { cwd: mountPoint });
  }, HOOK_TIMEOUT_MS);
  afterAll(() => {
    if (missing(...needed).length === 0) served.end();
  }, HOOK_TIMEOUT_MS);

  const proc = (...names: string[]) => path.join(`/proc/${served.gofer.pid}`, ...names);
  const threads = () => readdirSync(proc("task"));
  const status = (thread: string) => Object.fromEntries(
  readFileSync(proc("task", thread, "status"), "utf8")
    .split("\n")
    .map((line) => line.split(":\t")),
); // biome-ignore format: short

  itServes("has the capabilities for the files and for passthrough, and no others", () => {
    const main = status(String(served.gofer.pid));
    expect([main["CapEff"], main["CapPrm"], main["CapBnd"]]).toEqual([IN_FORCE, PERMITTED, PERMITTED]);
    expect([main["CapInh"], main["CapAmb"]]).toEqual(["0000000000000000", "0000000000000000"]);
    for (const thread of threads()) {
      expect([PERMITTED, BOUNDING_AT_START]).toContain(status(thread)["CapBnd"]);
    }
  });

  itServes("has no_new_privs and the filter on every thread", () => {
    for (const thread of threads()) {
      expect(status(thread)).toMatchObject({ Seccomp: "2", Seccomp_filters: "1" });
    }
    expect(status(String(served.gofer.pid))["NoNewPrivs"]).toBe("1");
  });

  itServes("has an empty root that nothing can be added to", () => {
    for (const thread of threads()) {
      expect(readdirSync(proc("task", thread, "root"))).toEqual([]);
      expect(() => writeFileSync(proc("task", thread, "root/x"), "")).toThrow("EROFS");
    }
  });

  itServes("has its working directory in a mount of its own descriptors, out of which no name leads", () => {
    expect(statSync(proc("cwd")).ino).toBe(statSync(proc("fd")).ino);
    expect(statSync(`${proc("cwd")}/..`).ino).toBe(statSync(proc("cwd")).ino);
  });

  itServes("has open: its connections, the trees, and nodes of the trees", () => {
    const names = readdirSync(proc("fd")).map((fd) => readlinkSync(proc("fd", fd)));
    const others = names.filter((name) => name !== "/dev/fuse");
    expect(names.length - others.length).toBe(count);
    // Of detached mounts the kernel shows the path below their root.
    expect(
      others.filter((name) => name !== "/" && !["/f", "/d", "/l", "/d/f"].includes(name.replace(" (deleted)", ""))),
    ).toEqual([]);
  });

  itServes("cannot be looked into by a process without CAP_SYS_PTRACE, not even by root's", () => {
    // setpriv keeps all other rights: only a process that is not dumpable is safe from those.
    const command = ["--bounding-set=-sys_ptrace", "--inh-caps=-all", "readlink"];
    expect(spawnSync("setpriv", [...command, proc("cwd")], { encoding: "utf8" }).stdout).toBe("");
    expect(spawnSync("setpriv", [...command, "/proc/self/cwd"], { encoding: "utf8" }).stdout).not.toBe("");
    expect(readlinkSync(proc("cwd"))).not.toBe("");
  });

  itServes("has no memory that is both written and executed", () => {
    expect(
      readFileSync(proc("maps"), "utf8")
        .split("\n")
        .filter((line) => / .wx/.test(line)),
    ).toEqual([]);
  });

  itServes("does nothing when nothing is asked", async () => {
    await Bun.sleep(1_500);
    const switches = () =>
      ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"].map((name) =>
        threads().map((thread) => status(thread)[name]),
      );
    const before = switches();
    await Bun.sleep(1_000);
    expect(switches()).toEqual(before);
  });
});
