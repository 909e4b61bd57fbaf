/** What commands print: tables, JSON, points in time. Everything is on its way to the reader when the call returns. */

import { writeAll } from "../specutils/write-all.ts";

const STDOUT_FD = 1;

/** Narrowest column of a table, and the space between two columns, in characters; as runc prints them. */
const MIN_COLUMN = 12;
const COLUMN_GAP = 3;

/** Writes `text` to stdout as it is. */
export function print(text: string): void {
  writeAll(STDOUT_FD, text);
}

/** Writes `value` to stdout as JSON and a newline; on one line unless `indent` (spaces or text per level) is given. */
export function printJson(value: unknown, indent: number | string = 0): void {
  print(`${toJson(value, indent)}\n`);
}

/** JSON of `value` with every 64-bit integer (`bigint`) written out in full, as a number. */
export function toJson(value: unknown, indent: number | string = 0): string {
  // JSON.rawJSON is the only way to get an exact integer past JSON.stringify; TypeScript's library does not know it yet.
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return JSON.stringify(
    value,
    (_key, member: unknown) => (typeof member === "bigint" ? rawJSON(String(member)) : member),
    indent,
  );
}

/** A table with left-aligned columns; the last column is not padded. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows];
  const widths = header.map((_title, column) =>
    Math.max(MIN_COLUMN, ...lines.map((cells) => (cells[column] ?? "").length + COLUMN_GAP)),
  );
  return lines
    .map((cells) =>
      cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))),
    )
    .map((cells) => `${cells.join("")}\n`)
    .join("");
}
