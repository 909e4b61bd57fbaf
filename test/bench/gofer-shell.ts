/**
 * Places in which the bench of files works: the host, and containers with the host's root as theirs. In each a shell waits for
 * commands, runs them and says how long they took: the clock is read inside, right before and after, so that what it costs to enter a
 * container is not measured, and no runtime's `exec` is.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { makeBundle } from "../helpers/bundle.ts";
import { GROUP, inGroup } from "./gofer-group.ts";
import { FLOOR } from "./gofer-work.ts";

/** Reads a command a line; answers each with its exit code and microseconds. */
const LOOP = `while IFS= read -r line; do
  begin=$EPOCHREALTIME; eval "$line" > /dev/null; status=$?; end=$EPOCHREALTIME
  echo "$status $((\${end/[.,]/} - \${begin/[.,]/}))"
done`;

const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_KILL",
];

export interface Place {
  name: string;
  /** What runs a container, up to the global flags; none for the host itself. */
  runtime?: readonly string[];
}

export class Shell {
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #remove: () => void;
  #errors = "";
  #unread = "";
  #answer: ((line: string | undefined) => void) | undefined;

  /**
   * @param top where the bench keeps its files; `data` in it is shared, `work/NAME` is made
   * @param cpu on which all of it runs
   */
  constructor({ name, runtime }: Place, top: string, cpu: number) {
    this.name = name;
    const work = path.join(top, "work", name);
    mkdirSync(work, { recursive: true });
    const data = { D: path.join(top, "data"), F: path.join(top, FLOOR) };
    const variables = { PATH: "/usr/bin:/bin", HOME: top, ...data, TOP: work, LC_ALL: "C" };
    const shell = ["/bin/bash", "-c", LOOP];
    const stateRoot = path.join(top, `state-${name}`);
    const id = `bench-${name}`;
    const [program = "", ...flags] = runtime ?? [];
    const command =
      runtime === undefined
        ? shell
        : [program, ...flags, "--root", stateRoot, "run", "--bundle", bundleOf(top, name, shell, variables), id];
    const env = { ...process.env, ...variables };
    const [bash = "", ...args] = inGroup(cpu, command);
    this.#child = spawn(bash, args, { cwd: "/", env });
    this.#remove = () => {
      if (runtime !== undefined) spawnSync(program, [...flags, "--root", stateRoot, "delete", "--force", id]);
    };
    this.#child.stderr.on("data", (text) => {
      this.#errors = `${this.#errors}${text}`.slice(-2000);
    });
    this.#child.stdout.on("data", (text) => {
      this.#unread += text;
      const end = this.#unread.indexOf("\n");
      if (end < 0) return;
      const line = this.#unread.slice(0, end);
      this.#unread = this.#unread.slice(end + 1);
      this.#answer?.(line);
    });
    this.#child.on("close", () => this.#answer?.(undefined));
  }

  /** Makes a new, empty directory, `$W`, in the place of the last one. */
  async renew(): Promise<void> {
    await this.run(`rm -rf "$W"; W=$(mktemp -d "$TOP/XXXXXXXX")`);
  }

  /** Milliseconds that a command takes. @throws Error if it fails, or the place has ended */
  async run(command: string): Promise<number> {
    const answered = new Promise<string | undefined>((resolve) => {
      this.#answer = resolve;
    });
    this.#child.stdin.write(`${command}\n`);
    const [status, microseconds] = (await answered)?.split(" ") ?? [];
    if (status !== "0") throw new Error(`${this.name}: ${command}: ${status ?? "it has ended"}\n${this.#errors}`);
    return Number(microseconds) / 1000;
  }

  /** Lets the shell come to its end, and with it the container. */
  async end(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.on("close", resolve));
    const isOver = this.#child.exitCode !== null || this.#child.signalCode !== null;
    this.#child.stdin.end();
    if (!isOver) await closed;
    this.#remove();
  }
}

/** A bundle with `top`/root, where the host's root is bound, as its root. */
function bundleOf(top: string, name: string, args: string[], variables: Record<string, string>): string {
  return makeBundle(path.join(top, `bundle-${name}`), (spec) => {
    spec.root = { path: path.join(top, "root"), readonly: false };
    spec.mounts.push({
      destination: path.join(top, "work"),
      type: "bind",
      source: path.join(top, "work"),
      options: ["bind", "rw"],
    });
    spec.process.args = args;
    spec.process.env = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
    spec.process.capabilities = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES };
    spec.linux.cgroupsPath = `/${GROUP}/${name}`;
    spec.process.rlimits = [{ type: "RLIMIT_NOFILE", hard: 4096n, soft: 4096n }];
  });
}
