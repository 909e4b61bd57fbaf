/** D-Bus messages as bytes: little-endian, every value aligned to its size from the start of the message. */

/** A message; `body` is decoded only when asked for, by `decodeBody`. */
export interface Message {
  type: number;
  serial: number;
  replySerial: number | undefined;
  member: string | undefined;
  errorName: string | undefined;
  signature: string;
  body: Uint8Array;
  isLittleEndian: boolean;
}

export interface OutgoingCall {
  type: number;
  serial: number;
  path: string;
  interface: string;
  member: string;
  destination: string | undefined;
  signature: string;
  body: readonly unknown[];
}

/** A value of any type, with its type. */
export interface Variant {
  signature: string;
  value: unknown;
}

const LITTLE_ENDIAN = "l".charCodeAt(0);
const PROTOCOL_VERSION = 1;
const FIXED_HEADER_LENGTH = 16;
/** The specification's limit. */
const MAX_MESSAGE_LENGTH = 2 ** 27;
const FIELD = { path: 1, interface: 2, member: 3, errorName: 4, replySerial: 5, destination: 6, signature: 8 };

const ALIGNMENT: Readonly<Record<string, number>> = {
  y: 1,
  g: 1,
  v: 1,
  n: 2,
  q: 2,
  b: 4,
  i: 4,
  u: 4,
  h: 4,
  s: 4,
  o: 4,
  a: 4,
  x: 8,
  t: 8,
  d: 8,
  "(": 8,
  "{": 8,
};

/** One method call as bytes. */
export function encodeMessage(call: OutgoingCall): Uint8Array {
  const body = new Writer();
  for (const [index, type] of splitSignature(call.signature).entries()) body.write(type, call.body[index]);
  const fields: [number, Variant][] = [
    [FIELD.path, { signature: "o", value: call.path }],
    [FIELD.interface, { signature: "s", value: call.interface }],
    [FIELD.member, { signature: "s", value: call.member }],
  ];
  if (call.destination !== undefined) fields.push([FIELD.destination, { signature: "s", value: call.destination }]);
  if (call.signature !== "") fields.push([FIELD.signature, { signature: "g", value: call.signature }]);
  const message = new Writer();
  for (const byte of [LITTLE_ENDIAN, call.type, 0, PROTOCOL_VERSION]) message.write("y", byte);
  message.write("u", body.bytes().length);
  message.write("u", call.serial);
  message.write("a(yv)", fields);
  message.align(8);
  return Buffer.concat([message.bytes(), body.bytes()]);
}

/**
 * Length of the message at the start of `data`, or `undefined` if not even that has arrived.
 *
 * @throws RangeError if it is longer than D-Bus allows
 */
export function messageLength(data: Uint8Array): number | undefined {
  if (data.length < FIXED_HEADER_LENGTH) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const isLittleEndian = view.getUint8(0) === LITTLE_ENDIAN;
  const fields = view.getUint32(12, isLittleEndian);
  const length = align(FIXED_HEADER_LENGTH + fields, 8) + view.getUint32(4, isLittleEndian);
  if (length > MAX_MESSAGE_LENGTH) throw new RangeError(`D-Bus message of ${length} bytes`);
  return length;
}

/** Reads one whole message, as long as `messageLength` says. */
export function parseMessage(data: Uint8Array): Message {
  const isLittleEndian = data[0] === LITTLE_ENDIAN;
  const reader = new Reader(data, isLittleEndian, 1);
  const type = Number(reader.read("y"));
  reader.read("y");
  reader.read("y");
  const bodyLength = Number(reader.read("u"));
  const serial = Number(reader.read("u"));
  const fields = new Map(reader.read("a(yv)") as [number, unknown][]);
  const text = (code: number): string | undefined => fields.get(code) as string | undefined;
  return {
    type,
    serial,
    replySerial: fields.get(FIELD.replySerial) as number | undefined,
    member: text(FIELD.member),
    errorName: text(FIELD.errorName),
    signature: text(FIELD.signature) ?? "",
    body: data.subarray(data.length - bodyLength),
    isLittleEndian,
  };
}

/** The values of a message. 64-bit integers are bigint, structs arrays, dictionaries arrays of pairs, variants bare. */
export function decodeBody({ body, signature, isLittleEndian }: Message): unknown[] {
  const reader = new Reader(body, isLittleEndian, 0);
  return splitSignature(signature).map((type) => reader.read(type));
}

/** `ssa(sv)` into `s`, `s`, `a(sv)`. */
export function splitSignature(signature: string): string[] {
  const types: string[] = [];
  for (let start = 0; start < signature.length; ) {
    const end = typeEnd(signature, start);
    types.push(signature.slice(start, end));
    start = end;
  }
  return types;
}

function typeEnd(signature: string, start: number): number {
  let at = start;
  while (signature[at] === "a") at++;
  let depth = 0;
  do {
    const char = signature[at++];
    if (char === undefined) throw new SyntaxError(`D-Bus signature ${JSON.stringify(signature)} ends too early`);
    if (char === "(" || char === "{") depth++;
    if (char === ")" || char === "}") depth--;
  } while (depth > 0);
  return at;
}

class Writer {
  readonly #bytes: number[] = [];

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  align(size: number): void {
    while (this.#bytes.length % size !== 0) this.#bytes.push(0);
  }

  write(type: string, value: unknown): void {
    const code = type[0] ?? "";
    this.align(ALIGNMENT[code] ?? 1);
    if (code === "a") this.#array(type.slice(1), value as readonly unknown[]);
    else if (code === "(") this.#struct(type, value as readonly unknown[]);
    else if (code === "v") this.#variant(value as Variant);
    else if (code === "s" || code === "o") this.#text("u", String(value));
    else if (code === "g") this.#text("y", String(value));
    else if (code === "d") this.#double(Number(value));
    else this.#integer(ALIGNMENT[code] ?? 1, value === true ? 1n : value === false ? 0n : BigInt(value as number));
  }

  #integer(size: number, value: bigint): void {
    const bits = BigInt.asUintN(size * 8, value);
    for (let byte = 0; byte < size; byte++) this.#bytes.push(Number((bits >> BigInt(byte * 8)) & 0xffn));
  }

  #double(value: number): void {
    this.#bytes.push(...new Uint8Array(new Float64Array([value]).buffer));
  }

  #text(lengthType: "u" | "y", text: string): void {
    const bytes = Buffer.from(text);
    this.write(lengthType, bytes.length);
    this.#bytes.push(...bytes, 0);
  }

  #variant({ signature, value }: Variant): void {
    this.write("g", signature);
    this.write(signature, value);
  }

  #struct(type: string, values: readonly unknown[]): void {
    for (const [index, member] of splitSignature(type.slice(1, -1)).entries()) this.write(member, values[index]);
  }

  /** The length counts neither itself nor the padding before the first element. */
  #array(type: string, values: readonly unknown[]): void {
    const lengthAt = this.#bytes.length;
    this.write("u", 0);
    this.align(ALIGNMENT[type[0] ?? ""] ?? 1);
    const start = this.#bytes.length;
    for (const value of values) this.write(type, value);
    const length = this.#bytes.length - start;
    for (let byte = 0; byte < 4; byte++) this.#bytes[lengthAt + byte] = (length >> (byte * 8)) & 0xff;
  }
}

class Reader {
  readonly #view: DataView;
  readonly #isLittleEndian: boolean;
  #at: number;

  constructor(data: Uint8Array, isLittleEndian: boolean, at: number) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#isLittleEndian = isLittleEndian;
    this.#at = at;
  }

  read(type: string): unknown {
    const code = type[0] ?? "";
    const size = ALIGNMENT[code] ?? 1;
    this.#at = align(this.#at, size);
    if (code === "a") return this.#array(type.slice(1));
    if (code === "(" || code === "{") return splitSignature(type.slice(1, -1)).map((member) => this.read(member));
    if (code === "v") return this.read(String(this.read("g")));
    if (code === "s" || code === "o") return this.#text(Number(this.read("u")));
    if (code === "g") return this.#text(Number(this.read("y")));
    const at = this.#at;
    this.#at += size;
    return this.#number(code, at);
  }

  #number(code: string, at: number): unknown {
    const view = this.#view;
    const isLittleEndian = this.#isLittleEndian;
    if (code === "y") return view.getUint8(at);
    if (code === "n") return view.getInt16(at, isLittleEndian);
    if (code === "q") return view.getUint16(at, isLittleEndian);
    if (code === "i") return view.getInt32(at, isLittleEndian);
    if (code === "b") return view.getUint32(at, isLittleEndian) !== 0;
    if (code === "x") return view.getBigInt64(at, isLittleEndian);
    if (code === "t") return view.getBigUint64(at, isLittleEndian);
    if (code === "d") return view.getFloat64(at, isLittleEndian);
    if (code === "u" || code === "h") return view.getUint32(at, isLittleEndian);
    throw new SyntaxError(`unknown D-Bus type "${code}"`);
  }

  #text(length: number): string {
    const start = this.#view.byteOffset + this.#at;
    this.#at += length + 1;
    return Buffer.from(this.#view.buffer, start, length).toString("utf8");
  }

  #array(type: string): unknown[] {
    const length = Number(this.read("u"));
    this.#at = align(this.#at, ALIGNMENT[type[0] ?? ""] ?? 1);
    const end = this.#at + length;
    const values: unknown[] = [];
    while (this.#at < end) values.push(this.read(type));
    return values;
  }
}

function align(offset: number, size: number): number {
  return Math.ceil(offset / size) * size;
}
