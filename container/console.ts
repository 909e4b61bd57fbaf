/** Terminals: handing the master end to the caller's socket, or relaying it to our own terminal. */
import { ClocheError, messageOf } from "../specutils/errors.ts";
import { followTerminalSize, NR, poll, sys, throwErrno } from "../specutils/syscall.ts";
import { sendTo } from "../specutils/unix-socket.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
/** struct termios of the kernel: four flag words, the line discipline and the control characters. */
const TERMIOS_BYTES = 64;
const POLLIN = 1;
const POLLHUP = 0x10;
const EIO = 5;
const EAGAIN = 11;
const BUFFER_BYTES = 65536;

/** Sends the master end to a socket of the caller's, which answers nothing and may be read after we are gone. @throws ClocheError */
export function sendConsole(socket: string, master: number): void {
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

/** Gives a container's terminal the size of ours, before its program looks at it; as it is when stdin is no terminal. */
export function copyTerminalSize(master: number): void {
  followTerminalSize(0, master)();
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

function relay(master: number, pidfd: number): void {
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  let isInputOpen = true;
  for (;;) {
    const entries = [
      { fd: master, events: POLLIN },
      { fd: pidfd, events: POLLIN },
      { fd: isInputOpen ? 0 : -1, events: POLLIN },
    ];
    const [output = 0, end = 0, input = 0] = poll(entries, -1);
    if (output !== 0) {
      if (!pump(master, 1, buffer)) return;
    } else if (end !== 0) {
      return; // it is over, and what it printed has been read
    }
    if ((input & (POLLIN | POLLHUP)) !== 0 && !pump(0, master, buffer)) isInputOpen = false;
  }
}

/** Passes one piece on. Returns false at the end of `from`; a terminal whose other end is closed reports EIO. */
function pump(from: number, to: number, buffer: Uint8Array): boolean {
  const got = sys(NR.read, from, buffer, buffer.length);
  if (got === -EAGAIN) return true;
  if (got <= 0) {
    if (got !== 0 && got !== -EIO) throwErrno("read", "terminal", got);
    return false;
  }
  for (let at = 0; at < got; ) {
    const put = sys(NR.write, to, buffer.subarray(at, got), got - at);
    if (put === -EAGAIN) poll([{ fd: to, events: 4 }], -1);
    else at += throwErrno("write", "terminal", put);
  }
  return true;
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
