/**
 * Runs validation programs against a runtime, two at a time, each with a state root and a temporary folder of its own.
 */

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Programs } from "./programs.ts";

/** How one program ended. `clean`: it exited with 0 and printed no `not ok`. */
export interface Result {
  program: string;
  clean: boolean;
  exitCode: number | null;
  timedOut: boolean;
  ok: number;
  failed: string[];
  output: string;
  seconds: number;
}

/** A runtime under test, and what it takes to run it with these programs. */
export interface RuntimeUnderTest {
  path: string;
  args?: string[];
  /** Written over the programs' own ociVersion, for a runtime that refuses theirs without looking at the rest. */
  ociVersion?: string;
  /** Take away the version 2 hierarchy beside version 1, for a runtime that refuses to work with both. */
  withoutUnified?: boolean;
}

/** What to run. `timeoutMs` is per program. */
export interface RunOptions {
  runtime: RuntimeUnderTest;
  names: string[];
  parallel?: number;
  timeoutMs?: number;
  onResult?: (result: Result) => void;
}

/** Runs the named programs and resolves to their results, in the order of `names`. */
export async function runPrograms(programs: Programs, options: RunOptions): Promise<Result[]> {
  const work = mkdtempSync(join(tmpdir(), "cloche-conformance-"));
  // Containers with a user namespace must be able to reach their bundle.
  chmodSync(work, 0o755);
  const waiting = [...options.names];
  const busy = new Set<string>();
  const results = new Map<string, Result>();
  const lane = async () => {
    for (;;) {
      const index = waiting.findIndex((name) => !busy.has(sharedResource(name)));
      const name = waiting[index];
      if (name === undefined) return;
      waiting.splice(index, 1);
      const resource = sharedResource(name);
      busy.add(resource);
      const result = await runProgram(programs.folder, join(work, name), name, options);
      busy.delete(resource);
      results.set(name, result);
      options.onResult?.(result);
    }
  };
  try {
    await Promise.all(Array.from({ length: options.parallel ?? 2 }, lane));
  } finally {
    spawnSync("rm", ["-rf", "--one-file-system", work]);
  }
  return options.names.flatMap((name) => results.get(name) ?? []);
}

/** What two programs must not use at once: the cgroups programs all use one fixed cgroup path. */
function sharedResource(program: string): string {
  return program.startsWith("linux_cgroups_") || program === "delete_resources" ? "cgroups" : program;
}

async function runProgram(folder: string, work: string, program: string, options: RunOptions): Promise<Result> {
  mkdirSync(join(work, "tmp"), { recursive: true });
  const runtime = join(work, "runtime");
  writeFileSync(runtime, wrapper(options.runtime, join(work, "root")), { mode: 0o755 });
  const enter = namespaceFor(options.runtime);

  const started = performance.now();
  const outcome = await capture([...enter, join(folder, program)], {
    cwd: folder,
    env: { ...process.env, RUNTIME: runtime, TMPDIR: join(work, "tmp") },
    timeoutMs: options.timeoutMs ?? 60_000,
  });
  removeContainers([...enter, runtime]);
  if (sharedResource(program) === "cgroups") removeCgroups();
  const lines = outcome.output.split("\n");
  const failed = lines.filter((line) => line.startsWith("not ok"));
  return {
    program,
    clean: outcome.exitCode === 0 && !outcome.timedOut && failed.length === 0,
    exitCode: outcome.exitCode,
    timedOut: outcome.timedOut,
    ok: lines.filter((line) => /^ok (?!.*# SKIP)/.test(line)).length,
    failed,
    output: outcome.output,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The script that the programs take for the runtime: the programs cannot be told flags. */
function wrapper(runtime: RuntimeUnderTest, root: string): string {
  const command = [runtime.path, "--root", root, ...(runtime.args ?? [])].map(quote).join(" ");
  const lowerVersion = `config=.
take=
for word; do
  [ -z "$take" ] || config=$word
  take=
  [ "$word" != --bundle ] || take=yes
done
[ "$1" != create ] || sed -i 's/"ociVersion": *"[^"]*"/"ociVersion": "${runtime.ociVersion}"/' "$config/config.json"
`;
  return `#!/bin/sh\n${runtime.ociVersion === undefined ? "" : lowerVersion}exec ${command} "$@"\n`;
}

/**
 * The start of a command line that runs the rest of it in a mount namespace of its own: linux_ns_itype leaves out the mount
 * namespace, so its container's mounts land in ours, which must not be the host's.
 */
function namespaceFor(runtime: RuntimeUnderTest): string[] {
  const prepare = runtime.withoutUnified ? "umount -q /sys/fs/cgroup/unified; " : "";
  return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", `${prepare}exec "$0" "$@"`];
}

interface Outcome {
  exitCode: number | null;
  timedOut: boolean;
  output: string;
}

function capture(
  [file = "", ...args]: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv; timeoutMs: number },
): Promise<Outcome> {
  return new Promise((resolve) => {
    // A process group of its own: what the program started is ended with it. Output goes through pipes, and a container
    // that outlives the program may hold them open, so the end is "exit" and not "close".
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let timedOut = false;
    const append = (chunk: Buffer) => {
      output += chunk.toString("utf8");
    };
    child.stdout.on("data", append);
    child.stderr.on("data", append);
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child.pid);
    }, options.timeoutMs);
    const finish = (exitCode: number | null) => {
      clearTimeout(timer);
      // What is already in the pipes arrives within this turn of the event loop.
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        resolve({ exitCode, timedOut, output });
      }, 20);
    };
    child.on("exit", finish);
    child.on("error", (error) => {
      output += String(error);
      finish(null);
    });
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group ended by itself in the meantime.
  }
}

/** Removes what a program left behind, so that it cannot disturb the next one. */
function removeContainers([file = "", ...args]: string[]): void {
  const listed = spawnSync(file, [...args, "list", "--quiet"], { encoding: "utf8", timeout: 20_000 });
  for (const id of (listed.stdout ?? "").split("\n")) {
    if (id !== "") spawnSync(file, [...args, "delete", "--force", id], { stdio: "ignore", timeout: 20_000 });
  }
}

/** Removes the cgroups that the cgroups programs name in their configs; several leave theirs, or its parent, behind. */
function removeCgroups(): void {
  for (const hierarchy of ["", ...readdirSync("/sys/fs/cgroup")]) {
    for (const name of ["testdir/cgrouptest", "testdir", "cgrouptest"]) {
      try {
        rmdirSync(join("/sys/fs/cgroup", hierarchy, name));
      } catch {
        // Not there, as after most programs.
      }
    }
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
