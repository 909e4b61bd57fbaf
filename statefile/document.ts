/**
 * Reading a state file: text, JSON, version. What the fields must be is the business of the record's own check.
 *
 * A file from a newer version is refused, because its fields may mean something else; nothing is guessed.
 */

import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { ClocheError, reasonOf } from "../specutils/errors.ts";

/** A state file is there and cannot be used. `path` is where it lies, `text` what could be read of it. */
export class StateFileError extends ClocheError {
  override name = "StateFileError";
  override code = "ERR_STATE_FILE";
  readonly path: string;
  readonly text: string;
  constructor(reason: string, path: string, text: string, options?: ErrorOptions) {
    super(`cannot read state file ${JSON.stringify(path)}: ${reason}`, options);
    this.path = path;
    this.text = text;
  }
}

/**
 * The text of a state file; undefined when there is none.
 *
 * @throws StateFileError when it cannot be read, or is no regular file: a FIFO would keep its readers waiting for ever, and
 *   a link leads to what is not ours
 */
export function readText(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (fstatSync(fd).isFile()) return readFileSync(fd, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code !== "ELOOP" && code !== "ENXIO") throw new StateFileError(reasonOf(error), path, "", { cause: error });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  throw new StateFileError("it is no regular file", path, "");
}

/**
 * Parses the text of the state file at `path`, which must be an object with `version` from 1 to `newestVersion`.
 *
 * @throws StateFileError
 */
export function parseDocument(path: string, text: string, newestVersion: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = text === "" ? "it is empty" : "it is truncated or was edited by hand";
    throw new StateFileError(reason, path, text, { cause: error });
  }
  if (!isObject(value)) throw new StateFileError("it holds no object", path, text);
  const version = value["version"];
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1) {
    throw new StateFileError("version: must be a positive integer", path, text);
  }
  if (version > newestVersion) {
    const reason = `version: got ${version}, this cloche knows ${newestVersion}: use the newer cloche that wrote it`;
    throw new StateFileError(reason, path, text);
  }
  return value;
}

/** Whether a value out of JSON is an object and no array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
