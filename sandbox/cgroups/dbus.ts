/**
 * A D-Bus client with just what talking to systemd takes: method calls with answers, and signals
 * (https://dbus.freedesktop.org/doc/dbus-specification.html).
 *
 * Why not a library: `dbus-next` has not been maintained since 2021 and brings event-stream and an XML parser, its forks
 * have one author each, and all of them are made for introspected proxy objects. We need six calls with known signatures.
 */

import { connect, type Socket } from "node:net";
import { ClocheError } from "../../specutils/errors.ts";
import { decodeBody, encodeMessage, type Message, messageLength, parseMessage } from "./dbus-message.ts";

/** An error that the other side answered with; `errorName` such as `org.freedesktop.systemd1.UnitExists`. */
export class DBusError extends ClocheError {
  override name = "DBusError";
  override code = "ERR_DBUS";
  readonly errorName: string;
  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

/** The bus, and systemd's own socket: it is there without a D-Bus daemon too, for root, and works without Hello. */
const ENDPOINTS = [
  { path: "/run/dbus/system_bus_socket", isBus: true },
  { path: "/run/systemd/private", isBus: false },
];
const CONNECT_TIMEOUT_MS = 5_000;
/** Together with what else is waited for under the lock of a container less than others wait for that. */
const CALL_TIMEOUT_MS = 10_000;
const METHOD_CALL = 1;
const METHOD_RETURN = 2;
const ERROR = 3;
const SIGNAL = 4;

export interface MethodCall {
  path: string;
  interface: string;
  member: string;
  signature: string;
  body: unknown[];
}

/** Signals seen since it was made, and those still to come. */
export interface SignalCollector {
  find(matches: (body: unknown[]) => boolean, timeoutMs: number): Promise<unknown[]>;
  stop(): void;
}

/** Connects to systemd. @throws Error that names the last socket tried */
export async function connectToSystemd(): Promise<DBus> {
  let failure: unknown;
  for (const { path, isBus } of ENDPOINTS) {
    try {
      const bus = await openDBus(path, isBus ? "org.freedesktop.systemd1" : undefined);
      if (isBus) await bus.hello();
      return bus;
    } catch (error) {
      failure ??= error;
    }
  }
  const reason = failure instanceof Error ? failure.message : String(failure);
  throw new ClocheError(`systemd cannot be reached (${reason}); without --systemd-cgroup it is not needed`);
}

/** Connects to a socket; calls go to `destination`, which only a message bus needs. @throws Error if nobody answers */
export async function openDBus(path: string, destination: string | undefined): Promise<DBus> {
  return new DBus(await authenticate(path), destination);
}

/** A connection. Calls may overlap; each is answered on its own. */
export class DBus {
  readonly #socket: Socket;
  readonly #destination: string | undefined;
  readonly #pending = new Map<number, { resolve(message: Message): void; reject(error: Error): void }>();
  readonly #collectors = new Set<(message: Message) => void>();
  /** Fails when the connection does. */
  readonly #lost: Promise<never>;
  #lose: (error: Error) => void = () => {};
  #serial = 0;
  #received = Buffer.alloc(0);

  constructor(socket: Socket, destination: string | undefined) {
    this.#lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    // Who waits for a signal is told; nobody need wait for one.
    this.#lost.catch(() => {});
    this.#socket = socket;
    this.#destination = destination;
    socket.on("data", (data: Buffer) => this.#receive(data));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("D-Bus connection closed")));
  }

  /** The first call on a message bus; after it the bus may be asked to pass on systemd's signals. */
  async hello(): Promise<void> {
    const bus = { path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
    await this.#send({ ...bus, member: "Hello", signature: "", body: [] }, "org.freedesktop.DBus");
    const rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager'";
    await this.#send({ ...bus, member: "AddMatch", signature: "s", body: [rule] }, "org.freedesktop.DBus");
  }

  /** Calls a method and returns the values of the answer. @throws DBusError if the answer is an error */
  async call(call: MethodCall): Promise<unknown[]> {
    return this.#send(call, this.#destination);
  }

  collectSignals(member: string): SignalCollector {
    const seen: unknown[][] = [];
    let wake = (): void => {};
    const collect = (message: Message): void => {
      if (message.type !== SIGNAL || message.member !== member) return;
      seen.push(decodeBody(message));
      wake();
    };
    this.#collectors.add(collect);
    return {
      find: async (matches, timeoutMs) => {
        const deadline = Date.now() + timeoutMs;
        for (;;) {
          const found = seen.find(matches);
          if (found) return found;
          const arrived = new Promise<void>((resolve) => {
            wake = resolve;
          });
          await withTimeout(Promise.race([arrived, this.#lost]), deadline - Date.now(), `signal ${member}`);
        }
      },
      stop: () => this.#collectors.delete(collect),
    };
  }

  close(): void {
    this.#socket.destroy();
  }

  async #send(call: MethodCall, destination: string | undefined): Promise<unknown[]> {
    const serial = ++this.#serial;
    const answer = new Promise<Message>((resolve, reject) => this.#pending.set(serial, { resolve, reject }));
    this.#socket.write(encodeMessage({ ...call, type: METHOD_CALL, serial, destination }));
    try {
      return decodeBody(await withTimeout(answer, CALL_TIMEOUT_MS, call.member));
    } finally {
      this.#pending.delete(serial);
    }
  }

  #receive(data: Buffer): void {
    this.#received = Buffer.concat([this.#received, data]);
    for (;;) {
      const length = messageLength(this.#received);
      if (length === undefined || this.#received.length < length) return;
      const message = parseMessage(this.#received.subarray(0, length));
      this.#received = this.#received.subarray(length);
      this.#dispatch(message);
    }
  }

  #dispatch(message: Message): void {
    for (const collect of this.#collectors) collect(message);
    const waiting = this.#pending.get(message.replySerial ?? 0);
    if (message.type === METHOD_RETURN) waiting?.resolve(message);
    if (message.type === ERROR) {
      const [text] = decodeBody(message);
      waiting?.reject(new DBusError(message.errorName ?? "", String(text ?? message.errorName)));
    }
  }

  #fail(error: Error): void {
    this.#lose(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

/** SASL EXTERNAL: the other side takes our uid from the socket. Answers with the socket, ready for messages. */
function authenticate(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = "";
    const onData = (data: Buffer): void => {
      answer += data.toString("latin1");
      if (!answer.includes("\r\n")) return;
      socket.setTimeout(0);
      socket.off("data", onData);
      socket.off("error", reject);
      socket.off("close", onClose);
      if (answer.startsWith("OK ")) {
        socket.write("BEGIN\r\n");
        resolve(socket);
      } else {
        socket.destroy();
        reject(new Error(`${path} refused us: ${answer.trim()}`));
      }
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error(`no answer in time from ${path}`)));
    const onClose = (): void => reject(new Error(`${path} closed the connection`));
    socket.on("error", reject);
    socket.on("close", onClose);
    socket.on("data", onData);
    socket.on("connect", () => {
      const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString("hex");
      socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
    });
  });
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in time to ${what}`)), timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
