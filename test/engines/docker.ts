/**
 * dockerd of a nest, with cloche and the reference side by side, and a suite in which every case is run with both.
 *
 * const { same } = dockerSuite();
 * same("run: gives the exit code", async (side) => (await side.sh("exit 42")).exitCode);
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { makeRootfs } from "../helpers/bundle.ts";
import { missing, type Requirement, requires } from "../helpers/requires.ts";
import { type Result, waitFor } from "../helpers/runtime.ts";
import { type CommandOptions, command, type Daemon, findProgram, Nest } from "./daemon.ts";
import { findSide, findSides, printed, sameOnAllSides, sideNames } from "./sides.ts";
import { Terminal } from "./terminal.ts";

/** The image that every daemon has. */
export const IMAGE = "busybox";

export function sleepMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One dockerd, its containerd, and their state, below `<nest>/<name>`. */
export class Docker {
  readonly nest: Nest;
  readonly name: string;
  readonly args: string[];
  private daemon: Daemon | undefined;

  private constructor(nest: Nest, name: string, args: string[]) {
    this.nest = nest;
    this.name = name;
    this.args = args;
  }

  /** Starts dockerd with further arguments, and gives it the image. */
  static async start(nest: Nest, name: string, args: string[] = []): Promise<Docker> {
    const docker = new Docker(nest, name, args);
    await docker.begin();
    await docker.importImage();
    return docker;
  }

  /** Starts dockerd again, on the same state. */
  async begin(): Promise<void> {
    const at = (file: string) => this.nest.path(this.name, file);
    this.nest.makeDirectory(this.name);
    writeFileSync(at("daemon.json"), "{}");
    const runtimes = sideNames
      .filter((name) => name !== "runc") // which is dockerd's own name for it
      .map((name) => `--add-runtime=${name}=${this.runtimePath(name)}`);
    const args = [
      findProgram("dockerd"),
      `--data-root=${at("data")}`,
      `--exec-root=${at("exec")}`,
      `--pidfile=${at("pid")}`,
      `--host=unix://${at("sock")}`,
      `--config-file=${at("daemon.json")}`,
      `--cgroup-parent=${this.nest.cgroupParent}`,
      "--bip=10.199.0.1/24",
      "--shutdown-timeout=5",
      ...runtimes,
      ...this.args,
    ];
    const isReady = async () => existsSync(at("sock")) && (await this.cli(["version"])).exitCode === 0;
    // Debian's containerd and runc are found before others of these names.
    this.daemon = await this.nest.start(args, isReady, { PATH: `/usr/bin:/usr/sbin:${process.env["PATH"]}` });
  }

  /** Ends dockerd and waits for its containerd, which a new dockerd would otherwise take for its own and wait for in vain. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await this.daemon?.end(signal);
    const isContainerd = (pid: number) => commandLine(pid).startsWith("containerd\0");
    await waitFor("containerd has ended", () => !this.nest.processes().some(isContainerd), 20_000);
  }

  /** Runs one command of the docker client. */
  cli(args: string[], options: CommandOptions = {}): Promise<Result> {
    return command(findProgram("docker"), this.clientArgs(args), options);
  }

  /** The arguments with which the client talks to this daemon. */
  clientArgs(args: string[]): string[] {
    const at = (file: string) => this.nest.path(this.name, file);
    return [`--config=${at("client")}`, `--host=unix://${at("sock")}`, ...args];
  }

  /** Like {@link cli}, for what must succeed; returns its output without the newline. @throws Error with its stderr */
  async ok(args: string[], options: CommandOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.cli(args, options);
    if (exitCode !== 0) throw new Error(`docker ${args.join(" ")}: exit code ${exitCode}: ${stderr}${stdout}`);
    return stdout.trimEnd();
  }

  /** The executable of a runtime. */
  runtimePath(name: string): string {
    return findSide(name).binary;
  }

  /** Where runtimes keep their state: all in one directory. */
  get runtimeRoot(): string {
    return this.nest.path(this.name, "exec/runtime-runc/moby");
  }

  /** Host pids of the shims. */
  shims(): number[] {
    return this.nest.processes().filter((pid) => commandLine(pid).includes("containerd-shim"));
  }

  /** What containers that were removed have left: files of the runtime, processes, cgroups. */
  leftovers(): string[] {
    const files = listDirectory(this.runtimeRoot).filter((file) => file !== ".seccomp");
    const expected = /^(tini\0|sleep\0infinity|containerd\0|[^\0]*\/dockerd\0)/;
    const processes = this.nest.processes().map(commandLine);
    const cgroups = ["", "memory", "pids", "devices", "freezer", "systemd", "unified"].flatMap((hierarchy) => {
      const parent = `/sys/fs/cgroup/${hierarchy}${this.nest.cgroupParent}`;
      return listDirectory(parent).filter((entry) => /^[0-9a-f]{64}$/.test(entry));
    });
    return [...files, ...processes.filter((line) => line !== "" && !expected.test(line)), ...cgroups];
  }

  /** Waits until nothing of removed containers is there. @throws Error that names what stays */
  async isClean(): Promise<void> {
    await waitFor("nothing is left of the containers", () => this.leftovers().length === 0, 4000).catch(() => {
      throw new Error(`left of containers: ${this.leftovers().join("\n")}`);
    });
  }

  private async importImage(): Promise<void> {
    const rootfs = makeRootfs(this.nest.makeDirectory(this.name, "rootfs"));
    const archive = this.nest.path(this.name, "rootfs.tar");
    await this.nest.ok(["tar", "--create", "--file", archive, "--directory", rootfs, "."]);
    await this.ok(["import", "--change", 'CMD ["sh"]', archive, IMAGE]);
  }
}

function listDirectory(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** Arguments of a process, each with its NUL; nothing if it has ended. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** docker with one of the runtimes; the containers that it made are removed by {@link Side.close}. */
export class Side {
  readonly docker: Docker;
  readonly runtime: string;
  private readonly names: string[] = [];

  constructor(docker: Docker, runtime: string) {
    this.docker = docker;
    this.runtime = runtime;
  }

  /** A container name that nobody else has; the container is removed at the end of the case. */
  name(): string {
    const name = `c${randomBytes(6).toString("hex")}`;
    this.names.push(name);
    return name;
  }

  /** Arguments of `docker run` with this side's runtime, to which the image and a command are to be added. */
  runArgs(flags: string[]): string[] {
    return ["run", `--runtime=${this.runtime}`, ...flags];
  }

  /** `docker run --rm FLAGS IMAGE ARGS`, in the foreground. */
  run(flags: string[], args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.docker.cli(
      this.runArgs(["--rm", "--network=none", `--name=${this.name()}`, ...flags, IMAGE, ...args]),
      options,
    );
  }

  /** What a shell script in a container of its own prints, both streams. @throws Error when it does not end with 0 */
  async sh(script: string, ...flags: string[]): Promise<string> {
    return printed(`${flags.join(" ")} sh -c '${script}'`, await this.run(flags, ["sh", "-c", script]));
  }

  /** Starts a container in the background and returns its name; it runs `sleep` unless told otherwise. */
  async start(flags: string[] = [], args: string[] = ["sleep", "1000"]): Promise<string> {
    const name = this.name();
    await this.docker.ok(
      this.runArgs(["--detach", `--name=${name}`, "--network=none", "--init", ...flags, IMAGE, ...args]),
    );
    return name;
  }

  /** Like {@link start}, on a network. */
  async startOn(network: string): Promise<string> {
    const name = this.name();
    const flags = ["--detach", `--name=${name}`, `--network=${network}`, "--init"];
    await this.docker.ok(this.runArgs([...flags, IMAGE, "sleep", "1000"]));
    return name;
  }

  /** Like {@link start}; waits until the container has written `wanted`. */
  async startLogged(wanted: string, flags: string[], args: string[]): Promise<string> {
    const name = await this.start(flags, args);
    await this.logged(name, wanted);
    return name;
  }

  /** Waits until `docker logs` contains the text. @throws Error after half a minute, with what it contains */
  async logged(name: string, wanted: string): Promise<void> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const { stdout } = await this.cli("logs", name);
      if (stdout.includes(wanted)) return;
      if (performance.now() > deadline) throw new Error(`waited in vain for ${wanted} in ${stdout}`);
      await sleepMs(20);
    }
  }

  /** The client, with arguments as given, on a terminal. */
  terminal(args: string[], rows: number, columns: number): Terminal {
    return new Terminal(findProgram("docker"), this.docker.clientArgs(args), rows, columns);
  }

  cli(...args: string[]): Promise<Result> {
    return this.docker.cli(args);
  }

  ok(...args: string[]): Promise<string> {
    return this.docker.ok(args);
  }

  /** A field of `docker inspect`, as a Go template without its braces: `.State.ExitCode`. */
  inspect(name: string, field: string): Promise<string> {
    return this.docker.ok(["inspect", "--format", `{{${field}}}`, name]);
  }

  /** Waits until a field of `docker inspect` is so. @throws Error after `timeoutMs`, with the last value */
  async until(name: string, field: string, wanted: string | RegExp, timeoutMs = 30_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const value = await this.inspect(name, field);
      if (typeof wanted === "string" ? value === wanted : wanted.test(value)) return;
      if (performance.now() > deadline) throw new Error(`${field} of ${name} is "${value}", waited for "${wanted}"`);
      await sleepMs(20);
    }
  }

  /** The ids of the containers that this side has made and that are still there. */
  async ids(): Promise<string[]> {
    const { stdout } = await this.docker.cli(["inspect", "--format", "{{.Id}}", ...this.names]);
    return stdout.split("\n").filter((id) => id !== "");
  }

  /** Removes what this side has made. */
  async close(): Promise<void> {
    if (this.names.length > 0) await this.docker.cli(["rm", "--force", "--volumes", ...this.names]);
  }
}

/** A script that shows its terminal's size when it is 33 rows and 77 columns, and 40 and 111; ends with the code it reads. */
export const FOLLOW_SIZE = `tty
until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo it was 33 77
until [ "$(stty size)" = "40 111" ]; do sleep 0.05; done; echo it is 40 111
read code; exit $code`;

export type Case = (side: Side) => Promise<unknown>;

export interface Suite {
  /** A case that must give the same with every runtime (and whatever the body expects of each). */
  same(name: string, body: Case, timeoutMs?: number): void;
  /** A case in which something happens to the daemon, and with it to the containers of all sides. */
  together(name: string, body: (sides: Side[], docker: Docker) => Promise<unknown>, timeoutMs?: number): void;
  /** The daemon, while tests run. */
  docker(): Docker;
}

/** Expects that every side has given what the last one, the reference, has. */
export function expectSame(results: unknown[]): void {
  for (const result of results) expect(result).toEqual(results.at(-1));
}

/** Runs a case on one side and removes what it made. */
async function runSide(docker: Docker, runtime: string, body: Case): Promise<unknown> {
  const side = new Side(docker, runtime);
  try {
    return await body(side);
  } finally {
    await side.close();
  }
}

/** Declares a test file's daemon, for which `prepare` may do something in the nest before: started before the first case, ended and cleaned up after the last. */
export function dockerSuite(daemonArgs: string[] = [], prepare?: (nest: Nest) => Promise<unknown>): Suite {
  const needs: Requirement[] = ["root", "busybox", "docker"];
  const it = requires(...needs);
  let nest: Nest | undefined;
  let docker: Docker | undefined;
  const get = () => {
    if (docker === undefined) throw new Error("dockerd was not started");
    return docker;
  };
  if (missing(...needs).length === 0) {
    beforeAll(async () => {
      nest = await Nest.open();
      await prepare?.(nest);
      docker = await Docker.start(nest, "docker", daemonArgs);
    }, 60_000);
    afterAll(async () => {
      try {
        await docker?.isClean();
      } finally {
        await nest?.close();
      }
    }, 60_000);
  }
  return {
    docker: get,
    together(name, body, timeoutMs) {
      it(
        name,
        async () => {
          const all = sideNames.map((runtime) => new Side(get(), runtime));
          try {
            await body(all, get());
          } finally {
            for (const side of all) await side.close();
          }
        },
        timeoutMs,
      );
    },
    same(name, body, timeoutMs) {
      it(name, () => sameOnAllSides(findSides(), ({ name: runtime }) => runSide(get(), runtime, body)), timeoutMs);
    },
  };
}
