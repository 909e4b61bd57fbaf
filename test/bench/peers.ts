/** The runtimes that are measured, as they are installed, and how one command of theirs is timed. */
import { spawnSync } from "node:child_process";
import { distDirectory } from "../helpers/runtime-path.ts";

export interface Peer {
  name: string;
  /** Path or name, and flags that each command needs on this machine. */
  command: readonly string[];
  /** State root of this run. */
  root: string;
  /** What `--version` says in its first line. */
  version: string;
}

/** What is cloche, by one level or another. */
export const OURS: readonly string[] = ["cloche", "sandboxed", "served"];

/** Milliseconds after which a command counts as failed. */
const TIMEOUT_MS = 60_000;

/** cloche first, then the peers that are installed. @param only names to leave it at; all if empty */
export function findPeers(stateRoot: string, only: readonly string[]): Peer[] {
  const commands: Readonly<Record<string, readonly string[]>> = {
    // At the level that does what the others do, and at its own, with and without a gofer.
    cloche: [`${distDirectory}/cloche`, "--isolation", "oci"],
    sandboxed: [`${distDirectory}/cloche`, "--isolation", "sandboxed"],
    served: [`${distDirectory}/cloche`, "--isolation", "sandboxed", "--file-access", "served"],
    runc: ["runc"],
    crun: ["crun"],
    // Its other platforms need a kernel of the host's own; it cannot use this machine's cgroups, so that it does less work.
    runsc: ["runsc", "--platform=ptrace", "--network=none", "--ignore-cgroups"],
  };
  return Object.entries(commands).flatMap(([name, command]) => {
    const { stdout } = spawnSync(command[0] ?? "", ["--version"], { encoding: "utf8" });
    const isWanted = only.length === 0 || only.includes(name);
    const version = stdout?.split("\n", 1)[0] ?? "";
    return isWanted && version !== "" ? [{ name, command, root: `${stateRoot}/${name}`, version }] : [];
  });
}

/** The command line of one command. */
export function commandLine(peer: Peer, args: readonly string[]): [program: string, args: string[]] {
  const [program = "", ...flags] = peer.command;
  return [program, [...flags, "--root", peer.root, ...args]];
}

/** What a command took, in milliseconds: until it had ended, and of processors, its own and of what it waited for. */
export interface Taken {
  ms: number;
  cpuMs: number;
}

/** Runs one command. @throws Error if it fails */
export function measure(peer: Peer, args: readonly string[]): Taken {
  const [program, all] = commandLine(peer, args);
  const before = performance.now();
  const { exitCode, signalCode, resourceUsage } = Bun.spawnSync([program, ...all], {
    // No pipes: the container process keeps its streams, and a pipe would be read to its end.
    stdio: ["ignore", "ignore", "ignore"],
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const ms = performance.now() - before;
  if (exitCode !== 0) {
    throw new Error(`${peer.name} ${args.join(" ")}: ${signalCode ?? `exit code ${exitCode}`}`);
  }
  return { ms, cpuMs: Number(resourceUsage?.cpuTime.total ?? 0) / 1000 };
}
