/**
 * containerd in a nest, and suites in which every case is run with cloche and with the reference.
 *
 * const { same } = containerdSuite();
 * same("run: gives the exit code", async (ctr) => (await ctr.run(["--rm"], ["sh", "-c", "exit 42"])).exitCode);
 */
import { afterAll, beforeAll } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { missing, type Requirement, requires } from "../helpers/requires.ts";
import type { Result } from "../helpers/runtime.ts";
import { Ctr, GONE_TIMEOUT_MS, IMAGE } from "./ctr.ts";
import { type CommandOptions, type Daemon, findProgram, Nest } from "./daemon.ts";
import { makeImageArchive } from "./image.ts";
import { findSides, type Side, sameOnAllSides } from "./sides.ts";

/** One containerd with its own root, state and address. */
export class Containerd {
  readonly nest: Nest;
  readonly sides: Side[] = findSides();
  /** Path of the socket on which it answers. */
  readonly address: string;
  private daemon: Daemon | undefined;

  private constructor(nest: Nest) {
    this.nest = nest;
    this.address = nest.path("containerd.sock");
  }

  /** Starts containerd and gives it the image, in the namespaces of ctr (`default`) and of the CRI plugin. */
  static async open(nest: Nest): Promise<Containerd> {
    const containerd = new Containerd(nest);
    writeFileSync(nest.path("config.toml"), containerd.config());
    nest.makeDirectory("cni");
    writeFileSync(nest.path("cni", "pods.conflist"), JSON.stringify(containerd.podNetwork()));
    await containerd.start();
    const archive = nest.path("image.tar");
    makeImageArchive(archive, IMAGE);
    for (const namespace of ["default", "k8s.io"]) {
      await containerd.ok(["--namespace", namespace, "images", "import", archive]);
    }
    return containerd;
  }

  /** Starts the daemon, also again on the same state. */
  async start(): Promise<void> {
    const args = [findProgram("containerd"), "--config", this.nest.path("config.toml")];
    const isReady = async () => existsSync(this.address) && (await this.ctr(["version"])).exitCode === 0;
    this.daemon = await this.nest.start(args, isReady);
  }

  /** Ends the daemon; tasks go on. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await this.daemon?.end(signal);
  }

  /** Command line of ctr for this daemon. */
  command(args: string[]): string[] {
    return ["ctr", "--address", this.address, ...args];
  }

  /** Runs one command of ctr. */
  ctr(args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.nest.run(this.command(args), options);
  }

  /** Like {@link ctr}, for what must succeed; returns its output. @throws Error with its stderr */
  ok(args: string[], options: CommandOptions = {}): Promise<string> {
    return this.nest.ok(this.command(args), options);
  }

  /** Command lines of the processes inside that belong neither to the nest nor to the daemon, by host pid. */
  processes(): Map<number, string> {
    const ours = /^(tini |sleep infinity|\S*containerd --config |nsenter )/;
    return new Map(
      this.nest.processes().flatMap((pid) => {
        const line = readCommandLine(pid);
        return line === "" || ours.test(line) ? [] : [[pid, line]];
      }),
    );
  }

  /** Host pid of the shim that has this id: a container's, or a sandbox's. @throws Error if there is none */
  shimOf(id: string): number {
    const found = [...this.processes()].find(([, line]) => line.includes("containerd-shim") && line.includes(id));
    if (found === undefined) throw new Error(`container ${id} has no shim`);
    return found[0];
  }

  /** What is there of containers: processes, mounts, cgroups, bundles, network namespaces, state of runtimes. */
  async leftovers(): Promise<string[]> {
    const script = `grep -F ' ${this.nest.directory}/' /proc/self/mountinfo
      find /sys/fs/cgroup -maxdepth 3 -type d -path '*${this.nest.cgroupParent}/*'
      cd ${this.nest.directory}
      ls -d state/io.containerd.runtime.v2.task/*/* runtime/*/*/* /run/netns/* 2> /dev/null`;
    const { stdout } = await this.nest.run(["sh", "-c", script]);
    return [...this.processes().values(), ...stdout.split("\n").filter(Boolean)];
  }

  /** Waits until nothing of any container is left. @throws Error with what is still there */
  async isClean(): Promise<void> {
    const deadline = performance.now() + GONE_TIMEOUT_MS;
    for (;;) {
      const left = await this.leftovers();
      if (left.length === 0) return;
      if (performance.now() > deadline) throw new Error(`left behind:\n${left.join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** State root of a side's runtime, to which containerd adds its namespace. */
  runtimeRoot(side: Side): string {
    return this.nest.path("runtime", side.name);
  }

  /** CNI configuration: a bridge in the nest's network namespace. */
  private podNetwork(): object {
    const ipam = {
      type: "host-local",
      ranges: [[{ subnet: "10.198.0.0/24" }]],
      dataDir: this.nest.path("addresses"),
    };
    return { cniVersion: "0.4.0", name: "pods", plugins: [{ type: "bridge", bridge: "pods", isGateway: true, ipam }] };
  }

  private config(): string {
    const runtimes = this.sides.map(
      (side) => `
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${side.name}]
      runtime_type = "io.containerd.runc.v2"
      pod_annotations = ["dev.cloche.isolation"]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${side.name}.options]
        BinaryName = "${side.binary}"
        Root = "${this.runtimeRoot(side)}"
`,
    );
    return `version = 2
root = "${this.nest.path("root")}"
state = "${this.nest.path("state")}"
[grpc]
  address = "${this.address}"
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "${IMAGE}"
    # The scores that it gives otherwise need CAP_SYS_RESOURCE, which a machine for tests may not have.
    restrict_oom_score_adj = true
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "${this.nest.path("cni")}"
${runtimes.join("")}`;
  }
}

function isZombie(pid: number): boolean {
  return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
}

function readCommandLine(pid: number): string {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    // Without arguments it is a zombie, or cloche's sandbox process.
    return line === "" && !isZombie(pid) ? readFileSync(`/proc/${pid}/comm`, "utf8").trim() : line;
  } catch {
    return ""; // it has ended
  }
}

export interface ContainerdSuite {
  /** A case that must give the same with every runtime, and after which nothing of its containers is left. */
  same(name: string, body: (ctr: Ctr) => Promise<unknown>, timeoutMs?: number): void;
  /** Like `same`, with another client than ctr. */
  sameWith<T extends { close(): Promise<void> }>(
    name: string,
    open: (containerd: Containerd, side: Side) => T,
    body: (client: T) => Promise<unknown>,
    timeoutMs?: number,
  ): void;
  /** A case of its own, which may need more than the others. */
  test(name: string, body: (containerd: Containerd) => Promise<void>, ...needed: Requirement[]): void;
}

/** Declares a test file's containerd: started before the first case, ended and cleaned up after the last. */
export function containerdSuite(...needed: Requirement[]): ContainerdSuite {
  const needs: Requirement[] = ["root", "busybox", "runc", "containerd", "tini", ...needed];
  let nest: Nest | undefined;
  let containerd: Containerd | undefined;
  if (missing(...needs).length === 0) {
    beforeAll(async () => {
      nest = await Nest.open();
      containerd = await Containerd.open(nest);
    }, 60_000);
    afterAll(() => nest?.close(), 60_000);
  }
  const get = () => {
    if (containerd === undefined) throw new Error("containerd was not started");
    return containerd;
  };
  const sameWith: ContainerdSuite["sameWith"] = (name, open, body, timeoutMs) =>
    requires(...needs)(
      name,
      async () => {
        const containerd = get();
        await sameOnAllSides(containerd.sides, async (side) => {
          const client = open(containerd, side);
          try {
            return await body(client);
          } finally {
            await client.close();
          }
        });
        await containerd.isClean();
      },
      timeoutMs,
    );
  return {
    test: (name, body, ...more) => requires(...needs, ...more)(name, () => body(get())),
    sameWith,
    same: (name, body, timeoutMs) => sameWith(name, (containerd, side) => new Ctr(containerd, side), body, timeoutMs),
  };
}
