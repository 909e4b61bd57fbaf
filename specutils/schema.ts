/**
 * Building blocks for tables that say what a JSON document may contain. A table is typed by the interface that it reads
 * into, so that the compiler finds a field that is missing in either; reading with it checks and converts in one pass.
 *
 * Unknown names are ignored (config.md#extensibility). `null` is an absent value, and so is "" for an optional string:
 * engines are written in Go, which writes both for what was never set.
 */

import { SpecError } from "./errors.ts";
import type { Json } from "./json.ts";
import { quote } from "./quote.ts";

/** One kind of value: returns it converted, or fails at `place`, whose path is complete up to `depth`. */
export type Check<T> = (value: Json, place: Place, depth: number) => T;

interface RequiredField<T> {
  check: Check<T>;
  isRequired: true;
}
interface OptionalField<T> {
  check: Check<T>;
  isRequired: false;
  isAbsentWhenEmpty: boolean;
}
type Fields<T> = {
  [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? OptionalField<T[K]> : RequiredField<T[K]>;
};

/** A value inside a document that is being read. */
export class Place {
  /** Names and positions from the root to the value; longer than the current depth after a step back. */
  readonly path: (string | number)[] = [];
  readonly #document: string;

  /** @param document what the text is, as in `invalid <document>: …` */
  constructor(document: string) {
    this.#document = document;
  }

  fail(depth: number, problem: string, clause?: string): never {
    throw invalid(this.#document, formatPath(this.path.slice(0, depth)), problem, clause);
  }

  wrong(depth: number, value: Json, wanted: string, clause?: string): never {
    return this.fail(depth, `got ${brief(value)}, want ${wanted}`, clause);
  }
}

/** The error for `field` of `document`: `invalid config.json: root: is required (config.md#root)`. */
export function invalid(document: string, field: string, problem: string, clause?: string): SpecError {
  const where = field === "" ? "" : `${field}: `;
  const why = clause === undefined ? "" : ` (${clause})`;
  return new SpecError(`invalid ${document}: ${where}${problem}${why}`, field, clause);
}

/** `value` as it is shown in an error. */
export function brief(value: Json): string {
  if (typeof value === "string") return quote(value);
  return typeof value === "object" ? kindOf(value) : String(value);
}

/** Reads a whole document with a table. */
export function read<T>(document: string, value: Json, check: Check<T>): T {
  return check(value, new Place(document), 0);
}

export function required<T>(check: Check<T>): RequiredField<T> {
  return { check, isRequired: true };
}

export function optional<T>(check: Check<T>): OptionalField<T> {
  return { check, isRequired: false, isAbsentWhenEmpty: false };
}

/** An optional string for which "" means that it is not set. */
export function optionalText<T extends string>(check: Check<T>): OptionalField<T> {
  return { check, isRequired: false, isAbsentWhenEmpty: true };
}

/**
 * An object with the given fields: a function, called when the first such object comes up, as most documents have few of the
 * objects that there can be.
 * @param clause the part of the spec that describes it, shown when a required field is missing
 */
export function object<T extends object>(clause: string, fields: () => Fields<T>): Check<T> {
  let table: [string, RequiredField<unknown> | OptionalField<unknown>][] | undefined;
  return (value, place, depth) => {
    if (!isObject(value)) return place.wrong(depth, value, "an object");
    table ??= Object.entries<RequiredField<unknown> | OptionalField<unknown>>(fields());
    const result: Record<string, unknown> = {};
    for (const [name, field] of table) {
      const member = value[name];
      place.path[depth] = name;
      if (member === undefined || member === null) {
        if (field.isRequired) place.fail(depth + 1, "is required", clause);
      } else if (field.isRequired || member !== "" || !field.isAbsentWhenEmpty) {
        result[name] = field.check(member, place, depth + 1);
      }
    }
    return result as T;
  };
}

export function list<T>(check: Check<T>): Check<T[]> {
  return (value, place, depth) => {
    if (!Array.isArray(value)) return place.wrong(depth, value, "an array");
    return value.map((item, index) => {
      place.path[depth] = index;
      return check(item, place, depth + 1);
    });
  };
}

/** An object whose names are data. The result has no prototype, so that any name is only a name. */
export function record<T>(check: Check<T>, checkName: Check<string> = anyText): Check<Record<string, T>> {
  return (value, place, depth) => {
    if (!isObject(value)) return place.wrong(depth, value, "an object");
    const result: Record<string, T> = Object.create(null);
    for (const name of Object.keys(value)) {
      place.path[depth] = name;
      checkName(name, place, depth + 1);
      result[name] = check(value[name] ?? null, place, depth + 1);
    }
    return result;
  };
}

export const anyText: Check<string> = (value, place, depth) =>
  typeof value === "string" ? value : place.wrong(depth, value, "a string");

/** Text that reaches the kernel, where a NUL byte would end it early. */
export const text: Check<string> = (value, place, depth) => {
  const string = anyText(value, place, depth);
  return string.includes("\0") ? place.fail(depth, "must not contain a NUL byte") : string;
};

export const nonEmptyText: Check<string> = (value, place, depth) => {
  const string = text(value, place, depth);
  return string === "" ? place.fail(depth, "must not be empty") : string;
};

export function textLike(pattern: RegExp, wanted: string, clause?: string): Check<string> {
  return (value, place, depth) => {
    const string = text(value, place, depth);
    return pattern.test(string) ? string : place.wrong(depth, string, wanted, clause);
  };
}

export function absolutePath(clause: string): Check<string> {
  return (value, place, depth) => {
    const path = text(value, place, depth);
    return path.startsWith("/") ? path : place.wrong(depth, path, "an absolute path", clause);
  };
}

export function oneOf<T extends string>(values: readonly T[], clause?: string): Check<T> {
  const known: readonly Json[] = values;
  return (value, place, depth) =>
    known.includes(value) ? (value as T) : place.wrong(depth, value, `one of ${values.join(", ")}`, clause);
}

export const bool: Check<boolean> = (value, place, depth) =>
  typeof value === "boolean" ? value : place.wrong(depth, value, "true or false");

/** An integer that a `number` holds exactly. */
export function integer(min: number, max: number): Check<number> {
  return (value, place, depth) => {
    const fits = typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
    return fits ? value + 0 /* -0 becomes 0 */ : place.wrong(depth, value, `an integer from ${min} to ${max}`);
  };
}

/** An integer that may need 64 bits. */
export function wideInteger(min: bigint, max: bigint): Check<bigint> {
  return (value, place, depth) => {
    const exact = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
    const fits = typeof exact === "bigint" && exact >= min && exact <= max;
    return fits ? exact : place.wrong(depth, value, `an integer from ${min} to ${max}`);
  };
}

export const uint32 = integer(0, 2 ** 32 - 1);
export const int64 = wideInteger(-(2n ** 63n), 2n ** 63n - 1n);
export const uint64 = wideInteger(0n, 2n ** 64n - 1n);

/**
 * A user or group id. 2^32 - 1 is none: to the kernel it is -1, which means "leave unchanged" in setresuid(2) and
 * chown(2), so that a process asked to run as that user would stay root.
 */
export const id = integer(0, 2 ** 32 - 2);

function isObject(value: Json): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: object | null): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : "an object";
}

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** `process.args[0]`, `annotations["a.b"]`. */
function formatPath(path: readonly (string | number)[]): string {
  let formatted = "";
  for (const step of path) {
    if (typeof step === "number") formatted += `[${step}]`;
    else if (!PLAIN_NAME.test(step)) formatted += `[${quote(step)}]`;
    else formatted += formatted === "" ? step : `.${step}`;
  }
  return formatted;
}
