import { expect } from "bun:test";
import { closeSync, readSync, writeSync } from "node:fs";
import path from "node:path";
import { listenForConsole } from "../helpers/console.ts";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");

/** Reads from the terminal until `wanted` has come or the other side has closed it. */
function readUntil(terminal: number, wanted: string): string {
  const bytes = Buffer.alloc(4096);
  let text = "";
  while (!text.includes(wanted)) {
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
