/** Runs commands under `inject` (inject.c): which system calls they make, and what happens when one of them fails. */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import os, { constants } from "node:os";
import path from "node:path";
import { numbers } from "./host-calls.ts";

/** One system call of one process of a command. */
export interface Call {
  /** Number of the process, in the order in which they came to be; 0 is the command itself. */
  process: number;
  name: string;
  /** How often the process has made this call by then, from 1 on. */
  count: number;
  result: number;
  path: string;
  /** What the process executes: `cloche` or `cloche-init`; before its first execve, what made it. */
  program: string;
}

/** What becomes of a call: an error that it returns without having happened, or the end of its process by SIGKILL. */
export type Fault = keyof typeof constants.errno | "SIGKILL";

export interface Outcome {
  exitCode: number;
  stdout: string;
  stderr: string;
  calls: Call[];
  /** Whether the call that was to fail was made. */
  wasHit: boolean;
}

/** The first file that cloche opens for itself: what comes before is the JavaScript engine's. */
export const FIRST_FILE = "/etc/cloche/config.toml";

/** The helper before its `main`, and the call that `main` begins with. */
const START_UP = "start-up of cloche-init";
const FIRST_OF_HELPER = numbers.get("fcntl");

const TIMEOUT_MS = 20_000;

const names = new Map([...numbers].map(([name, number]) => [number, name]));

/** Compiles and runs `inject`. */
export class Injector {
  readonly #directory = mkdtempSync(path.join(os.tmpdir(), "cloche-inject-"));
  readonly #program = path.join(this.#directory, "inject");

  constructor() {
    const source = path.join(import.meta.dirname, "inject.c");
    execFileSync("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", source, "-o", this.#program], { stdio: "inherit" });
  }

  /** Runs a command, with one call made to fail if `target` says so. @throws Error when it takes too long */
  run(command: readonly string[], target?: { call: Call; fault: Fault }): Outcome {
    const [trace, out, err] = ["trace", "out", "err"].map((name) => path.join(this.#directory, name));
    if (trace === undefined || out === undefined || err === undefined) throw new Error("unreachable");
    // Files, not pipes: a container that is created keeps them open.
    const fds = [out, err].map((file) => openSync(file, "w", 0o600));
    try {
      const args = [trace, "/cloche", FIRST_FILE, ...targetArguments(target), "--", ...command];
      const { status, signal } = spawnSync(this.#program, args, {
        stdio: ["ignore", ...fds],
        timeout: TIMEOUT_MS,
        killSignal: "SIGKILL",
      });
      const stderr = readFileSync(err, "utf8");
      if (status === null || status === 125) throw new Error(`inject: ${signal ?? status}: ${stderr}`);
      const { calls, wasHit } = parseTrace(readFileSync(trace, "latin1"));
      return { exitCode: status, stdout: readFileSync(out, "utf8"), stderr, calls, wasHit };
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  }

  close(): void {
    rmSync(this.#directory, { recursive: true });
  }
}

function targetArguments(target: { call: Call; fault: Fault } | undefined): string[] {
  if (target === undefined) return ["-1", "0", "0", "0"];
  const { call, fault } = target;
  const errno = fault === "SIGKILL" ? 0 : constants.errno[fault];
  return [call.process, numbers.get(call.name) ?? -1, call.count, errno].map(String);
}

function parseTrace(text: string): { calls: Call[]; wasHit: boolean } {
  const programs = new Map<number, string>();
  const calls: Call[] = [];
  let wasHit = false;
  for (const line of text.split("\n")) {
    const [process, number, count, result, ...rest] = line.split(" ");
    if (rest.length === 0) continue;
    const executed = rest.join(" ");
    if (result === "fork") programs.set(Number(process), programs.get(Number(count)) ?? "");
    // The helper is executed through a mount of that one file, whose root it is.
    else if (result === "exec") programs.set(Number(process), executed === "/" ? START_UP : path.basename(executed));
    else if (result === "hit") wasHit = true;
    else {
      if (programs.get(Number(process)) === START_UP && Number(number) === FIRST_OF_HELPER) {
        programs.set(Number(process), "cloche-init");
      }
      calls.push({
        process: Number(process),
        name: names.get(Number(number)) ?? String(number),
        count: Number(count),
        result: Number(result),
        path: executed,
        program: programs.get(Number(process)) ?? "",
      });
    }
  }
  return { calls, wasHit };
}
