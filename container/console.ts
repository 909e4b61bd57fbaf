/** Terminals: handing the master end to the caller's socket, or relaying it to our own terminal. */

import { constants } from "node:fs";
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { POLLIN, POLLOUT } from "../specutils/syscall/constants.ts";
import { followTerminalSize, NR, poll, sys, throwErrno } from "../specutils/syscall.ts";
import { sendTo } from "../specutils/unix-socket.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
/** struct termios of the kernel: four flag words, the line discipline and the control characters. */
const TERMIOS_BYTES = 64;
const F_GETFL = 3;
const F_SETFL = 4;
const EIO = 5;
const EPIPE = 32;
const EBADF = 9;
const EAGAIN = 11;
const BUFFER_BYTES = 65536;
/** VEOF, twice: as it is set in a new terminal (termios(3)). */
const END_OF_INPUT = new Uint8Array([4, 4]);

/**
 * Takes over the master end of a new terminal: to the caller's socket if there is one, else for us to relay.
 *
 * @param master as the helper sent it
 * @returns the master, with the size of our terminal, if it is ours
 * @throws ClocheError when the helper sent none, or the socket does not take it
 */
export function takeTerminal(master: number | undefined, consoleSocket: string | undefined): number | undefined {
  if (master === undefined) throw new ClocheError("cannot open a terminal: the helper sent none");
  if (consoleSocket !== undefined) {
    sendConsole(consoleSocket, master);
    return undefined;
  }
  // Before its program looks at it; as it is when stdin is no terminal.
  followTerminalSize(0, master)();
  return master;
}

/** The socket's owner answers nothing, and may read it after we are gone. @throws ClocheError */
function sendConsole(socket: string, master: number): void {
  try {
    // The name is what runc sends, and what its callers check the length of.
    sendTo(socket, new TextEncoder().encode("/dev/ptmx"), [master]);
  } catch (error) {
    throw new ClocheError(`cannot send the terminal to console socket ${JSON.stringify(socket)}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    sys(NR.close, master);
  }
}

/**
 * Relays between our stdin and stdout and the terminal of a container, until its last user has closed it and all it
 * printed has been passed on. Blocks; signals are passed on by `forwardSignals`.
 *
 * Our own terminal is in raw mode meanwhile, and gets its settings back. Its size, and each change of it, is passed on.
 *
 * @param pidfd of the process: it tells when it is over, so that a background process holding the terminal does not keep us
 */
export function relayTerminal(master: number, pidfd: number): void {
  const saved = makeRaw();
  const stopFollowing = followTerminalSize(0, master);
  try {
    relay(master, pidfd);
  } finally {
    stopFollowing();
    if (saved !== undefined) sys(NR.ioctl, 0, TCSETS, saved);
  }
}

/**
 * Neither side may keep the other waiting: a program that prints before it reads on stops reading while we do not read its
 * output. So input is written as far as the terminal takes it, and more is read only when all of it has been taken.
 */
function relay(master: number, pidfd: number): void {
  setNonBlocking(master);
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  let input: Uint8Array | undefined = new Uint8Array();
  for (;;) {
    const isWaiting: boolean = input !== undefined && input.length > 0;
    const entries = [
      { fd: master, events: isWaiting ? POLLIN | POLLOUT : POLLIN },
      { fd: pidfd, events: POLLIN },
      { fd: input === undefined || isWaiting ? -1 : 0, events: POLLIN },
    ];
    const [terminal = 0, end = 0, stdin = 0] = poll(entries, -1);
    if ((terminal & ~POLLOUT) !== 0) {
      if (!passOutput(master, buffer)) return;
    } else if (end !== 0) {
      return; // it is over, and what it printed has been read
    }
    if (input === undefined) continue;
    if (stdin !== 0) input = readInput();
    if (input !== undefined && input.length > 0) input = writeInput(master, input);
  }
}

function setNonBlocking(fd: number): void {
  const flags = throwErrno("fcntl", "terminal", sys(NR.fcntl, fd, F_GETFL));
  throwErrno("fcntl", "terminal", sys(NR.fcntl, fd, F_SETFL, flags | constants.O_NONBLOCK));
}

/** Passes one piece of output on. Returns false at the end of it (EIO: the other end is closed), or of our stdout. */
function passOutput(master: number, buffer: Uint8Array): boolean {
  const got = sys(NR.read, master, buffer, buffer.length);
  if (got === -EAGAIN) return true;
  if (got === 0 || got === -EIO) return false;
  throwErrno("read", "terminal", got);
  for (let at = 0; at < got; ) {
    const put = sys(NR.write, 1, buffer.subarray(at, got), got - at);
    // Nobody reads any more: to the program that is a terminal that was hung up (SIGHUP), once the caller closes it.
    if (put === -EPIPE) return false;
    if (put === -EAGAIN) poll([{ fd: 1, events: POLLOUT }], -1);
    else at += throwErrno("write", "stdout", put);
  }
  return true;
}

/** One piece of our stdin; undefined if there is none, or if it is a terminal that was hung up. */
function readInput(): Uint8Array | undefined {
  const bytes = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  const got = sys(NR.read, 0, bytes, bytes.length);
  if (got === -EAGAIN) return bytes.subarray(0, 0);
  if (got === -EIO || got === -EBADF) return undefined;
  // A pipe ends, a terminal does not: its program is told by the character that a user would type. It ends a line that has
  // begun the first time, and the input the second.
  return throwErrno("read", "stdin", got) === 0 ? END_OF_INPUT : bytes.subarray(0, got);
}

/** Writes what the terminal takes now. Returns the rest, or undefined when there will be no more. */
function writeInput(master: number, input: Uint8Array): Uint8Array | undefined {
  const put = sys(NR.write, master, input, input.length);
  if (put === -EAGAIN) return input;
  if (put === -EIO) return undefined;
  const rest = input.subarray(throwErrno("write", "terminal", put));
  return rest.length === 0 && input.buffer === END_OF_INPUT.buffer ? undefined : rest;
}

/** Puts our terminal into raw mode (cfmakeraw(3)) and returns its settings; undefined when stdin is none. */
function makeRaw(): Uint8Array | undefined {
  const saved = new Uint8Array(new ArrayBuffer(TERMIOS_BYTES));
  if (sys(NR.ioctl, 0, TCGETS, saved) < 0) return undefined;
  const raw = saved.slice();
  const flags = new Uint32Array(raw.buffer, 0, 4);
  const [input = 0, output = 0, control = 0, local = 0] = flags;
  flags[0] = input & ~0o2753; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  flags[1] = output & ~0o1; // OPOST
  flags[2] = (control & ~0o460) | 0o60; // CSIZE PARENB, CS8
  flags[3] = local & ~0o100113; // ECHO ECHONL ICANON ISIG IEXTEN
  sys(NR.ioctl, 0, TCSETS, raw);
  return saved;
}
