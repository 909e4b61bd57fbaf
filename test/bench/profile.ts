/**
 * `npm run profile -- COMMAND`: where the time of one command goes, seen three ways, each of a run of its own, since each
 * costs time itself: phases from `--trace-file` (medians of several runs), system calls from strace.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { makeBundle } from "../helpers/bundle.ts";
import { distDirectory } from "../helpers/runtime-path.ts";
import { spreadOf } from "./statistics.ts";

const RUNS = 15;
const level = process.env["CLOCHE_ISOLATION"] ?? "oci";

interface Event {
  name: string;
  ts: number;
  dur: number;
}

/** What has to be done to the container before and after each run of a command. */
const AROUND: Readonly<Record<string, { before: string[]; args: (id: string, bundle: string) => string[] }>> = {
  create: { before: [], args: (id, bundle) => ["create", "--bundle", bundle, id] },
  start: { before: ["create"], args: (id) => ["start", id] },
  state: { before: ["create", "start"], args: (id) => ["state", id] },
  exec: { before: ["create", "start"], args: (id) => ["exec", id, "/bin/true"] },
  kill: { before: ["create", "start"], args: (id) => ["kill", id, "KILL"] },
  delete: { before: ["create", "start"], args: (id) => ["delete", "--force", id] },
};

const directory = mkdtempSync(path.join(os.tmpdir(), "cloche-profile-"));
const root = path.join(directory, "root");
const [name = "", ...rest] = process.argv.slice(2);
try {
  if (name === "") throw new Error("which command? npm run profile -- COMMAND [ARGUMENT...]");
  profile();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function cloche(args: string[], wrapper: string[] = []) {
  const [program = "", ...all] = [
    ...wrapper,
    path.join(distDirectory, "cloche"),
    "--isolation",
    level,
    "--root",
    root,
    ...args,
  ];
  const { status, error } = spawnSync(program, all, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`${[program, ...all].join(" ")}: exit code ${status} ${error ?? ""}`);
}

function profile(): void {
  const program = name === "run" ? ["/bin/true"] : ["/bin/sleep", "1000"];
  const bundle = makeBundle(path.join(directory, "bundle"), (spec) => {
    spec.process.args = program;
  });
  let count = 0;
  /** Runs the command once, in a container of its own if it needs one and none is given. */
  const once = (flags: string[], wrapper: string[] = []) => {
    const id = `profile-${++count}`;
    const around = rest.length > 0 ? undefined : AROUND[name];
    for (const step of around?.before ?? []) cloche(AROUND[step]?.args(id, bundle) ?? []);
    const before = performance.timeOrigin + performance.now();
    const own = name === "run" && rest.length === 0 ? ["run", "--bundle", bundle, id] : [name, ...rest];
    cloche([...flags, ...(around?.args(id, bundle) ?? own)], wrapper);
    const after = performance.timeOrigin + performance.now();
    if (around !== undefined && name !== "delete") cloche(["delete", "--force", id]);
    return { before, after };
  };

  once([]);
  const rows = new Map<string, { at: number[]; took: number[] }>();
  const note = (what: string, at: number, took: number) => {
    const row = rows.get(what) ?? { at: [], took: [] };
    row.at.push(at);
    row.took.push(took);
    rows.set(what, row);
  };
  for (let run = 0; run < RUNS; run++) {
    const file = path.join(directory, `trace-${run}.json`);
    const { before, after } = once(["--trace-file", file]);
    const [whole, ...phases] = JSON.parse(`${readFileSync(file, "utf8").replace(/,\n$/, "")}]`) as Event[];
    const start = (whole?.ts ?? 0) / 1000;
    note("(execve, dynamic linking)", 0, start - before);
    const seen = new Map<string, number>();
    for (const { name: phase, ts, dur } of phases) {
      const nth = (seen.get(phase) ?? 0) + 1;
      seen.set(phase, nth);
      note(nth === 1 ? phase : `${phase} (${nth})`, ts / 1000 - before, dur / 1000);
    }
    const end = start + (whole?.dur ?? 0) / 1000;
    note("(writing the trace, process exit)", end - before, after - end);
    note("(all)", 0, after - before);
  }
  console.log(`cloche ${name}: medians of ${RUNS} runs, ms\n`);
  console.log(`${"phase".padEnd(44)}${"begins".padStart(9)}${"takes".padStart(9)}`);
  for (const [what, { at, took }] of rows) {
    const cells = [spreadOf(at).median, spreadOf(took).median].map((ms) => ms.toFixed(2).padStart(9));
    console.log(`${what.padEnd(44)}${cells.join("")}`);
  }

  const counts = path.join(directory, "strace-counts");
  once([], ["strace", "-c", "-S", "calls", "-o", counts]);
  console.log("\nsystem calls of its main thread (strace -c):\n");
  console.log(readFileSync(counts, "utf8").split("\n").slice(0, 22).join("\n"));

  const calls = path.join(directory, "strace-calls");
  once([], ["strace", "-r", "-e", "trace=openat,execve,vfork,clone,clone3,connect,wait4,mmap", "-o", calls]);
  const slow = readFileSync(calls, "utf8")
    .split("\n")
    .filter((line) => /openat|execve|vfork|clone|connect|wait4/.test(line) && !line.includes("ENOENT"));
  console.log("\nfiles, processes and sockets, each with the seconds since the call before it (strace -r):\n");
  console.log(slow.map((line) => line.slice(0, 150)).join("\n"));
}
