/**
 * `org.systemd.property.<Name>` annotations: properties of the scope, as GVariant text
 * (https://docs.gtk.org/glib/gvariant-text-format.html), of which properties use strings, booleans, numbers with or
 * without a type, and arrays of those.
 */

import { SpecError } from "../../specutils/errors.ts";
import type { UnitProperty } from "./types.ts";

const PREFIX = "org.systemd.property.";
const NUMBER_TYPES: Readonly<Record<string, string>> = {
  byte: "y",
  int16: "n",
  uint16: "q",
  int32: "i",
  handle: "h",
  uint32: "u",
  int64: "x",
  uint64: "t",
  double: "d",
};
const TEXT_TYPES: Readonly<Record<string, string>> = { string: "s", objectpath: "o", signature: "g", boolean: "b" };
const RANGES: Readonly<Record<string, [bigint, bigint]>> = {
  y: [0n, 255n],
  n: [-(2n ** 15n), 2n ** 15n - 1n],
  q: [0n, 2n ** 16n - 1n],
  i: [-(2n ** 31n), 2n ** 31n - 1n],
  h: [-(2n ** 31n), 2n ** 31n - 1n],
  u: [0n, 2n ** 32n - 1n],
  x: [-(2n ** 63n), 2n ** 63n - 1n],
  t: [0n, 2n ** 64n - 1n],
};

/**
 * The properties that annotations ask for. A name ending in `Sec` takes seconds, as in unit files, and becomes the `USec`
 * that D-Bus knows.
 *
 * @throws SpecError naming the annotation whose value cannot be read
 */
export function parseAnnotations(annotations: Readonly<Record<string, string>>): UnitProperty[] {
  const properties: UnitProperty[] = [];
  for (const [key, text] of Object.entries(annotations)) {
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    if (!/^[A-Z][A-Za-z0-9]*$/.test(name)) throw annotationError(key, "is not the name of a systemd property");
    try {
      properties.push(inMicroseconds({ name, ...parseGVariant(text) }));
    } catch (error) {
      throw annotationError(key, error instanceof Error ? error.message : String(error));
    }
  }
  return properties;
}

function inMicroseconds(property: UnitProperty): UnitProperty {
  const { name, signature, value } = property;
  if (!name.endsWith("Sec") || name.endsWith("USec")) return property;
  const isNumber = typeof value === "bigint" || typeof value === "number";
  if (!isNumber || Number(value) < 0) throw new Error(`got a value of type "${signature}", want seconds`);
  const microseconds = typeof value === "bigint" ? value * 1_000_000n : BigInt(Math.round(Number(value) * 1e6));
  return { name: `${name.slice(0, -"Sec".length)}USec`, signature: "t", value: microseconds };
}

/**
 * Reads one value; integers are bigint.
 *
 * @throws Error with the position of what cannot be read
 */
export function parseGVariant(text: string): { signature: string; value: unknown } {
  const reader = new Reader(text);
  const result = reader.value();
  reader.end();
  return result;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): { signature: string; value: unknown } {
    const array = this.#match(/@a([a-z])\b/y);
    if (array) return this.#array(array[1] ?? "");
    const typed = this.#match(/@([a-z])\b/y);
    if (typed) return this.#scalar(typed[1] ?? "");
    const word = this.#match(/[a-z]+[0-9]*\b(?<!true|false|inf|nan)/y)?.[0];
    if (word !== undefined) {
      const signature = NUMBER_TYPES[word] ?? TEXT_TYPES[word];
      if (signature === undefined) throw this.#error(`unknown type "${word}"`);
      return this.#scalar(signature);
    }
    if (this.#peek() === "[") return this.#array(undefined);
    return this.#scalar(undefined);
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error("unexpected text");
  }

  #array(element: string | undefined): { signature: string; value: unknown[] } {
    if (!this.#match(/\[/y)) throw this.#error('expected "["');
    const values: unknown[] = [];
    let signature = element;
    if (!this.#match(/\]/y)) {
      do {
        const item = signature === undefined ? this.value() : this.#scalar(signature);
        signature = item.signature;
        values.push(item.value);
      } while (this.#match(/,/y));
      if (!this.#match(/\]/y)) throw this.#error('expected "," or "]"');
    }
    if (signature === undefined) throw this.#error("an empty array needs a type, such as @as []");
    return { signature: `a${signature}`, value: values };
  }

  #scalar(wanted: string | undefined): { signature: string; value: unknown } {
    const quoted = this.#match(/"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'/sy);
    if (quoted) {
      const signature = wanted ?? "s";
      if (!"sog".includes(signature)) throw this.#error(`a string is no value of type "${signature}"`);
      return { signature, value: unescapeText(quoted[1] ?? quoted[2] ?? "") };
    }
    const boolean = this.#match(/(?:true|false)\b/y)?.[0];
    if (boolean !== undefined) {
      if ((wanted ?? "b") !== "b") throw this.#error(`a boolean is no value of type "${wanted}"`);
      return { signature: "b", value: boolean === "true" };
    }
    const number = this.#match(/[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)/y)?.[0];
    if (number === undefined) throw this.#error("expected a value");
    return this.#number(number, wanted);
  }

  #number(text: string, wanted: string | undefined): { signature: string; value: bigint | number } {
    const isInteger = /^[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text);
    const signature = wanted ?? (isInteger ? "i" : "d");
    if (signature === "d") return { signature, value: Number(text) };
    const range = RANGES[signature];
    if (!isInteger || range === undefined) throw this.#error(`${text} is no value of type "${signature}"`);
    const magnitude = BigInt(text.replace(/^[+-]/, ""));
    const value = text.startsWith("-") ? -magnitude : magnitude;
    if (value < range[0] || value > range[1]) throw this.#error(`${text} is out of the range of type "${signature}"`);
    return { signature, value };
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    this.#space();
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match) this.#at = pattern.lastIndex;
    return match;
  }

  #peek(): string | undefined {
    this.#space();
    return this.#text[this.#at];
  }

  #space(): void {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #error(message: string): Error {
    return new Error(`column ${this.#at + 1}: ${message}`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

function unescapeText(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gs, (_, four, eight, char: string) => {
    const code: string | undefined = four ?? eight;
    return code === undefined ? (ESCAPES[char] ?? char) : String.fromCodePoint(Number.parseInt(code, 16));
  });
}

function annotationError(key: string, cause: string): SpecError {
  return new SpecError(`invalid annotations: ${JSON.stringify(key)}: ${cause}`, `annotations.${key}`);
}
