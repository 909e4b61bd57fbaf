/** The user's side of a terminal: a client is started on it, types are sent, what it shows is read, its size is changed. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { POLLIN } from "../../specutils/syscall/constants.ts";
import { NR, poll, sys, throwErrno } from "../../specutils/syscall.ts";

const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const FLAGS = constants.O_RDWR | constants.O_NOCTTY;

/** Milliseconds to wait for output or for the end. */
const TIMEOUT_MS = 30_000;

export class Terminal {
  private readonly master = openSync("/dev/ptmx", FLAGS);
  private readonly child: ChildProcess;
  private readonly ended: Promise<number | null>;
  /** Everything that was shown. */
  shown = "";

  /** Starts a program whose three streams are the terminal. */
  constructor(program: string, args: string[], rows: number, columns: number) {
    throwErrno("ioctl", "TIOCSPTLCK", sys(NR.ioctl, this.master, TIOCSPTLCK, new Uint8Array(4)));
    this.setSize(rows, columns);
    const peer = throwErrno("ioctl", "TIOCGPTPEER", sys(NR.ioctl, this.master, TIOCGPTPEER, FLAGS));
    this.child = spawn(program, args, { stdio: [peer, peer, peer] });
    closeSync(peer);
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
  }

  /** Changes the size, of which the program is told by SIGWINCH, as it is not in the terminal's session. */
  resize(rows: number, columns: number): void {
    this.setSize(rows, columns);
    this.child.kill("SIGWINCH");
  }

  /** Sends the program a signal. */
  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  type(text: string): void {
    writeSync(this.master, text);
  }

  /** Reads until the text was shown. @throws Error after half a minute, with what was shown */
  async shows(wanted: string | RegExp): Promise<void> {
    const deadline = performance.now() + TIMEOUT_MS;
    while (typeof wanted === "string" ? !this.shown.includes(wanted) : !wanted.test(this.shown)) {
      if (performance.now() > deadline)
        throw new Error(`waited in vain for ${wanted} in ${JSON.stringify(this.shown)}`);
      if (!this.read()) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Waits until the program has ended and closes the terminal; returns the exit code, null if a signal ended it. */
  async close(): Promise<number | null> {
    const late = setTimeout(() => this.child.kill("SIGKILL"), TIMEOUT_MS);
    const code = await this.ended;
    clearTimeout(late);
    while (this.read()) {
      // the rest of what it has shown
    }
    closeSync(this.master);
    return code;
  }

  private setSize(rows: number, columns: number): void {
    const size = new Uint8Array(new Uint16Array([rows, columns, 0, 0]).buffer);
    throwErrno("ioctl", "TIOCSWINSZ", sys(NR.ioctl, this.master, TIOCSWINSZ, size));
  }

  private read(): boolean {
    if (poll([{ fd: this.master, events: POLLIN }], 0)[0] === 0) return false;
    const bytes = Buffer.alloc(65_536);
    try {
      const length = readSync(this.master, bytes);
      this.shown += bytes.toString("utf8", 0, length);
      return length > 0;
    } catch {
      return false; // EIO: nobody has the other side
    }
  }
}
