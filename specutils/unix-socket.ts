/**
 * Unix sockets by path, synchronously and with descriptors, which node:net offers neither of (unix(7)).
 *
 * A socket's path may have 107 bytes at most. Longer ones are reached through a descriptor of their directory.
 */

import { closeSync, constants, openSync } from "node:fs";
import path from "node:path";
import { O_PATH } from "./syscall/constants.ts";
import { NR, sendMessage, sys, throwErrno } from "./syscall.ts";

const AF_UNIX = 1;
const SOCK_CLOEXEC = 0o2000000;
const ADDRESS_BYTES = 110;

/** SOCK_STREAM or SOCK_SEQPACKET of socket(2). */
export const SOCK = { STREAM: 1, SEQPACKET: 5 } as const;
export type SocketType = (typeof SOCK)[keyof typeof SOCK];

/** Makes a listening socket at `file`, which must not exist. The descriptor is close-on-exec. @throws SyscallError */
export function listenAt(file: string, type: SocketType): number {
  return withSocket(file, type, (fd, address) => {
    throwErrno("bind", file, sys(NR.bind, fd, address, address.length));
    throwErrno("listen", file, sys(NR.listen, fd, 1));
  });
}

/** Connects to the socket at `file`. The descriptor is close-on-exec. @throws SyscallError */
export function connectTo(file: string, type: SocketType): number {
  return withSocket(file, type, (fd, address) => {
    throwErrno("connect", file, sys(NR.connect, fd, address, address.length));
  });
}

/** Connects to a stream socket, sends one message with descriptors, and closes: nobody has to answer. @throws SyscallError */
export function sendTo(file: string, data: Uint8Array, fds: number[]): void {
  const socket = connectTo(file, SOCK.STREAM);
  try {
    sendMessage(socket, data, fds);
  } finally {
    closeSync(socket);
  }
}

function withSocket(file: string, type: SocketType, use: (fd: number, address: Uint8Array) => void): number {
  const directory = openSync(path.dirname(file), O_PATH | constants.O_DIRECTORY);
  const fd = throwErrno("socket", file, sys(NR.socket, AF_UNIX, type | SOCK_CLOEXEC, 0));
  try {
    use(fd, socketAddress(`/proc/self/fd/${directory}/${path.basename(file)}`));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  } finally {
    closeSync(directory);
  }
}

/** struct sockaddr_un. */
function socketAddress(name: string): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  const { read } = new TextEncoder().encodeInto(name, bytes.subarray(2, ADDRESS_BYTES - 1));
  if (read < name.length) throw new RangeError(`cannot use socket ${JSON.stringify(name)}: its name is too long`);
  return bytes;
}
