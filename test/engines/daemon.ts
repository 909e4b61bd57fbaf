/**
 * Private daemons for the engine suites: a `Nest` is a set of namespaces (mount, network, PID) with a directory of its own,
 * in which containerd, dockerd and what they start live. Nothing of them is seen outside: when the nest's PID 1 ends, the
 * kernel ends every process in it, its mounts and its network go with them, and `close` removes the cgroups and the
 * directory. `/run` is a file system of the nest's own, because shims keep sockets at paths that no option changes.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { leftovers } from "../helpers/leftovers.ts";
import { type Result, waitFor } from "../helpers/runtime.ts";

/** Milliseconds that a daemon has to become ready, or to end. */
const DAEMON_TIMEOUT_MS = 30_000;

/** Milliseconds that a command has, unless told otherwise. */
const COMMAND_TIMEOUT_MS = 40_000;

export interface CommandOptions {
  input?: string;
  timeoutMs?: number;
  env?: Record<string, string>;
}

/** A process started on purpose: given, ready, its output in a file. */
export interface Daemon {
  /** Pid on the host. */
  pid: number;
  /** What it has written so far. */
  log(): string;
  /** Sends the signal and waits until the process is gone. */
  end(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/**
 * Runs a program without blocking this process.
 *
 * @throws Error when it cannot be started, or takes longer than `timeoutMs`; it is killed then
 */
export function command(program: string, args: string[], options: CommandOptions = {}): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "pipe", env: { ...process.env, ...options.env } });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    // Not when its output ends: what it has started may keep that open.
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`took too long: ${program} ${args.join(" ")}\n${stdout}${stderr}`));
    }, options.timeoutMs ?? COMMAND_TIMEOUT_MS);
    child.on("error", reject);
    child.on("close", (exitCode, signal) => {
      clearTimeout(timer);
      resolve({ exitCode, signal, stdout, stderr });
    });
    child.stdin.on("error", () => {}); // the program may end without reading
    child.stdin.end(options.input ?? "");
  });
}

/** The first file of that name in PATH, or in the directories where Debian puts daemons. @throws Error if there is none */
export function findProgram(name: string): string {
  const directories = ["/usr/bin", "/usr/sbin", ...(process.env["PATH"] ?? "").split(":")];
  const found = directories.map((directory) => path.join(directory, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${name} is not installed`);
  return found;
}

export class Nest {
  /** Occurs in every path and cgroup of this nest, and nowhere else on the machine. */
  readonly word = `n${randomBytes(4).toString("hex")}`;
  /** For state, sockets and files of the nest; seen inside and outside under the same path. */
  readonly directory: string;
  /** Parent of the cgroups of all containers, to be given to the engine. */
  readonly cgroupParent = `/cloche-${this.word}`;
  private readonly holder: ChildProcess;
  private initPid = 0;
  private readonly daemons: ChildProcess[] = [];

  private constructor() {
    this.directory = mkdtempSync(path.join(os.tmpdir(), `cl-${this.word}-`));
    chmodSync(this.directory, 0o711); // containers' root may be another user
    // The parent's death is the nest's: a test that crashes leaves nothing.
    const unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // tini reaps the shims and programs whose parents are gone.
    const script = "mount -t tmpfs tmpfs /run && ip link set lo up && exec tini -s -- sleep infinity";
    this.holder = spawn("setpriv", ["--pdeathsig", "KILL", ...unshare, "sh", "-c", script], { stdio: "ignore" });
  }

  /** Makes the namespaces. Close it whatever happens. */
  static async open(): Promise<Nest> {
    const nest = new Nest();
    try {
      nest.initPid = await waitFor("the nest's PID 1 is there", () => nest.findInit(), DAEMON_TIMEOUT_MS);
    } catch (thrown) {
      await nest.close();
      throw thrown;
    }
    return nest;
  }

  /** A path below the nest's directory. */
  path(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** A new directory below the nest's. */
  makeDirectory(...names: string[]): string {
    const directory = this.path(...names);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  /** The command line that runs `args` inside. */
  inside(args: string[]): string[] {
    return ["nsenter", "--target", String(this.initPid), "--mount", "--net", "--pid", "--", ...args];
  }

  /** Runs a program inside and waits for it. */
  run(args: string[], options: CommandOptions = {}): Promise<Result> {
    const [program = "", ...rest] = this.inside(args);
    return command(program, rest, options);
  }

  /** Like {@link run}, for what must succeed; returns its output. @throws Error with its stderr */
  async ok(args: string[], options: CommandOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(args, options);
    if (exitCode !== 0) throw new Error(`${args.join(" ")}: exit code ${exitCode}: ${stderr}`);
    return stdout;
  }

  /**
   * Starts a daemon inside and waits until `isReady` says so.
   *
   * @throws Error with the end of its log when it ends before, or is not ready in half a minute
   */
  async start(args: string[], isReady: () => boolean | Promise<boolean>, env: Record<string, string> = {}) {
    const logFile = this.path(`daemon-${this.daemons.length + 1}.log`);
    const log = openSync(logFile, "w");
    const [program = "", ...rest] = this.inside(args);
    const child = spawn(program, rest, { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
    closeSync(log);
    this.daemons.push(child);
    const readLog = () => readFileSync(logFile, "utf8");
    const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
    const deadline = performance.now() + DAEMON_TIMEOUT_MS;
    while (!(await isReady())) {
      if (hasEnded() || performance.now() > deadline) {
        const told = readLog().replaceAll(/^.*module=grpc.*\n/gm, ""); // says every time that it tries again
        throw new Error(`${args[0]} is not ready:\n${told.slice(-3000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // nsenter stays, as the parent of the process that it forked into the PID namespace, and ends as that does.
    const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").split(" ")[0]);
    const daemon: Daemon = {
      pid,
      log: readLog,
      async end(signal) {
        process.kill(pid, signal);
        await waitFor(`${args[0]} has ended`, hasEnded, DAEMON_TIMEOUT_MS);
      },
    };
    return daemon;
  }

  /** Host pids of all processes inside, those in PID namespaces of their own too. */
  processes(): number[] {
    const namespace = readlinkSync(`/proc/${this.initPid}/ns/pid`);
    const parents = new Map(listProcesses().map((pid) => [pid, parentOf(pid)]));
    const isInside = (pid: number | undefined): boolean =>
      pid !== undefined && (pid === this.initPid || namespaceOf(pid) === namespace || isInside(parents.get(pid)));
    return [...parents.keys()].filter(isInside);
  }

  /** Removes a cgroup below the containers' parent. @throws Error while there are processes in it */
  removeCgroups(name: string): void {
    removeCgroups(`${this.cgroupParent}/${name}`);
  }

  /** Ends everything inside and removes what is left outside. @throws Error if something stays */
  async close(): Promise<void> {
    this.holder.kill("SIGKILL");
    await waitFor("the nest's processes have ended", () => this.hasEnded(), DAEMON_TIMEOUT_MS);
    removeCgroups(this.cgroupParent);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    const isClean = () => leftovers(this.word, "/run/cloche", "").length === 0;
    await waitFor("nothing is left behind", isClean, 5000).catch(() => {
      throw new Error(`left behind:\n${leftovers(this.word, "/run/cloche", "").join("\n")}`);
    });
  }

  private findInit(): number | undefined {
    const { pid } = this.holder;
    if (pid === undefined || this.holder.exitCode !== null)
      throw new Error("cannot make namespaces: unshare has ended");
    const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
    if (child === 0) return undefined;
    return readFileSync(`/proc/${child}/comm`, "utf8").trim() === "tini" ? child : undefined;
  }

  private hasEnded(): boolean {
    const ended = [this.holder, ...this.daemons].every(
      ({ exitCode, signalCode }) => exitCode !== null || signalCode !== null,
    );
    return ended && (this.initPid === 0 || !existsSync(`/proc/${this.initPid}`));
  }
}

function listProcesses(): number[] {
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

/** Pid of the parent; undefined for a process that has none, or has ended meanwhile. */
function parentOf(pid: number): number | undefined {
  try {
    const parent = Number(
      readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) \S /, "")
        .split(" ")[0],
    );
    return parent === 0 ? undefined : parent;
  } catch {
    return undefined;
  }
}

/** Name of a process's PID namespace; empty if it has ended meanwhile. */
function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return "";
  }
}

/** Removes a cgroup and those below it in every hierarchy. */
function removeCgroups(name: string): void {
  const roots = ["/sys/fs/cgroup", ...readdirSync("/sys/fs/cgroup").map((entry) => `/sys/fs/cgroup/${entry}`)];
  for (const root of roots) {
    const top = root + name;
    if (existsSync(top)) removeTree(top);
  }
}

/** Directories only: the files of a cgroup cannot be removed, and need not be. */
function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(path.join(directory, entry.name));
  }
  try {
    rmdirSync(directory);
  } catch {
    spawnSync("sleep", ["0.2"]); // a process that was killed is still leaving
    rmdirSync(directory);
  }
}

/** Opens a nest for `body` and closes it; reports both failures if both fail. */
export async function withNest<T>(body: (nest: Nest) => Promise<T>): Promise<T> {
  const nest = await Nest.open();
  let result: T;
  try {
    result = await body(nest);
  } catch (thrown) {
    await nest.close().catch((second) => {
      throw new AggregateError([thrown, second], `${thrown}\nand then: ${second}`);
    });
    throw thrown;
  }
  await nest.close();
  return result;
}
