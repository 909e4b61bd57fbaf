/** JSON documents that callers hand over: how they are read and how it is said what is wrong with them. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { reasonOf, SpecError } from "./errors.ts";
import { type Json, JsonError, parseJson } from "./json.ts";
import { quote } from "./quote.ts";
import { type Check, invalid, read } from "./schema.ts";

/** Far above any real document (docker's are 20 to 70 KiB), and small enough to hold several times in memory. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Room for the read that finds the end. */
const SPARE_BYTES = 512;

/** Reads `text` as JSON, with a schema. @throws SpecError */
export function parseWith<T>(document: string, text: string, schema: Check<T>): T {
  let value: Json;
  try {
    value = parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) throw invalid(document, "", error.message);
    throw error;
  }
  return read(document, value, schema);
}

/**
 * Reads a regular file, so that a fifo or a device in its place cannot make the caller wait or run out of memory.
 * @throws SpecError
 */
export function readDocument(path: string, document: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(path);
  } catch (error) {
    throw new SpecError(`cannot read ${document} ${quote(path)}: ${reasonOf(error)}`, "", undefined, {
      cause: error,
    });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(document, "", "is not UTF-8");
  }
}

function readRegularFile(path: string): Uint8Array {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error("not a regular file");
    // A size may be wrong: files grow, and FUSE may say 0.
    let bytes = new Uint8Array(Math.min(status.size, MAX_BYTES) + SPARE_BYTES);
    for (let length = 0; ; ) {
      const got = readSync(fd, bytes, length, bytes.length - length, null);
      if (got === 0) return bytes.subarray(0, length);
      length += got;
      if (length > MAX_BYTES) throw new Error(`larger than ${MAX_BYTES} bytes`);
      if (length === bytes.length) {
        const larger = new Uint8Array(2 * length);
        larger.set(bytes);
        bytes = larger;
      }
    }
  } finally {
    closeSync(fd);
  }
}
