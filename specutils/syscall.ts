/**
 * System calls that `node:fs` lacks, through the addon `cloche-syscall.node` (source: syscall/addon.c).
 *
 * The addon lies beside the executable; when cloche runs from source it is the one in `dist/`. It is loaded by the first
 * call. A failing system call is the number `-errno` out of {@link sys}; every other function throws a SyscallError.
 * All structures have the layout of 64-bit little-endian Linux, which x64 and arm64 share.
 */
import { writeSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { SyscallError, UnsupportedError } from "./errors.ts";
import { NR } from "./syscall/numbers.ts";

export { NR } from "./syscall/numbers.ts";

/** An argument of a system call: bytes and strings are passed as pointers (strings NUL-terminated), null as NULL. */
export type SysArg = number | bigint | Uint8Array | string | null;

interface Addon {
  sys(nr: number, ...args: SysArg[]): number;
  sysRow(calls: BigInt64Array): number;
  readSoon(fd: number, other: number, address: number, size: number, nanoseconds: number): number;
  addressOf(bytes: Uint8Array): bigint;
  errorName(errno: number): string;
  errorText(errno: number): string;
  spawn(path: string, argv: string[], env: string[], fds: Int32Array, capabilities: bigint): number;
  forwardSignals(pidfd: number): number;
  stopForwarding(): number;
  followTerminalSize(from: number, to: number): number;
  stopFollowing(): number;
}

let loaded: Addon | undefined;

/** Where the addon is. The directory comes from where this code lies, never from the environment or the working directory. */
function addonPath(): string {
  const isCompiled = import.meta.dirname.startsWith("/$bunfs/");
  const beside = isCompiled ? process.execPath : `${path.dirname(import.meta.dirname)}/dist/cloche`;
  return `${path.dirname(beside)}/cloche-syscall.node`;
}

function addon(): Addon {
  if (loaded === undefined) {
    const file = addonPath();
    const module = { exports: {} };
    try {
      process.dlopen(module, file);
    } catch (thrown) {
      throw new UnsupportedError(`cannot load ${JSON.stringify(file)}: reinstall cloche, or build it (npm run build)`, {
        cause: thrown,
      });
    }
    loaded = module.exports as Addon;
  }
  return loaded;
}

/**
 * Makes system call `nr` and returns its result, or `-errno`. @throws TypeError for an argument that cannot be passed on.
 *
 * From the first call on this is the addon's own function: for the engine's interpreter a wrapper that takes any number of arguments
 * and hands them on is as much work as the system call, and a gofer makes five for each request.
 */
export let sys: Addon["sys"] = (nr, ...args) => {
  sys = addon().sys;
  return sys(nr, ...args);
};

/** Added to the length by {@link readSoon}: it is the other descriptor's; it was not there at once. */
export const READ_OTHER = 2 ** 32;
export const READ_LATER = 2 ** 33;

/**
 * sched_yield(2), then read(2) of a descriptor that does not block or, if there is nothing to read, of another one (-1 for none); again
 * and again for so many nanoseconds. Returns the length (and what is above), or `-errno` of the first.
 */
export let readSoon: Addon["readSoon"] = (...args) => {
  readSoon = addon().readSoon;
  return readSoon(...args);
};

/**
 * Makes system calls one after the other with nothing of the engine's run between them; each is seven numbers, its own and its
 * arguments. Returns the result of the last, or `-errno`.
 *
 * @throws TypeError for another length
 */
export function sysRow(calls: BigInt64Array): number {
  return addon().sysRow(calls);
}

/**
 * Address of the first byte, for structures with pointers inside.
 *
 * The caller keeps `bytes` referenced for as long as the kernel uses the address. Reading `.buffer` gives small arrays,
 * which would otherwise live in the garbage-collected heap and move, memory of their own.
 */
export function addressOf(bytes: Uint8Array): bigint {
  void bytes.buffer;
  return addon().addressOf(bytes);
}

/** Name of a positive error number: `ENOENT`; `errno 4095` if it has none. */
export function errnoName(errno: number): string {
  return addon().errorName(errno) || `errno ${errno}`;
}

/** Text of a positive error number as runc prints it, in lower case: `no such file or directory`. */
export function strerror(errno: number): string {
  const text = addon().errorText(errno);
  if (text === "") {
    return `errno ${errno}`;
  }
  // "RFS specific error" keeps its acronym.
  return /^[A-Z][A-Z]/.test(text) ? text : text.charAt(0).toLowerCase() + text.slice(1);
}

/** Returns `result` unless it is `-errno`. @throws SyscallError `mount "/proc": permission denied` */
export function throwErrno(call: string, target: string, result: number): number {
  if (result >= 0) {
    return result;
  }
  const shown = target === "" ? call : `${call} ${JSON.stringify(target)}`;
  throw new SyscallError(`${shown}: ${strerror(-result)}`, call, target, -result);
}

/** Like {@link throwErrno}, for calls that are simply made again when a signal interrupts them. */
function retry(call: string, target: string, attempt: () => number): number {
  for (;;) {
    const result = attempt();
    if (result !== -constants.errno.EINTR) {
      return throwErrno(call, target, result);
    }
  }
}

// ---- Descriptors and files ----

/** openat2(2). `flags` without O_CLOEXEC make a descriptor that children inherit. @throws SyscallError */
export function openat2(dirfd: number, file: string, flags: number, mode: number, resolve: number): number {
  const how = new BigUint64Array([BigInt(flags), BigInt(mode), BigInt(resolve)]);
  const bytes = new Uint8Array(how.buffer);
  return retry("openat2", file, () => sys(NR.openat2, dirfd, file, bytes, bytes.length));
}

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE: nobody changes the content, or these seals, any more. */
const ALL_SEALS = 0xf;

/** An anonymous, sealed file with `content`, close-on-exec; `name` shows up in /proc only. @throws SyscallError */
export function memfd(name: string, content: Uint8Array): number {
  const fd = throwErrno("memfd_create", name, sys(NR.memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  try {
    for (let written = 0; written < content.length; ) {
      written += writeSync(fd, content, written);
    }
    throwErrno("fcntl", name, sys(NR.fcntl, fd, F_ADD_SEALS, ALL_SEALS));
  } catch (thrown) {
    sys(NR.close, fd);
    throw thrown;
  }
  return fd;
}

/** Waits until one of the descriptors is ready or `timeoutMs` (-1: for ever) is over; returns their `revents`. poll(2) */
export function poll(entries: { fd: number; events: number }[], timeoutMs: number): number[] {
  const fds = new DataView(new ArrayBuffer(entries.length * 8));
  entries.forEach(({ fd, events }, index) => {
    fds.setInt32(index * 8, fd, true);
    fds.setInt16(index * 8 + 4, events, true);
  });
  const bytes = new Uint8Array(fds.buffer);
  const deadline = performance.now() + timeoutMs;
  retry("ppoll", "", () => {
    const remainingMs = Math.max(0, deadline - performance.now());
    const seconds = Math.trunc(remainingMs / 1000);
    const nanoseconds = Math.trunc((remainingMs - seconds * 1000) * 1e6);
    const timeout = new BigInt64Array([BigInt(seconds), BigInt(nanoseconds)]);
    return sys(NR.ppoll, bytes, entries.length, timeoutMs < 0 ? null : new Uint8Array(timeout.buffer), null, 8);
  });
  return entries.map((_, index) => fds.getInt16(index * 8 + 6, true));
}

// ---- Mounts ----

/** mount(2). `null` stands for what the kind of mount does not need. @throws SyscallError that names the target */
export function mount(source: string | null, target: string, type: string | null, flags: number, data: string | null) {
  throwErrno("mount", target, sys(NR.mount, source, target, type, flags, data));
}

/** umount2(2). @throws SyscallError */
export function umount(target: string, flags: number): void {
  throwErrno("umount2", target, sys(NR.umount2, target, flags));
}

// ---- Processes ----

const ALL_CAPABILITIES = 0xffffffffffffffffn;

/**
 * Starts a program with exactly the given descriptors, `[number in the child, our number]`; all others are closed, 0 to 2
 * included. Its signal mask is empty and every signal has its default action, whatever this process ignores.
 *
 * @param capabilities its bounding set, bit n for capability n: even as root it has no others. All there are unless given
 * @returns its pid; the caller waits for it with {@link waitPid}
 * @throws SyscallError if it cannot be executed
 */
export function spawnHelper(
  file: string,
  argv: string[],
  env: string[],
  fds: [childFd: number, parentFd: number][],
  capabilities: bigint = ALL_CAPABILITIES,
): number {
  const ascending = fds.toSorted(([a], [b]) => a - b).flat();
  return throwErrno("execve", file, addon().spawn(file, argv, env, new Int32Array(ascending), capabilities));
}

const WNOHANG = 1;

/** How a process ended: exactly one of `exitCode` and `signal` is there. */
export interface ProcessEnd {
  pid: number;
  exitCode?: number;
  signal?: number;
}

/**
 * Waits until a child has ended and reaps it; with `noHang` returns undefined if it has not ended yet. Blocks the thread.
 *
 * @param pid of a child, or -1 for any child
 * @throws SyscallError with ECHILD if there is no such child
 */
export function waitPid(pid: number, options?: { noHang?: boolean }): ProcessEnd | undefined {
  const status = new Uint32Array(new ArrayBuffer(4));
  const bytes = new Uint8Array(status.buffer);
  const flags = options?.noHang === true ? WNOHANG : 0;
  const reaped = retry("wait4", String(pid), () => sys(NR.wait4, pid, bytes, flags, null));
  if (reaped === 0) {
    return undefined;
  }
  const [word = 0] = status;
  const signal = word & 0x7f;
  return signal === 0 ? { pid: reaped, exitCode: (word >> 8) & 0xff } : { pid: reaped, signal };
}

/** Sends a signal, 0 to 64, to a process that cannot have been replaced: a child of ours that was not reaped. kill(2) */
export function kill(pid: number, signal: number): void {
  throwErrno("kill", String(pid), sys(NR.kill, pid, signal));
}

/** A descriptor, close-on-exec, that stands for this very process even if its pid is used again. @throws SyscallError */
export function pidfdOpen(pid: number): number {
  return throwErrno("pidfd_open", String(pid), sys(NR.pidfd_open, pid, 0));
}

/** Sends a signal, 0 to 64. @throws SyscallError with ESRCH if the process is gone */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  throwErrno("pidfd_send_signal", String(pidfd), sys(NR.pidfd_send_signal, pidfd, signal, null, 0));
}

/**
 * Passes on to a process every signal that this process gets and that can be meant for it, until the returned function is
 * called. Works while JavaScript is blocked in {@link waitPid}; signals for which the engine has a handler are left alone.
 * Listeners of libraries (signal-exit's, of proper-lockfile) are removed: they would end this process instead.
 *
 * @throws SyscallError if the process is gone, or signals are forwarded already
 */
export function forwardSignals(pid: number): () => void {
  const pidfd = pidfdOpen(pid);
  for (const name of process.eventNames()) {
    if (typeof name === "string" && name.startsWith("SIG")) process.removeAllListeners(name);
  }
  const result = addon().forwardSignals(pidfd);
  if (result < 0) {
    sys(NR.close, pidfd);
    throwErrno("forward signals to", String(pid), result);
  }
  return () => {
    addon().stopForwarding();
    sys(NR.close, pidfd);
  };
}

/**
 * Gives terminal `to` the size of terminal `from`, now and whenever that changes (SIGWINCH), until the returned function is
 * called. Works while JavaScript is blocked in a system call. Does nothing where `from` is no terminal.
 */
export function followTerminalSize(from: number, to: number): () => void {
  const isFollowing = addon().followTerminalSize(from, to) >= 0;
  return () => {
    if (isFollowing) addon().stopFollowing();
  };
}

// ---- Messages with descriptors ----

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PASSCRED = 16;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** The kernel's limit of descriptors in one message (SCM_MAX_FD). */
const MAX_MESSAGE_FDS = 253;

/** struct msghdr is 56 bytes long, struct iovec 16; they lie one behind the other. */
const MSG_CONTROL_LENGTH = 40;
const MSG_FLAGS = 48;
const IOVEC = 56;
const MSGHDR_AND_IOVEC = 72;
/** struct cmsghdr: its length (8 bytes), level and type (4 bytes each). */
const CMSG_HEADER = 16;
const UCRED_LENGTH = 12;

function align8(length: number): number {
  return (length + 7) & ~7;
}

/** msghdr for one piece of data and one control buffer (length 0: none). Both must stay referenced during the call. */
function messageHeader(data: Uint8Array, control: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(MSGHDR_AND_IOVEC));
  const bytes = new Uint8Array(header.buffer);
  header.setBigUint64(16, addressOf(bytes) + BigInt(IOVEC), true);
  header.setBigUint64(24, 1n, true);
  if (control.length > 0) {
    header.setBigUint64(32, addressOf(control), true);
    header.setBigUint64(MSG_CONTROL_LENGTH, BigInt(control.length), true);
  }
  header.setBigUint64(IOVEC, addressOf(data), true);
  header.setBigUint64(IOVEC + 8, BigInt(data.length), true);
  return bytes;
}

/** Two connected sockets that keep message boundaries, close-on-exec. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(new ArrayBuffer(8));
  const bytes = new Uint8Array(pair.buffer);
  throwErrno("socketpair", "", sys(NR.socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bytes));
  const [one = -1, other = -1] = pair;
  return [one, other];
}

/** From now on messages received on `fd` carry the sender's pid, as the kernel knows it. */
export function setPassCredentials(fd: number): void {
  const on = new Uint8Array(new Int32Array([1]).buffer);
  throwErrno("setsockopt", String(fd), sys(NR.setsockopt, fd, SOL_SOCKET, SO_PASSCRED, on, on.length));
}

/**
 * Sends one message, with copies of up to 253 descriptors; never raises SIGPIPE.
 *
 * @throws SyscallError, with EPIPE or ECONNRESET when nobody reads any more
 */
export function sendMessage(fd: number, data: Uint8Array, fds: number[] = []): void {
  const length = CMSG_HEADER + fds.length * 4;
  const control = new DataView(new ArrayBuffer(fds.length === 0 ? 0 : align8(length)));
  if (fds.length > 0) {
    control.setBigUint64(0, BigInt(length), true);
    control.setInt32(8, SOL_SOCKET, true);
    control.setInt32(12, SCM_RIGHTS, true);
    fds.forEach((sent, index) => {
      control.setInt32(CMSG_HEADER + index * 4, sent, true);
    });
  }
  const header = messageHeader(data, new Uint8Array(control.buffer));
  const sent = retry("sendmsg", String(fd), () => sys(NR.sendmsg, fd, header, MSG_NOSIGNAL));
  if (sent !== data.length) {
    throw new SyscallError(`sendmsg "${fd}": message was cut`, "sendmsg", String(fd), constants.errno.EMSGSIZE);
  }
}

/** One received message. No data means that the other side has closed; `pid` is there after {@link setPassCredentials}. */
export interface Message {
  data: Uint8Array;
  fds: number[];
  pid?: number;
}

/**
 * Waits for one message of up to `maxBytes`. The descriptors in it are the caller's to close; they are close-on-exec.
 *
 * @throws SyscallError, with EMSGSIZE if data or descriptors did not fit (those that did are closed)
 */
export function receiveMessage(fd: number, maxBytes: number): Message {
  const data = new Uint8Array(new ArrayBuffer(maxBytes));
  const control = new Uint8Array(
    new ArrayBuffer(CMSG_HEADER + align8(MAX_MESSAGE_FDS * 4) + CMSG_HEADER + align8(UCRED_LENGTH)),
  );
  const header = messageHeader(data, control);
  const received = retry("recvmsg", String(fd), () => sys(NR.recvmsg, fd, header, MSG_CMSG_CLOEXEC));
  const view = new DataView(header.buffer);
  const message = readControl(control, Number(view.getBigUint64(MSG_CONTROL_LENGTH, true)));
  if ((view.getInt32(MSG_FLAGS, true) & (MSG_TRUNC | MSG_CTRUNC)) !== 0) {
    for (const extra of message.fds) {
      sys(NR.close, extra);
    }
    throw new SyscallError(`recvmsg "${fd}": message too long`, "recvmsg", String(fd), constants.errno.EMSGSIZE);
  }
  return { ...message, data: data.subarray(0, received) };
}

/** Descriptors and sender out of the control messages. The kernel wrote them, so their lengths are right. */
function readControl(bytes: Uint8Array, length: number): { fds: number[]; pid?: number } {
  const control = new DataView(bytes.buffer);
  const found: { fds: number[]; pid?: number } = { fds: [] };
  for (let at = 0; at + CMSG_HEADER <= length; ) {
    const end = at + Number(control.getBigUint64(at, true));
    const type = control.getInt32(at + 12, true);
    if (type === SCM_RIGHTS) {
      for (let entry = at + CMSG_HEADER; entry + 4 <= end; entry += 4) {
        found.fds.push(control.getInt32(entry, true));
      }
    } else if (type === SCM_CREDENTIALS) {
      found.pid = control.getInt32(at + CMSG_HEADER, true);
    }
    at = align8(end);
  }
  return found;
}
