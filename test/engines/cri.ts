/**
 * Pods as the kubelet makes them: by the Container Runtime Interface of containerd.
 *
 * const { samePod } = criSuite();
 * samePod("a pod runs", async (cri) => { const pod = await cri.pod(); const id = await pod.start(["sleep", "9"]); … });
 */
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Containerd, type ContainerdSuite, containerdSuite } from "./containerd.ts";
import {
  type ContainerStatus,
  CriClient,
  type ExecResult,
  type NamespaceOptions,
  type PodStatus,
} from "./cri-client.ts";
import { IMAGE } from "./ctr.ts";
import type { Side } from "./sides.ts";

export interface ContainerOptions {
  name?: string;
  attempt?: number;
  namespaces?: NamespaceOptions;
  resources?: Record<string, number>;
  security?: Record<string, unknown>;
  /** Further fields of ContainerConfig. */
  more?: Record<string, unknown>;
}

/** A pod: its sandbox, and containers in it. */
export class Pod {
  readonly id: string;
  readonly logs: string;
  private readonly cri: Cri;
  private readonly config: object;
  private readonly namespaces: NamespaceOptions;
  private count = 0;
  private isRemoved = false;

  constructor(cri: Cri, id: string, config: { log_directory: string }, namespaces: NamespaceOptions) {
    this.cri = cri;
    this.id = id;
    this.config = config;
    this.logs = config.log_directory;
    this.namespaces = namespaces;
  }

  /** Creates a container and returns its id. */
  async create(command: string[], options: ContainerOptions = {}): Promise<string> {
    this.count += 1;
    const { name = `c${this.count}`, attempt = 0, resources = {}, security = {}, more = {} } = options;
    const namespaces = { ...this.namespaces, ...options.namespaces };
    const { container_id } = await this.cri.client.call<{ container_id: string }>("CreateContainer", {
      pod_sandbox_id: this.id,
      sandbox_config: this.config,
      config: {
        metadata: { name, attempt },
        image: { image: IMAGE },
        command,
        log_path: `${name}-${attempt}.log`,
        linux: { resources, security_context: { namespace_options: namespaces, ...security } },
        ...more,
      },
    });
    return container_id;
  }

  /** Creates and starts a container. */
  async start(command: string[] = ["sleep", "1000"], options: ContainerOptions = {}): Promise<string> {
    const id = await this.create(command, options);
    await this.cri.startContainer(id);
    return id;
  }

  status(): Promise<PodStatus> {
    return this.cri.podStatus(this.id);
  }

  async stop(): Promise<void> {
    await this.cri.client.call("StopPodSandbox", { pod_sandbox_id: this.id });
  }

  async remove(): Promise<void> {
    if (this.isRemoved) return;
    await this.stop();
    await this.cri.client.call("RemovePodSandbox", { pod_sandbox_id: this.id });
    this.isRemoved = true;
  }

  /** What a container has written, as the kubelet shows it: without times and stream names. */
  log(name: string, attempt = 0): string {
    const lines = readFileSync(path.join(this.logs, `${name}-${attempt}.log`), "utf8")
      .split("\n")
      .filter(Boolean);
    return lines.map((line) => line.split(" ").slice(3).join(" ")).join("\n");
  }
}

/** The interface with one side's runtime; the pods made through it are removed at the end of the case. */
export class Cri {
  readonly containerd: Containerd;
  readonly side: Side;
  readonly client: CriClient;
  private readonly pods: Pod[] = [];
  private static count = 0;

  constructor(containerd: Containerd, side: Side) {
    this.containerd = containerd;
    this.side = side;
    this.client = new CriClient(containerd.address);
  }

  /** Runs the sandbox of a new pod with the handler that has the runtime's name. */
  async pod(
    namespaces: NamespaceOptions = { network: "NODE" },
    more: Record<string, unknown> = {},
    annotations: Record<string, string> = {},
  ): Promise<Pod> {
    Cri.count += 1;
    const { nest } = this.containerd;
    const name = `pod-${this.side.name}-${Cri.count}`;
    const logs = nest.path("logs", name);
    mkdirSync(logs, { recursive: true });
    const config = {
      metadata: { name, uid: `${nest.word}-${Cri.count}`, namespace: "test", attempt: 0 },
      ...(namespaces.network === "NODE" ? {} : { hostname: name }),
      log_directory: logs,
      annotations,
      linux: {
        cgroup_parent: nest.cgroupParent,
        security_context: { namespace_options: namespaces },
        ...more,
      },
    };
    const { pod_sandbox_id } = await this.client.call<{ pod_sandbox_id: string }>("RunPodSandbox", {
      config,
      runtime_handler: this.side.name,
    });
    const pod = new Pod(this, pod_sandbox_id, config, namespaces);
    this.pods.push(pod);
    return pod;
  }

  async podStatus(id: string): Promise<PodStatus> {
    return (await this.client.call<{ status: PodStatus }>("PodSandboxStatus", { pod_sandbox_id: id })).status;
  }

  async startContainer(id: string): Promise<void> {
    await this.client.call("StartContainer", { container_id: id });
  }

  /** Sends SIGTERM, and SIGKILL after `timeout` seconds. */
  async stopContainer(id: string, timeout = 10): Promise<void> {
    await this.client.call("StopContainer", { container_id: id, timeout });
  }

  async removeContainer(id: string): Promise<void> {
    await this.client.call("RemoveContainer", { container_id: id });
  }

  async status(id: string): Promise<ContainerStatus> {
    return (await this.client.call<{ status: ContainerStatus }>("ContainerStatus", { container_id: id })).status;
  }

  /** Pid of a container's first process as containerd sees it. */
  async pid(id: string): Promise<number> {
    const request = { container_id: id, verbose: true };
    const { info } = await this.client.call<{ info: Record<string, string> }>("ContainerStatus", request);
    return JSON.parse(info["info"] ?? "{}").pid;
  }

  /** Waits until a container has ended. @throws Error after 20 seconds */
  async exited(id: string): Promise<ContainerStatus> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const status = await this.status(id);
      if (status.state === "CONTAINER_EXITED") return status;
      if (performance.now() > deadline) throw new Error(`state of ${id} is still ${status.state}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Runs a program in a container; `timeout` in seconds, none if 0. */
  exec(id: string, cmd: string[], timeout = 0): Promise<ExecResult> {
    return this.client.call<ExecResult>("ExecSync", { container_id: id, cmd, timeout });
  }

  /** What a shell script prints in a container. @throws Error when it does not end with 0 */
  async sh(id: string, script: string): Promise<string> {
    const { stdout, stderr, exit_code } = await this.exec(id, ["sh", "-c", script]);
    if (exit_code !== 0) throw new Error(`${script}: exit code ${exit_code}: ${stdout}${stderr}`);
    return stdout;
  }

  async stats(id: string): Promise<{ cpuNanoseconds: number; memoryBytes: number }> {
    interface Stats {
      stats: {
        cpu: { usage_core_nano_seconds: { value: number } };
        memory: { working_set_bytes: { value: number } };
      };
    }
    const { stats } = await this.client.call<Stats>("ContainerStats", { container_id: id });
    return {
      cpuNanoseconds: stats.cpu.usage_core_nano_seconds.value,
      memoryBytes: stats.memory.working_set_bytes.value,
    };
  }

  /** Removes the pods that the case has made, and closes the connection. */
  async close(): Promise<void> {
    try {
      await Promise.all(this.pods.map((pod) => pod.remove()));
    } finally {
      this.client.close();
    }
  }
}

export interface CriSuite {
  /** A case that must give the same with every runtime, and after which nothing of its pods is left. */
  samePod(name: string, body: (cri: Cri) => Promise<unknown>, timeoutMs?: number): void;
  /** A case of its own, which may need more than the others. */
  podTest: ContainerdSuite["test"];
}

/** Declares a test file's containerd with the CRI plugin. */
export function criSuite(): CriSuite {
  const { sameWith, test } = containerdSuite("cni");
  return {
    podTest: test,
    samePod: (name, body, timeoutMs) =>
      sameWith(name, (containerd, side) => new Cri(containerd, side), body, timeoutMs),
  };
}

/** Command lines of the programs that a container sees, kernel threads apart. */
export async function programs(cri: Cri, id: string): Promise<string[]> {
  const script = `for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2> /dev/null; echo; done`;
  return (await cri.sh(id, script))
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}
