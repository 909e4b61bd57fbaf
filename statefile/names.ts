/**
 * Container ids and the names of their files under the state root.
 *
 *     <sandboxId>_<containerId>.state   the saved container
 *     <sandboxId>_<containerId>.exit    how its process ended, written by the sandbox process
 *     <containerId>.lock                the lock, so that one id is one container whatever its sandbox
 *
 * `_` separates the ids, and is also legal in one: inside an id it is written `~`, which no id can hold. So a name
 * stands for exactly one pair of ids.
 */

import { UsageError } from "../specutils/errors.ts";

/**
 * Longest id, in characters. A file name holds at most 255 bytes: two ids, a separator, and up to 50 bytes for what
 * follows them (`.lock.break.<pid>.<start time>`).
 */
export const MAX_ID_LENGTH = 100;

/** @throws UsageError when `id` cannot name a container. */
export function checkId(id: string): void {
  if (!/^[\w+.-]+$/.test(id) || id === "." || id === "..") {
    throw new UsageError(
      `invalid container ID format: ${JSON.stringify(id)}: must be letters, digits and "_+.-", and not "." or ".."`,
    );
  }
  if (id.length > MAX_ID_LENGTH) {
    throw new UsageError(`invalid container ID format: ${id.length} characters, at most ${MAX_ID_LENGTH} are allowed`);
  }
}

/** Path of a container's state file. */
export function statePath(root: string, sandboxId: string, id: string): string {
  return `${root}/${escapeId(sandboxId)}_${escapeId(id)}.state`;
}

/** How the name of a container's state file ends, whatever its sandbox; that of no other container's ends so. */
export function stateNameEnd(id: string): string {
  return `_${escapeId(id)}.state`;
}

/** Path of the file into which the sandbox process writes how the container's process ended. */
export function exitPath(root: string, sandboxId: string, id: string): string {
  return `${root}/${escapeId(sandboxId)}_${escapeId(id)}.exit`;
}

/** Path of the lock of a container id. */
export function lockPath(root: string, id: string): string {
  return `${root}/${escapeId(id)}.lock`;
}

/** The ids that the name of a state file stands for; undefined when it is not one. */
export function parseStateName(name: string): { sandboxId: string; id: string } | undefined {
  const match = /^([^_]+)_([^_]+)\.state$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { sandboxId: unescapeId(match[1]), id: unescapeId(match[2]) };
}

function escapeId(id: string): string {
  return id.replaceAll("_", "~");
}

function unescapeId(text: string): string {
  return text.replaceAll("~", "_");
}

/** The directory with compiled seccomp filters. */
export function seccompPath(root: string): string {
  return `${root}/.seccomp`;
}
