/**
 * A plan: the ops that cloche-init carries out, in order, each with words for the case that it fails.
 *
 * Plans are pure values: what they do is read off them in tests, and nothing has happened when one exists. `encodePlan`
 * turns one into the bytes that the helper takes (init/protocol.h).
 */
import { UnsupportedError } from "../specutils/errors.ts";
import {
  HEADER_BYTES,
  NO_SLOT,
  OP,
  OP_BYTES,
  PLAN_MAGIC,
  PLAN_MAX_BYTES,
  PLAN_MAX_OPS,
  PLAN_SLOTS,
  PLAN_VERSION,
} from "./protocol.ts";

/** A string, bytes that are passed on as they are, or a list of strings. */
export type OpText = string | Uint8Array | readonly string[];

/** One step. `what` says what is done, to stand before the reason of a failure: `mounts[3]: mount "/src" at "/data"`. */
export interface Op {
  code: number;
  flags: number;
  args: readonly (number | bigint)[];
  texts: readonly OpText[];
  what: string;
}

/** The name of an op code, for printing plans. */
export function opName(code: number): string {
  return Object.entries(OP).find(([, value]) => value === code)?.[0] ?? String(code);
}

/** Ops in the making, with the slots that they use. */
export class Plan {
  /** Carried out on the host, before there is a container. */
  readonly host: Op[] = [];
  /** Carried out by the container process. */
  readonly container: Op[] = [];
  /** Descriptors of ours that the helper inherits, in the order of their OP.ADOPT. */
  readonly adopted: number[] = [];
  /** Number that the first adopted descriptor has in the helper: those from 3 up to it go to the container's program. */
  readonly firstAdopted: number;
  #slots = 0;

  constructor(preserveFds = 0) {
    this.firstAdopted = 3 + preserveFds;
  }

  /** A new place in the helper's table of descriptors. @throws UnsupportedError when there are too many */
  slot(): number {
    if (this.#slots >= PLAN_SLOTS) {
      throw new UnsupportedError(`cannot plan the container: more than ${PLAN_SLOTS} mounts, devices and namespaces`);
    }
    return this.#slots++;
  }

  /** The slot of a descriptor of this process, which the helper gets a copy of. */
  adopt(fd: number, what: string): number {
    const slot = this.slot();
    this.host.push(op(OP.ADOPT, what, [slot, this.firstAdopted + this.adopted.length]));
    this.adopted.push(fd);
    return slot;
  }

  /** The op that a message of the helper's names. */
  at(index: number): Op | undefined {
    return this.host[index] ?? this.container[index - this.host.length];
  }
}

/** An op. Counts of lists are not among `args`: `list` puts them in. */
export function op(
  code: number,
  what: string,
  args: readonly (number | bigint)[] = [],
  texts: readonly OpText[] = [],
  flags = 0,
): Op {
  return { code, flags, args, texts, what };
}

/** The op that opens a path on the host into a new slot. */
export function openOp(slot: number, path: string, flags: number, what: string): Op {
  return op(OP.OPEN, what, [slot, flags, NO_SLOT], [path]);
}

const encoder = new TextEncoder();

/** Bytes of a text, and the length that the helper is told: a list's counts the NUL behind each of its strings. */
function encodeText(text: OpText): Uint8Array {
  if (text instanceof Uint8Array) return text;
  if (typeof text === "string") return encoder.encode(text);
  return encoder.encode(text.map((item) => `${item}\0`).join(""));
}

/**
 * The plan as bytes.
 *
 * @throws UnsupportedError when it is larger than the helper takes
 */
export function encodePlan(plan: Plan): Uint8Array {
  const ops = [...plan.host, ...plan.container];
  const texts: Uint8Array[] = [];
  // The first 8 bytes are the empty string, which absent texts refer to.
  let stringsBytes = 8;
  for (const { texts: given } of ops) {
    for (const text of given) {
      const encoded = encodeText(text);
      texts.push(encoded);
      stringsBytes += spaceOf(encoded);
    }
  }
  const stringsAt = HEADER_BYTES + ops.length * OP_BYTES;
  const total = stringsAt + stringsBytes;
  if (ops.length > PLAN_MAX_OPS || total > PLAN_MAX_BYTES) {
    throw new UnsupportedError(`cannot plan the container: ${ops.length} steps in ${total} bytes are too many`);
  }
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of [PLAN_MAGIC, PLAN_VERSION, total, ops.length, stringsBytes, plan.host.length]) {
    view.setUint32(at, value, true);
    at += 4;
  }
  let next = 0;
  let stringAt = 8;
  at = HEADER_BYTES;
  for (const { code, flags, args, texts: given } of ops) {
    view.setUint32(at, code, true);
    view.setUint32(at + 4, flags, true);
    let argAt = at + 8;
    for (const arg of args) {
      setArg(view, argAt, arg);
      argAt += 8;
    }
    for (let position = 0; position < given.length; position++) {
      const text = texts[next++];
      if (text === undefined) break;
      view.setUint32(at + 40 + position * 8, stringAt, true);
      view.setUint32(at + 44 + position * 8, text.length, true);
      bytes.set(text, stringsAt + stringAt);
      stringAt += spaceOf(text);
    }
    at += OP_BYTES;
  }
  return bytes;
}

/** 64 bits, negative numbers as in C. A BigInt for each of hundreds of small numbers takes several times as long. */
function setArg(view: DataView, at: number, arg: number | bigint): void {
  if (typeof arg === "bigint") {
    view.setBigUint64(at, BigInt.asUintN(64, arg), true);
    return;
  }
  // Anything else would become a 0, which is the number of root, of a slot, of no flags.
  if (!Number.isInteger(arg)) throw new RangeError(`a plan has integers only, not ${arg}`);
  view.setUint32(at, arg >>> 0, true);
  view.setInt32(at + 4, Math.floor(arg / 2 ** 32), true);
}

/** An 8-byte boundary for each text, because some are arrays of numbers; and a NUL behind each. */
function spaceOf(text: Uint8Array): number {
  return (text.length + 1 + 7) & ~7;
}
