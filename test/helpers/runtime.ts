/**
 * Runs the runtime under test the way an engine does, each test with a state root, ids and bundles of its own.
 *
 * const it = requires("root", "busybox");
 * it("state: tells the status", () => withRuntime((runtime) => { const id = runtime.create((spec) => { … }); … }));
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { type BundleSpec, makeBundle } from "./bundle.ts";
import { leftovers } from "./leftovers.ts";
import { runtimePath } from "./runtime-path.ts";

/** How a command ended and what it, and whatever kept its output, had written by then. */
export interface Result {
  exitCode: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** State root; none if undefined, so that the runtime's default is used. */
  root?: string | undefined;
  cwd?: string;
  env?: Record<string, string | undefined>;
  input?: string;
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;

function commandLine(args: string[], options: RunOptions): string[] {
  return options.root === undefined ? args : ["--root", options.root, ...args];
}

/**
 * Runs one command of the runtime under test and waits for it.
 *
 * Output goes to files, as a container process started by `create` keeps it open: with pipes this would wait for it too.
 * @throws Error if the command takes longer than `timeoutMs`
 */
export function cloche(args: string[], options: RunOptions = {}): Result {
  const base = path.join(os.tmpdir(), `cloche-output-${randomBytes(6).toString("hex")}`);
  const files = [`${base}.out`, `${base}.err`] as const;
  const fds = files.map((file) => openSync(file, "wx", 0o600));
  try {
    const { status, signal, error } = spawnSync(runtimePath(), commandLine(args, options), {
      stdio: [options.input === undefined ? "ignore" : "pipe", ...fds],
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      killSignal: "SIGKILL",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.input === undefined ? {} : { input: options.input }),
    });
    const [stdout, stderr] = [readFileSync(files[0], "utf8"), readFileSync(files[1], "utf8")];
    if (error !== undefined) {
      throw new Error(`${runtimePath()} ${args.join(" ")}: ${error.message}\n${stdout}${stderr}`);
    }
    return { exitCode: status, signal, stdout, stderr };
  } finally {
    for (const fd of fds) closeSync(fd);
    for (const file of files) unlinkSync(file);
  }
}

/** Waits until `condition` gives something other than false or undefined, and returns it. @throws Error after `timeoutMs` */
export async function waitFor<T>(what: string, condition: () => T | false | undefined, timeoutMs = 10_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = condition();
    if (value !== false && value !== undefined) {
      return value;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain until ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Kills a child and waits for its end; one that has ended by now is fine, for which no event comes any more. */
export async function killChild(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await waitFor("the child has ended", () => child.exitCode !== null || child.signalCode !== null);
}

/** Kills a child after a while. Whoever inherits its output keeps it open: nobody waits for the end of that. */
export async function killAfter(child: ChildProcess, ms: number): Promise<void> {
  child.stdout?.destroy();
  child.stderr?.destroy();
  await new Promise((resolve) => setTimeout(resolve, ms));
  await killChild(child);
}

/** One test's view of the runtime: everything it makes carries `word`, and is gone when the test is over. */
export class Runtime {
  /** Occurs in every id and path of this test, and nowhere else on the machine. */
  readonly word: string;
  /** A directory for the test's files; removed at the end. Everyone may enter it, as containers are not always root. */
  readonly directory: string;
  readonly root: string;
  private count = 0;

  constructor() {
    this.word = `t${randomBytes(5).toString("hex")}`;
    this.directory = mkdtempSync(path.join(os.tmpdir(), `cloche-${this.word}-`));
    chmodSync(this.directory, 0o755);
    this.root = path.join(this.directory, "root");
    mkdirSync(this.root, { mode: 0o700 });
  }

  /** An id that nobody else has. */
  id(): string {
    this.count += 1;
    return `${this.word}-${this.count}`;
  }

  /** A new bundle; `change` may alter its config.json. */
  bundle(change?: (spec: BundleSpec) => void): string {
    this.count += 1;
    return makeBundle(path.join(this.directory, `bundle-${this.count}`), change);
  }

  /** Runs a command with this test's state root. */
  run(args: string[], options: RunOptions = {}): Result {
    return cloche(args, { root: this.root, ...options });
  }

  /** Like {@link run}, for a command that must succeed; returns its stdout. */
  ok(args: string[], options: RunOptions = {}): string {
    const result = this.run(args, options);
    if (result.exitCode !== 0) {
      throw new Error(`${args.join(" ")}: exit code ${result.exitCode} ${result.signal ?? ""}\n${result.stderr}`);
    }
    return result.stdout;
  }

  /** Starts a command without waiting; the test waits for it, and it is killed with the test's leftovers. */
  spawn(args: string[], options: RunOptions = {}): ChildProcess {
    return spawn(runtimePath(), commandLine(args, { root: this.root, ...options }), {
      stdio: "pipe",
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
  }

  /** Makes a bundle and creates a container from it; returns its id. */
  create(change?: (spec: BundleSpec) => void, options: RunOptions = {}): string {
    const id = this.id();
    this.ok(["create", "--bundle", this.bundle(change), id], options);
    return id;
  }

  /** What `state` prints. */
  state(id: string): { id: string; status: string; pid: number; bundle: string; ociVersion: string } {
    return JSON.parse(this.ok(["state", id]));
  }

  /** Waits for the container to be there and to have that status. */
  async reaches(id: string, status: string): Promise<void> {
    await waitFor(`container "${id}" is ${status}`, () => {
      const { exitCode, stdout } = this.run(["state", id]);
      return exitCode === 0 && JSON.parse(stdout).status === status;
    });
  }

  /** What is on the host because of this test, its own directory apart. */
  leftovers(): string[] {
    return leftovers(this.word, this.root, this.directory);
  }

  /** Deletes all containers; @throws Error if anything of them is still there a moment later. */
  async close(): Promise<void> {
    try {
      this.deleteAll();
      await waitFor("nothing is left behind", () => this.leftovers().length === 0, 3000).catch(() => {
        throw new Error(`left behind:\n${this.leftovers().join("\n")}`);
      });
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  private deleteAll(): void {
    if (readdirSync(this.root).length === 0) {
      return;
    }
    for (const id of this.run(["list", "--quiet"]).stdout.split("\n").filter(Boolean)) {
      this.run(["delete", "--force", id]);
    }
  }
}

/** Runs a test with a {@link Runtime} of its own; fails if anything is left behind, also beside the test's own failure. */
export async function withRuntime(body: (runtime: Runtime) => unknown): Promise<void> {
  const runtime = new Runtime();
  const failures: unknown[] = [];
  try {
    await body(runtime);
  } catch (thrown) {
    failures.push(thrown);
  }
  try {
    await runtime.close();
  } catch (thrown) {
    failures.push(thrown);
  }
  if (failures.length > 1) {
    throw new AggregateError(failures, failures.map((failure) => String(failure)).join("\nand then: "));
  }
  if (failures.length === 1) {
    throw failures[0];
  }
}
