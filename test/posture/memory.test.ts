/** What an idle container costs, and what the helper's memory looks like from outside (proc(5), smaps_rollup). */
import { expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { distDirectory } from "../helpers/runtime-path.ts";

const it = requires("root", "cloche", "busybox");

/** Sum of fields of smaps_rollup, in KiB. */
function sum(pid: number, fields: RegExp): number {
  return [...readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(fields)].reduce(
    (total, [, kib]) => total + Number(kib),
    0,
  );
}

/** KiB that nobody else uses: what the machine gets back when the process ends. */
function privateKiB(pid: number): number {
  return sum(pid, /^Private_(?:Clean|Dirty): +(\d+) kB$/gm);
}

/** KiB that were written to: what each further process of the kind costs. */
function anonymousKiB(pid: number): number {
  return sum(pid, /^Anonymous: +(\d+) kB$/gm);
}

function maps(pid: number): string {
  return readFileSync(`/proc/${pid}/maps`, "utf8");
}

function sandboxPid(runtime: Runtime, id: string): number {
  return JSON.parse(readFileSync(`${runtime.root}/${id}_${id}.state`, "utf8")).sandbox.pid;
}

it("an idle sandbox has less than 100 KiB of private memory (the budget is 300), and less than 40 of it was written to", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    await runtime.reaches(id, "running");
    const pid = sandboxPid(runtime, id);
    expect(privateKiB(pid)).toBeLessThan(100);
    // Its static buffers, over 300 KiB, cost nothing as long as nobody uses them.
    expect(anonymousKiB(pid)).toBeLessThan(40);
  }));

requires(
  "root",
  "cloche",
  "busybox",
  "fuse",
)("an idle sandbox whose files are served has, with its gofer, less than 4 MiB of private memory beside others", () =>
  withRuntime(async (runtime) => {
    const served = { env: { CLOCHE_ISOLATION: "sandboxed", CLOCHE_FILE_ACCESS: "served" } };
    const ids = [1, 2].map(() =>
      runtime.create((spec) => {
        spec.process.args = ["sleep", "60"];
      }, served),
    );
    for (const id of ids) runtime.ok(["start", id]);
    const pids = ids.map((id) => {
      const { sandbox, gofer } = JSON.parse(readFileSync(`${runtime.root}/${id}_${id}.state`, "utf8"));
      return [sandbox.pid, gofer.pid];
    });
    const total = (own: number[]) => own.reduce((sum, pid) => sum + privateKiB(pid), 0);
    await waitFor("both are idle", () => pids.every((own) => total(own) < 4 * 1024));
  }),
);

it("a created container that waits has, with its sandbox, less than 150 KiB of private memory", () =>
  withRuntime((runtime) => {
    const id = runtime.create();
    expect(privateKiB(runtime.state(id).pid) + privateKiB(sandboxPid(runtime, id))).toBeLessThan(150);
  }));

it("cloche-init: what is relocated at its start cannot be written to afterwards", () =>
  withRuntime((runtime) => {
    const id = runtime.create();
    const headers = execFileSync("readelf", ["--wide", "--program-headers", path.join(distDirectory, "cloche-init")], {
      encoding: "utf8",
    });
    const [, address = "0"] = /GNU_RELRO +\S+ +(0x\w+)/.exec(headers) ?? [];
    // Mappings of the executable are in the file's order, the ELF header at the start; the plan is a file too.
    const mappings = [...maps(runtime.state(id).pid).matchAll(/^(\w+)-(\w+) (\S{4}) \S+ \S+ [1-9]\d* +\/(?!memfd)/gm)];
    const files = mappings.map(([, from, to, rights]) => ({
      from: Number(`0x${from}`),
      to: Number(`0x${to}`),
      rights,
    }));
    const at = (files[0]?.from ?? 0) + Number(address);
    expect(files.find(({ from, to }) => from <= at && at < to)?.rights).toBe("r--p");
  }));

requires(
  "root",
  "cloche",
  "busybox",
  "cgroup1",
)("a program as small as `true` runs within 512 KiB of memory", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.linux.resources.memory = { limit: 512n * 1024n };
    });
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(runtime.run(["run", "--bundle", bundle, runtime.id()])).toMatchObject({ exitCode: 0, stderr: "" });
    }
  }),
);
