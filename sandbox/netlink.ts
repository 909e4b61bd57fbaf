/**
 * Requests to the kernel's network configuration, synchronously (netlink(7), rtnetlink(7)).
 *
 * A socket belongs to the network namespace in which it was made, and so do all requests through it.
 */
import { closeSync, constants, openSync } from "node:fs";
import { SyscallError } from "../specutils/errors.ts";
import { NR, strerror, sys, throwErrno } from "../specutils/syscall.ts";

const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const SOCK_RAW_CLOEXEC = 0o2000003;
const CLONE_NEWNET = 0x40000000;

const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
/** Asks for all objects instead of one. */
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** struct nlmsghdr: length, type, flags, sequence number, port. */
const HEADER = 16;
/** struct rtattr: length and type. */
const ATTRIBUTE_HEADER = 4;
/** A dump comes in pieces of at most this size. */
const BUFFER_BYTES = 65536;

export interface Message {
  type: number;
  /** The family's own header and, behind it, attributes. */
  body: Uint8Array;
}

/** Opens a socket in the network namespace of `file`, or in the caller's. @throws SyscallError */
export function openNetlink(file?: string): number {
  const open = () => throwErrno("socket", "netlink", sys(NR.socket, AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE));
  return file === undefined ? open() : inNetworkNamespace(file, open);
}

/** Runs `fn` in another network namespace, which is a matter of this thread alone (setns(2)). */
function inNetworkNamespace<T>(file: string, fn: () => T): T {
  const own = openSync("/proc/thread-self/ns/net", constants.O_RDONLY);
  try {
    const other = openSync(file, constants.O_RDONLY);
    try {
      throwErrno("setns", file, sys(NR.setns, other, CLONE_NEWNET));
    } finally {
      closeSync(other);
    }
    try {
      return fn();
    } finally {
      throwErrno("setns", "the own network namespace", sys(NR.setns, own, CLONE_NEWNET));
    }
  } finally {
    closeSync(own);
  }
}

/**
 * Sends one request and returns the messages that answer it.
 *
 * @param what names the request in errors
 * @throws SyscallError with the errno that the kernel answers
 */
export function request(
  socket: number,
  type: number,
  flags: number,
  header: Uint8Array,
  attributes: readonly Uint8Array[],
  what: string,
): Message[] {
  const body = concat([header, ...attributes]);
  const message = new Uint8Array(HEADER + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_ACK | flags, true);
  message.set(body, HEADER);
  throwErrno("write", what, sys(NR.write, socket, message, message.length));
  const answers: Message[] = [];
  while (!readAnswers(socket, answers, what));
  return answers;
}

/** Reads one datagram; true once the answer is complete. */
function readAnswers(socket: number, answers: Message[], what: string): boolean {
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  const length = throwErrno("read", what, sys(NR.read, socket, buffer, buffer.length));
  const view = new DataView(buffer.buffer);
  for (let at = 0; at + HEADER <= length; ) {
    const size = view.getUint32(at, true);
    if (size < HEADER || at + size > length) break;
    const type = view.getUint16(at + 4, true);
    if (type === NLMSG_DONE) return true;
    if (type === NLMSG_ERROR) {
      const errno = -view.getInt32(at + HEADER, true);
      if (errno === 0) return true;
      throw new SyscallError(`${what}: ${strerror(errno)}`, "netlink", what, errno);
    }
    answers.push({ type, body: buffer.slice(at + HEADER, at + size) });
    at += align4(size);
  }
  return false;
}

/** One attribute, padded; `type` is IFLA_* or IFA_*. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align4(ATTRIBUTE_HEADER + value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ATTRIBUTE_HEADER + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

/** A string as an attribute, with the NUL that the kernel wants behind it. */
export function textAttribute(type: number, text: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${text}\0`));
}

/** A number of 32 bits as an attribute. */
export function numberAttribute(type: number, value: number): Uint8Array {
  return attribute(type, new Uint8Array(new Uint32Array([value]).buffer));
}

/** The attributes behind the first `headerBytes` of a message, by type. */
export function attributesOf(body: Uint8Array, headerBytes: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  for (let at = align4(headerBytes); at + ATTRIBUTE_HEADER <= body.length; ) {
    const size = view.getUint16(at, true);
    if (size < ATTRIBUTE_HEADER || at + size > body.length) break;
    // The two upper bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
    found.set(view.getUint16(at + 2, true) & 0x3fff, body.slice(at + ATTRIBUTE_HEADER, at + size));
    at += align4(size);
  }
  return found;
}

function align4(length: number): number {
  return (length + 3) & ~3;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
