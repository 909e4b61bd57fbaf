/**
 * A strict JSON reader for documents that somebody else wrote.
 *
 * It differs from `JSON.parse` in what a runtime needs: an error tells line and column, an object that has the same name
 * twice is refused (two programs would read it differently), and an integer beyond 2^53 is a `bigint` with its exact
 * value. Everything else is RFC 8259. `JSON.parse` still does the work where none of this matters, because it is
 * native and costs a third on the first call; the reader below does the rest, and every document that is wrong.
 */

import { quote } from "./quote.ts";

/** What a document consists of. An integer beyond ±(2^53 - 1) is a `bigint`, every other number a `number`. */
export type Json = string | number | bigint | boolean | null | Json[] | { [name: string]: Json };

/** Deepest nesting that is read, in arrays and objects; deeper documents are refused, so that the stack is bounded. */
export const MAX_JSON_DEPTH = 256;

/** The text is not JSON. `line` and `column` count from 1, `column` in UTF-16 code units. */
export class JsonError extends Error {
  override name = "JsonError";
  readonly line: number;
  readonly column: number;
  constructor(problem: string, line: number, column: number) {
    super(`line ${line}, column ${column}: ${problem}`);
    this.line = line;
    this.column = column;
  }
}

/**
 * Reads one JSON document.
 * @throws JsonError when the text is not JSON, names something twice, or is nested deeper than `MAX_JSON_DEPTH`.
 */
export function parseJson(text: string): Json {
  const value = parseNatively(text);
  return value === undefined ? readJson(text) : value;
}

/** `parseJson` without the help of `JSON.parse`: the definition of what is accepted. */
export function readJson(text: string): Json {
  return new Reader(text).document();
}

/** 2^53 has sixteen digits: shorter numbers are exact in a `number`. */
const LONG_NUMBER = /[0-9]{16}/;
const NAME_BEFORE_SPACE = /"[ \t\r\n]+:/;

/**
 * What `JSON.parse` answers, when that is certain to be the reader's answer too; otherwise undefined.
 *
 * It is certain if the value, written out again, is the same text, as it is for what engines write: no name was dropped, no
 * number rounded. Else the text is searched. Of two members with one name, `JSON.parse` keeps the last, so that the value has
 * fewer names than the text. Without space before a colon, `":` ends each name of the text; other occurrences, in strings,
 * only add to the count.
 */
function parseNatively(text: string): Json | undefined {
  let value: Json;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the reader finds out where
  }
  const names = countNames(value, 0);
  if (Number.isNaN(names)) return undefined;
  if (JSON.stringify(value) === text) return value;
  if (LONG_NUMBER.test(text) || NAME_BEFORE_SPACE.test(text)) return undefined;
  return names === text.split('":').length - 1 ? value : undefined;
}

/** Number of names in all objects of `value`; NaN when it is nested too deep, or has an integer that is to be a `bigint`. */
function countNames(value: Json, depth: number): number {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value) ? Number.NaN : 0;
  if (typeof value !== "object" || value === null) return 0;
  if (depth === MAX_JSON_DEPTH) return Number.NaN;
  const isArray = Array.isArray(value);
  const members = isArray ? value : Object.values(value);
  let count = isArray ? 0 : members.length;
  for (const member of members) {
    if (typeof member !== "string") count += countNames(member, depth + 1);
  }
  return count;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    this.#skipSpace();
    const value = this.#value(0);
    if (this.#at < this.#text.length) this.#fail(`unexpected ${this.#found()} after the document`);
    return value;
  }

  /** Reads a value and the space after it. */
  #value(depth: number): Json {
    let value: Json;
    switch (this.#text[this.#at]) {
      case '"':
        value = this.#string();
        break;
      case "{":
        value = this.#object(depth);
        break;
      case "[":
        value = this.#array(depth);
        break;
      case "t":
        value = this.#literal("true", true);
        break;
      case "f":
        value = this.#literal("false", false);
        break;
      case "n":
        value = this.#literal("null", null);
        break;
      default:
        value = this.#number();
    }
    this.#skipSpace();
    return value;
  }

  #object(depth: number): Json {
    this.#open(depth);
    const members: { [name: string]: Json } = {};
    if (this.#take("}")) return members;
    do {
      const nameAt = this.#at;
      if (this.#text[nameAt] !== '"') this.#fail(`unexpected ${this.#found()}, want a name in quotes`);
      const name = this.#string();
      if (Object.hasOwn(members, name)) this.#fail(`the name ${quote(name)} appears twice`, nameAt);
      this.#skipSpace();
      if (!this.#take(":")) this.#fail(`unexpected ${this.#found()}, want ":"`);
      const value = this.#value(depth + 1);
      if (name === "__proto__") Object.defineProperty(members, name, { value, ...ORDINARY_MEMBER });
      else members[name] = value;
    } while (this.#take(","));
    if (!this.#take("}")) this.#fail(`unexpected ${this.#found()}, want "," or "}"`);
    return members;
  }

  #array(depth: number): Json {
    this.#open(depth);
    const items: Json[] = [];
    if (this.#take("]")) return items;
    do items.push(this.#value(depth + 1));
    while (this.#take(","));
    if (!this.#take("]")) this.#fail(`unexpected ${this.#found()}, want "," or "]"`);
    return items;
  }

  #open(depth: number): void {
    if (depth === MAX_JSON_DEPTH) this.#fail(`nested deeper than ${MAX_JSON_DEPTH} levels`);
    this.#at++;
    this.#skipSpace();
  }

  /** Finds where the string ends. Its escapes, which are rare, are left to `JSON.parse`. */
  #string(): string {
    const start = this.#at;
    let end = this.#text.indexOf('"', start + 1);
    while (end !== -1 && this.#isEscaped(end)) end = this.#text.indexOf('"', end + 1);
    if (end === -1) this.#fail("unexpected end of file in a string", this.#text.length);
    this.#at = end + 1;
    const content = this.#text.slice(start + 1, end);
    return NEEDS_DECODING.test(content) ? this.#decode(start) : content;
  }

  /** Whether an odd number of backslashes precedes `at`; the quote that opens the string ends the search. */
  #isEscaped(at: number): boolean {
    let backslashes = 0;
    while (this.#text[at - 1 - backslashes] === "\\") backslashes++;
    return backslashes % 2 === 1;
  }

  #decode(start: number): string {
    const quoted = this.#text.slice(start, this.#at);
    const control = quoted.search(CONTROL_CHARACTER);
    if (control !== -1) this.#fail("control character in a string", start + control);
    try {
      return JSON.parse(quoted);
    } catch {
      return this.#fail("invalid escape in a string", start);
    }
  }

  #number(): number | bigint {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) return this.#fail(`unexpected ${this.#found()}`);
    this.#at = NUMBER.lastIndex;
    const [digits, fractionOrExponent] = match;
    const value = Number(digits);
    return fractionOrExponent === "" && !Number.isSafeInteger(value) ? BigInt(digits) : value;
  }

  #literal<T extends Json>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) this.#fail(`unexpected ${this.#found()}`);
    this.#at += word.length;
    return value;
  }

  /** Steps over `mark` and the space after it, if `mark` is next. */
  #take(mark: string): boolean {
    if (this.#text[this.#at] !== mark) return false;
    this.#at++;
    this.#skipSpace();
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const next = this.#text[this.#at];
      if (next !== " " && next !== "\n" && next !== "\t" && next !== "\r") return;
      this.#at++;
    }
  }

  #found(): string {
    const codePoint = this.#text.codePointAt(this.#at);
    return codePoint === undefined ? "end of file" : quote(String.fromCodePoint(codePoint));
  }

  #fail(problem: string, at = this.#at): never {
    const before = this.#text.slice(0, at);
    throw new JsonError(problem, before.split("\n").length, at - before.lastIndexOf("\n"));
  }
}

/** An assignment to `__proto__` would change the prototype instead of adding a member. */
const ORDINARY_MEMBER = { enumerable: true, writable: true, configurable: true };

const NUMBER = /-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)/y;
const NEEDS_DECODING = /[\\\p{Cc}]/u;
// RFC 8259 forbids U+0000 to U+001F only; the other control characters may stand in a string.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL_CHARACTER = /[\u0000-\u001f]/;
