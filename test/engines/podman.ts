/**
 * podman of a nest, for root or for an ordinary user, and a suite in which every case is run with cloche and the reference.
 *
 * const { same } = podmanSuite();
 * same("run: gives the exit code", async (side) => (await side.run([], ["sh", "-c", "exit 42"])).exitCode);
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeRootfs } from "../helpers/bundle.ts";
import { isSandboxed } from "../helpers/level.ts";
import { OrdinaryUser } from "../helpers/ordinary-user.ts";
import { missing, type Requirement, requires } from "../helpers/requires.ts";
import type { Result } from "../helpers/runtime.ts";
import { type CommandOptions, command, findProgram, Nest } from "./daemon.ts";
import { printed, sideNames as sides } from "./sides.ts";
import { Terminal } from "./terminal.ts";

/** The image that every podman has: busybox, with `sh` to run. */
export const IMAGE = "localhost/busybox";

/** What a test machine may not raise limits above (no CAP_SYS_RESOURCE), and podman's own defaults would. */
const LIMITS = '["nofile=1024:1024", "nproc=4096:4096"]';

/** One user's podman, with storage, state and configuration below the nest's directory. */
export class Podman {
  readonly nest: Nest;
  readonly user: OrdinaryUser;
  readonly isRootless: boolean;
  private readonly base: string;

  private constructor(nest: Nest, user: OrdinaryUser, isRootless: boolean) {
    this.nest = nest;
    this.user = user;
    this.isRootless = isRootless;
    this.base = isRootless ? user.makeDirectory("podman") : nest.makeDirectory("podman");
  }

  /** Configures podman and gives it the image. */
  static async make(nest: Nest, isRootless: boolean): Promise<Podman> {
    // podman's locks, of which no option says where they are.
    await nest.ok(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"]);
    // For slirp4netns; udev, which not every machine has, opens it to everybody.
    const tun = nest.path("tun");
    if (isRootless) await nest.ok(["sh", "-c", `mknod -m 666 ${tun} c 10 200 && mount --bind ${tun} /dev/net/tun`]);
    const podman = new Podman(nest, await OrdinaryUser.add(nest), isRootless);
    podman.configure("containers.conf", podman.engineConfig());
    const rootfs = makeRootfs(nest.makeDirectory("rootfs"));
    const archive = nest.path("rootfs.tar");
    await nest.ok(["tar", "--create", "--file", archive, "--directory", rootfs, "."]);
    await podman.ok(["import", "--change", 'CMD ["sh"]', "--change", "ENV PATH=/bin", archive, IMAGE]);
    return podman;
  }

  /** Runs one podman command; `runtime` is a path, or a name that the configuration knows. */
  cli(args: string[], runtime: string, options: CommandOptions = {}): Promise<Result> {
    const [program = "", ...rest] = this.commandLine(args, runtime, options.env);
    const { env: _, ...others } = options;
    return command(program, rest, others);
  }

  /** Like {@link cli}, for what must succeed; returns its output without the newline. @throws Error with its stderr */
  async ok(args: string[], runtime = "runc", options: CommandOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.cli(args, runtime, options);
    if (exitCode !== 0) throw new Error(`podman ${args.join(" ")}: exit code ${exitCode}: ${stderr}${stdout}`);
    return stdout.trimEnd();
  }

  /** The command line of podman, from outside of the nest. `prefix` comes before it, inside. */
  commandLine(
    args: string[],
    runtime: string,
    variables: Record<string, string> = {},
    prefix: string[] = [],
  ): string[] {
    const env = { CONTAINERS_CONF: this.configFile("containers.conf"), ...variables };
    // As flags, for those are what podman hands down to the process that cleans up after a container.
    const places = [
      `--root=${this.base}/storage`,
      `--runroot=${this.runDirectory}/storage`,
      `--tmpdir=${this.runDirectory}/tmp`,
    ];
    const flags = [...places, "--storage-driver=overlay", "--cgroup-manager=cgroupfs", `--runtime=${runtime}`];
    // conmon gives the runtime an environment of its own.
    if (path.basename(runtime) === "cloche" && !isSandboxed()) flags.push("--runtime-flag=isolation=oci");
    const podman = [...prefix, findProgram("podman"), ...flags, ...args];
    if (this.isRootless) return this.nest.inside(this.user.as(podman, env));
    const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return this.nest.inside(["env", ...words, ...podman]);
  }

  /** A file of podman's configuration. */
  configFile(name: string): string {
    return path.join(this.base, name);
  }

  /** Writes a file of podman's configuration. */
  configure(name: string, lines: readonly string[]): void {
    writeFileSync(this.configFile(name), `${lines.join("\n")}\n`);
    chmodSync(this.configFile(name), 0o644);
  }

  /** The lines of containers.conf, with `engine` in its section of that name. */
  engineConfig(engine: readonly string[] = []): string[] {
    return [
      "[containers]",
      `default_ulimits = ${LIMITS}`,
      'netns = "none"',
      "[engine]",
      'events_logger = "file"',
      'runtime_supports_json = ["cloche", "runc", "crun"]',
      'runtime_supports_nocgroup = ["cloche", "crun"]',
      ...engine,
      "[engine.runtimes]",
      `cloche = ["${this.user.dist}/cloche"]`,
    ];
  }

  /** On the nest's /run. */
  private get runDirectory(): string {
    return this.isRootless ? `${this.user.runtimeDirectory}/podman` : "/run/podman";
  }
}

/** podman with one of the runtimes; the containers and pods that it made are removed by {@link Side.close}. */
export class Side {
  readonly podman: Podman;
  /** `cloche` or a peer. */
  readonly name: string;
  private readonly containers: string[] = [];
  private readonly pods: string[] = [];

  constructor(podman: Podman, name: string) {
    this.podman = podman;
    this.name = name;
  }

  get isCloche(): boolean {
    return this.name === "cloche";
  }

  /** What podman is told with `--runtime`. */
  get runtime(): string {
    return this.isCloche ? path.join(this.podman.user.dist, "cloche") : this.name;
  }

  /** A container's name that nobody else has; the container is removed at the end of the case. */
  newName(): string {
    const name = `c${randomBytes(6).toString("hex")}`;
    this.containers.push(name);
    return name;
  }

  /** A pod's name that nobody else has; the pod is removed at the end of the case. */
  newPod(): string {
    const name = `p${randomBytes(6).toString("hex")}`;
    this.pods.push(name);
    return name;
  }

  cli(args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.podman.cli(args, this.runtime, options);
  }

  ok(...args: string[]): Promise<string> {
    return this.podman.ok(args, this.runtime);
  }

  /** Flags of every container and pod that is not in a pod already: cgroups are removed with the nest. */
  get placement(): string[] {
    return this.podman.isRootless ? [] : [`--cgroup-parent=${this.podman.nest.cgroupParent}`];
  }

  /** `podman run --rm FLAGS IMAGE ARGS`, in the foreground. */
  run(flags: string[], args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.cli(["run", "--rm", `--name=${this.newName()}`, ...this.placement, ...flags, IMAGE, ...args], options);
  }

  /** What a shell script in a container of its own prints, both streams. @throws Error when it does not end with 0 */
  async sh(script: string, ...flags: string[]): Promise<string> {
    return printed(`${flags.join(" ")} sh -c '${script}'`, await this.run(flags, ["sh", "-c", script]));
  }

  /** Starts a container in the background and returns its name; it sleeps until SIGTERM unless told otherwise. */
  async start(flags: string[] = [], args: string[] = ["sleep", "1000"]): Promise<string> {
    const name = this.newName();
    await this.ok("run", "--detach", `--name=${name}`, "--init", ...this.placement, ...flags, IMAGE, ...args);
    return name;
  }

  /** Makes a pod and returns its name. */
  async pod(flags: string[] = []): Promise<string> {
    const name = this.newPod();
    await this.ok("pod", "create", `--name=${name}`, ...this.placement, ...flags);
    return name;
  }

  /** Starts a member of a pod in the background and returns its name. */
  async member(pod: string, args: string[], flags: string[] = []): Promise<string> {
    const name = this.newName();
    await this.ok("run", "--detach", `--pod=${pod}`, `--name=${name}`, ...flags, IMAGE, ...args);
    return name;
  }

  /** podman on a terminal, of whose session it is the leader, so that it is told of the terminal's size. */
  terminal(args: string[], rows: number, columns: number): Terminal {
    const prefix = ["setsid", "--ctty", "--wait"];
    const [program = "", ...rest] = this.podman.commandLine(args, this.runtime, { TERM: "xterm" }, prefix);
    return new Terminal(program, rest, rows, columns);
  }

  /** A field of `podman inspect`, as a Go template without its braces: `.State.ExitCode`. */
  inspect(name: string, field: string): Promise<string> {
    return this.ok("container", "inspect", "--format", `{{${field}}}`, name);
  }

  /** Waits until a field of `podman inspect` has that value. @throws Error after half a minute, with the last value */
  async until(name: string, field: string, wanted: string): Promise<void> {
    await this.wait(
      `${field} of ${name} is ${wanted}`,
      () => this.inspect(name, field),
      (value) => value === wanted,
    );
  }

  /** Waits until `podman logs` contains the text. @throws Error after half a minute, with what it contains */
  async logged(name: string, wanted: string): Promise<void> {
    const logs = async () => (await this.cli(["logs", name])).stdout;
    await this.wait(`${name} has logged ${wanted}`, logs, (text) => text.includes(wanted));
  }

  private async wait(what: string, read: () => Promise<string>, isReached: (value: string) => boolean): Promise<void> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const value = await read();
      if (isReached(value)) return;
      if (performance.now() > deadline) throw new Error(`waited in vain until ${what}: ${JSON.stringify(value)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Removes what this side has made. */
  async close(): Promise<void> {
    if (this.pods.length > 0) await this.cli(["pod", "rm", "--force", "--time=0", "--ignore", ...this.pods]);
    if (this.containers.length > 0) {
      await this.cli(["rm", "--force", "--volumes", "--time=0", "--ignore", ...this.containers]);
    }
  }
}

export type Case = (side: Side) => Promise<unknown>;

export interface Suite {
  /** A case that must give the same with every runtime (and whatever the body expects of each). */
  same(name: string, body: Case, timeoutMs?: number): void;
  /** A case for cloche alone. */
  only(name: string, body: Case): void;
}

/** Declares a test file's podman: made before the first case, nothing of it left after the last. */
export function podmanSuite(options: { rootless?: boolean; needed?: Requirement[] } = {}): Suite {
  const { rootless = false, needed = [] } = options;
  const needs: Requirement[] = ["root", "busybox", "runc", "podman", "catatonit", ...needed];
  if (rootless) needs.push("newuidmap");
  let nest: Nest | undefined;
  let podman: Podman | undefined;
  const get = () => {
    if (podman === undefined) throw new Error("podman was not configured");
    return podman;
  };
  if (missing(...needs).length === 0) {
    beforeAll(async () => {
      nest = await Nest.open();
      podman = await Podman.make(nest, rootless);
    }, 60_000);
    afterAll(async () => {
      const left = podman === undefined ? [] : await leftInside(podman).catch((thrown) => [String(thrown)]);
      await nest?.close();
      expect(left).toEqual([]);
    }, 60_000);
  }
  const declare = (
    it: ReturnType<typeof requires>,
    name: string,
    body: Case,
    names: readonly string[],
    timeoutMs?: number,
  ) =>
    it(
      name,
      async () => {
        const results = await runSides(get(), body, names);
        // The last is the reference.
        for (const result of results) expect(result).toEqual(results.at(-1));
      },
      timeoutMs,
    );
  return {
    same: (name, body, timeoutMs) => declare(requires(...needs), name, body, sides, timeoutMs),
    only: (name, body) => declare(requires(...needs, "cloche"), name, body, ["cloche"]),
  };
}

/** Runs a case on each side at the same time; failures name the side. */
async function runSides(podman: Podman, body: Case, names: readonly string[]): Promise<unknown[]> {
  const outcomes = await Promise.allSettled(
    names.map(async (name) => {
      const side = new Side(podman, name);
      try {
        return await body(side);
      } catch (thrown) {
        const message = thrown instanceof Error ? thrown.message : String(thrown);
        throw new Error(`with ${name}: ${message}`, { cause: thrown });
      } finally {
        await side.close();
      }
    }),
  );
  const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  if (failures.length > 0) throw new Error(failures.map(({ message }) => message).join("\n"));
  return outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined));
}

/** What cloche has left in the nest once podman has removed all containers: state, processes, cgroups. */
async function leftInside({ nest, user, isRootless }: Podman): Promise<string[]> {
  const root = isRootless ? `${user.runtimeDirectory}/cloche` : "/run/cloche";
  const processes = `for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null`;
  const cgroups = `find /sys/fs/cgroup -mindepth 2 -path '*${nest.cgroupParent}*/libpod-*' -type d 2>/dev/null`;
  const script = `ls ${root} 2>/dev/null; ${processes} | grep -E 'conmon|cloche|sleep 1000' | grep -v grep; ${cgroups}`;
  // podman's own cleaning up goes on for a moment after its client has returned.
  const deadline = performance.now() + 10_000;
  for (;;) {
    const left = (await nest.run(["sh", "-c", script])).stdout.split("\n").filter(Boolean);
    if (left.length === 0 || performance.now() > deadline) return left;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
