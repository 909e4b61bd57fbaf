import { expect } from "bun:test";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";
import path from "node:path";
import { NR, poll, sys, throwErrno } from "../../specutils/syscall.ts";
import { listenForConsole } from "../helpers/console.ts";
import { mapIds } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox");
const itIsOurs = requires("root", "busybox", "cloche");

const POLLIN = 1;
const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;

/** Reads from the terminal until `wanted` has come or the other side has closed it. */
function readUntil(terminal: number, wanted: string): string {
  const bytes = Buffer.alloc(4096);
  let text = "";
  while (!text.includes(wanted)) {
    if (poll([{ fd: terminal, events: POLLIN }], 10_000)[0] === 0)
      throw new Error(`waited in vain after ${JSON.stringify(text)}`);
    let length = 0;
    try {
      length = readSync(terminal, bytes);
    } catch {
      // EIO: the last process has closed its side.
    }
    if (length === 0) break;
    text += bytes.toString("utf8", 0, length);
  }
  return text;
}

it("create --console-socket: sends a terminal of the wanted size that is the process's controlling one", () =>
  withRuntime(async (runtime) => {
    const socket = listenForConsole(path.join(runtime.directory, "console"));
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.consoleSize = { height: 33, width: 77 };
      spec.process.args = ["sh", "-c", "stty size; tty < /dev/tty; read line; echo got $line"];
    });
    const id = runtime.id();
    runtime.ok(["create", "--bundle", bundle, "--console-socket", socket.path, id]);
    const terminal = socket.receiveTerminal();
    runtime.ok(["start", id]);
    expect(readUntil(terminal, "/dev/tty\r\n")).toBe("33 77\r\n/dev/tty\r\n");
    writeSync(terminal, "hello\n");
    expect(readUntil(terminal, "got hello")).toContain("got hello\r\n");
    closeSync(terminal);
    socket.close();
    await runtime.reaches(id, "stopped");
  }));

it("create: of a container with a terminal fails without --console-socket", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
    });
    const result = runtime.run(["create", "--bundle", bundle, runtime.id()]);
    expect(result.exitCode).not.toBe(0);
    expect(runtime.leftovers()).toEqual([]);
  }));

/** Runs `run` in the foreground of a terminal of its own, of which `body` holds the master. */
async function inTerminal(
  runtime: Runtime,
  script: string,
  body: (master: number, child: ChildProcess) => unknown,
): Promise<number> {
  const master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY);
  throwErrno("ioctl", "TIOCSPTLCK", sys(NR.ioctl, master, TIOCSPTLCK, new Uint8Array(4)));
  const terminal = throwErrno(
    "ioctl",
    "TIOCGPTPEER",
    sys(NR.ioctl, master, TIOCGPTPEER, constants.O_RDWR | constants.O_NOCTTY),
  );
  try {
    resize(master, 24, 80);
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.args = ["sh", "-c", script];
    });
    const command = [runtimePath(), "--root", runtime.root, "run", "--bundle", bundle, runtime.id()];
    const child = spawn("setsid", ["--ctty", "--wait", ...command], { stdio: [terminal, terminal, terminal] });
    const ended = new Promise<number>((resolve) => child.on("exit", (code) => resolve(code ?? -1)));
    await body(master, child);
    return await ended;
  } finally {
    closeSync(terminal);
    closeSync(master);
  }
}

function resize(terminal: number, rows: number, columns: number): void {
  throwErrno(
    "ioctl",
    "TIOCSWINSZ",
    sys(NR.ioctl, terminal, TIOCSWINSZ, new Uint8Array(new Uint16Array([rows, columns, 0, 0]).buffer)),
  );
}

it("run: in the foreground passes on what is typed, the size of the terminal, and each change of it", () =>
  withRuntime(async (runtime) => {
    const script =
      "stty size; until [ \"$(stty size)\" = '40 100' ]; do sleep 0.01; done; echo resized; read line; echo got $line; exit 5";
    const code = await inTerminal(runtime, script, (master) => {
      expect(readUntil(master, "24 80\r\n")).toEndWith("24 80\r\n");
      resize(master, 40, 100);
      expect(readUntil(master, "resized\r\n")).toEndWith("resized\r\n");
      writeSync(master, "typed\r");
      // The container's terminal echoes; ours, in raw mode, does not do it again.
      expect(readUntil(master, "got typed\r\n")).toBe("typed\r\ngot typed\r\n");
    });
    expect(code).toBe(5);
  }));

/** How often the threads of a process have gone to sleep so far. */
function sleeps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    return sum + Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(status)?.[1]);
  }, 0);
}

itIsOurs("run: in the foreground sleeps while nothing happens", () =>
  withRuntime(async (runtime) => {
    await inTerminal(runtime, "echo up; read line", async (master, child) => {
      readUntil(master, "up\r\n");
      const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ")[0]);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const before = sleeps(pid);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      expect(sleeps(pid) - before).toBe(0);
      writeSync(master, "\r");
    });
  }),
);

it("create --console-socket: a terminal in a user namespace belongs to the container's user", () =>
  withRuntime(async (runtime) => {
    const socket = listenForConsole(path.join(runtime.directory, "console"));
    const bundle = runtime.bundle((spec) => {
      mapIds(spec);
      spec.process.terminal = true;
      spec.process.user = { uid: 1000, gid: 1000 };
      spec.process.args = [
        "sh",
        "-c",
        "stat -c %u $(tty); echo through > /dev/tty; test -c /dev/console && echo console",
      ];
    });
    const id = runtime.id();
    runtime.ok(["create", "--bundle", bundle, "--console-socket", socket.path, id]);
    const terminal = socket.receiveTerminal();
    runtime.ok(["start", id]);
    expect(readUntil(terminal, "console\r\n")).toBe("1000\r\nthrough\r\nconsole\r\n");
    closeSync(terminal);
    socket.close();
    await runtime.reaches(id, "stopped");
  }));

itIsOurs("run: passes more input and output on than terminals hold, and the end of its input", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.args = ["cat"];
    });
    const lines = "abcdefghijklmnopqrstuvwxyz\n".repeat(20_000);
    const result = runtime.run(["run", "--bundle", bundle, runtime.id()], { input: lines });
    expect(result.exitCode).toBe(0);
    // What cat prints, with a carriage return in each line; the terminal's echo comes on top.
    expect(result.stdout.length).toBeGreaterThanOrEqual(20_000 * 28);
  }),
);

itIsOurs("run: ends with a program that reads a terminal to its end when stdin is /dev/null", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.args = ["sh", "-c", "cat; exit 7"];
    });
    expect(runtime.run(["run", "--bundle", bundle, runtime.id()]).exitCode).toBe(7);
  }),
);

itIsOurs("run: hangs the terminal up when nobody reads its output any more", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.args = ["yes"];
    });
    const line = '"$0" --root "$1" run --bundle "$2" "$3" < /dev/null | head -n 1';
    const args = ["-c", line, runtimePath(), runtime.root, bundle, runtime.id()];
    const { stdout, stderr } = spawnSync("sh", args, { encoding: "utf8", timeout: 20_000 });
    expect([stdout, stderr]).toEqual(["y\r\n", ""]);
    expect(runtime.ok(["list", "--quiet"])).toBe("");
  }),
);
