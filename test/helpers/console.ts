/** The engine's side of `--console-socket`: a listening socket that is sent the master of the container's terminal. */
import { closeSync } from "node:fs";
import { NR, poll, receiveMessage, sys, throwErrno } from "../../specutils/syscall.ts";

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const POLLIN = 1;

export interface ConsoleSocket {
  /** What to pass as `--console-socket`. */
  path: string;
  /** The terminal's master, once it was sent. The caller closes it. @throws Error after 10 seconds */
  receiveTerminal(): number;
  close(): void;
}

/** struct sockaddr_un of a path, at most 107 bytes. */
function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  if (name.length > 107) {
    throw new Error(`path of a socket is too long: ${path}`);
  }
  return new Uint8Array([AF_UNIX, 0, ...name, 0]);
}

/** Listens at `path`, which must not exist yet. */
export function listenForConsole(path: string): ConsoleSocket {
  const listener = throwErrno("socket", path, sys(NR.socket, AF_UNIX, SOCK_STREAM_CLOEXEC, 0));
  const address = unixAddress(path);
  throwErrno("bind", path, sys(NR.bind, listener, address, address.length));
  throwErrno("listen", path, sys(NR.listen, listener, 1));
  return {
    path,
    receiveTerminal() {
      if (poll([{ fd: listener, events: POLLIN }], 10_000)[0] === 0) {
        throw new Error(`nobody connected to ${path}`);
      }
      const connection = throwErrno("accept4", path, sys(NR.accept4, listener, null, null, SOCK_STREAM_CLOEXEC & ~1));
      // The name of the terminal's device comes along; only the descriptor counts.
      const [terminal] = receiveMessage(connection, 4096).fds;
      closeSync(connection);
      if (terminal === undefined) {
        throw new Error(`no descriptor came through ${path}`);
      }
      return terminal;
    },
    close: () => closeSync(listener),
  };
}
