/** Changes to the text of a TOML document that leave every other byte of it, comments too, as it is. */

import { messageOf } from "../../specutils/errors.ts";
import type { Json } from "../../specutils/json.ts";
import type { Document, Insertion } from "./engine.ts";
import { isObject } from "./json-edit.ts";

/** @throws Error with line and column if the text is no TOML */
export async function parseToml(text: string): Promise<Document> {
  const { parse, TomlError } = await import("smol-toml");
  try {
    // Dates are the only values of TOML that JSON lacks; nothing here looks at them.
    return parse(text, { integersAsBigInt: "asNeeded" }) as Document;
  } catch (error) {
    if (!(error instanceof TomlError)) {
      throw error;
    }
    // The library's message goes on with an excerpt of the file, over several lines.
    const reason = messageOf(error)
      .split("\n", 1)[0]
      ?.replace(/^Invalid TOML document: /, "");
    throw new Error(`line ${error.line}, column ${error.column}: ${reason}`, { cause: error });
  }
}

/** The value at `keys`, undefined if one of them is not there. */
export function valueAt(document: Document, ...keys: readonly string[]): Json | undefined {
  let value: Json | undefined = document;
  for (const key of keys) {
    value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }
  return value;
}

/** A copy of `document` without the value at `keys`, and without the tables that are empty for lack of it. */
export function withoutValue(document: Document, ...keys: readonly string[]): Document {
  const [key = "", ...rest] = keys;
  const { [key]: value, ...others } = document;
  if (value === undefined || rest.length === 0) {
    return others;
  }
  const inner = isObject(value) ? withoutValue(value, ...rest) : value;
  return isObject(inner) && Object.keys(inner).length === 0 ? others : { ...document, [key]: inner };
}

/** `lines` at the end of the text, after an empty line: tables can stand anywhere, and there they are in nobody's way. */
export function appendLines(text: string, lines: readonly string[]): Insertion {
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  const before = text === "" ? "" : text.endsWith("\n") ? newline : newline + newline;
  return { offset: text.length, text: before + lines.map((line) => line + newline).join("") };
}

/** The text without the tables whose headers begin with `keys`: each from its header to the next one, or to the end. */
export function removeTables(text: string, keys: readonly string[]): string {
  let isInside = false;
  return text
    .split(/(?<=\n)/)
    .filter((line) => {
      const header = /^\s*\[([^[\]]+)\]\s*(?:#.*)?$/.exec(line)?.[1];
      if (header !== undefined) {
        const parts = [...header.matchAll(/"([^"]*)"|'([^']*)'|([\w-]+)/g)].map(([, a, b, c]) => a ?? b ?? c);
        isInside = keys.every((key, index) => parts[index] === key);
      }
      return !isInside;
    })
    .join("");
}
