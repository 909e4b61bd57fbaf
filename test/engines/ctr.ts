/** containerd's own client, ctr, as a user of one runtime. */
import type { Result } from "../helpers/runtime.ts";
import type { Containerd } from "./containerd.ts";
import type { CommandOptions } from "./daemon.ts";
import type { Side } from "./sides.ts";

/** The image that every containerd has; the CRI plugin also makes sandboxes of it. */
export const IMAGE = "cloche.test/busybox:1";

/** Milliseconds after which what a container had must be gone. */
export const GONE_TIMEOUT_MS = 10_000;

/** ctr with one side's runtime. */
export class Ctr {
  readonly containerd: Containerd;
  readonly side: Side;
  private readonly ids: string[] = [];
  private static count = 0;

  constructor(containerd: Containerd, side: Side) {
    this.containerd = containerd;
    this.side = side;
  }

  /** An id that nobody else has; what it stands for is removed at the end of the case. */
  id(): string {
    Ctr.count += 1;
    const id = `${this.side.name}-${this.containerd.nest.word}-${Ctr.count}`;
    this.ids.push(id);
    return id;
  }

  /** Command line of `ctr run` with this side's runtime, for a container of a given id. */
  runArgs(flags: string[], id: string, args: string[]): string[] {
    const { nest } = this.containerd;
    const ours = ["--runc-binary", this.side.binary, "--runc-root", this.containerd.runtimeRoot(this.side)];
    return ["run", ...ours, "--cgroup", `${nest.cgroupParent}/${id}`, ...flags, IMAGE, id, ...args];
  }

  /** `ctr run --rm` of a container of its own. */
  run(flags: string[], args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.containerd.ctr(this.runArgs(["--rm", ...flags], this.id(), args), options);
  }

  /** What a shell script in a container of its own prints. @throws Error when it does not end with 0 */
  sh(script: string, ...flags: string[]): Promise<string> {
    return this.containerd.ok(this.runArgs(["--rm", ...flags], this.id(), ["sh", "-c", script]));
  }

  /** Starts a container in the background, which waits unless told otherwise, and returns its id. */
  async start(flags: string[] = [], args: string[] = ["sleep", "1000"]): Promise<string> {
    const id = this.id();
    await this.containerd.ok(this.runArgs(["--detach", ...flags], id, args));
    return id;
  }

  /** A command of `ctr tasks`. */
  task(args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.containerd.ctr(["tasks", ...args], options);
  }

  /** A command of `ctr tasks` that must succeed; returns its output. */
  okTask(...args: string[]): Promise<string> {
    return this.containerd.ok(["tasks", ...args]);
  }

  /** `ctr tasks exec` with an exec id of its own. */
  exec(id: string, args: string[], flags: string[] = [], options: CommandOptions = {}): Promise<Result> {
    Ctr.count += 1;
    return this.task(["exec", "--exec-id", `e${Ctr.count}`, ...flags, id, ...args], options);
  }

  /** Status of a task as `ctr tasks list` shows it; empty if there is none. */
  async status(id: string): Promise<string> {
    const lines = (await this.okTask("list")).split("\n").map((line) => line.split(/\s+/));
    return lines.find(([name]) => name === id)?.[2] ?? "";
  }

  /** Host pid of a task, which `ctr tasks list` shows as containerd's pid namespace numbers it. */
  async until(id: string, status: string): Promise<void> {
    const deadline = performance.now() + GONE_TIMEOUT_MS;
    for (;;) {
      const now = await this.status(id);
      if (now === status) return;
      if (performance.now() > deadline) throw new Error(`status of ${id} is "${now}", waited for "${status}"`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Kills a task and removes it and its container. */
  async remove(id: string): Promise<void> {
    await this.task(["delete", "--force", id]);
    await this.containerd.ctr(["containers", "delete", id]);
  }

  /** Removes what the case has made and not removed. */
  async close(): Promise<void> {
    const there = (await this.containerd.ok(["containers", "list", "--quiet"])).split("\n");
    for (const id of this.ids.filter((name) => there.includes(name))) await this.remove(id);
  }
}
