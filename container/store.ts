/**
 * The containers under a state root: create, find, load under the lock, save, remove.
 *
 * Always holds: a record is changed only by who holds its container's lock, and what is changed was read under that lock.
 * Reading alone needs no lock, since a state file is replaced in one step.
 */

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { isFrozen } from "../sandbox/cgroups/freeze.ts";
import { ClocheError, NotFoundError, reasonOf } from "../specutils/errors.ts";
import { beginSpan } from "../specutils/spans.ts";
import { removeFile, temporaryPath } from "../statefile/atomic-file.ts";
import { readText } from "../statefile/document.ts";
import { acquireLock, removeDeadClaims } from "../statefile/lock.ts";
import { checkId, exitPath, lockPath, parseStateName, stateNameEnd, statePath } from "../statefile/names.ts";
import { exitOfZombie, explainExit, readExitRecord } from "./exit-record.ts";
import type { SavedContainer } from "./record.ts";
import { hasCgroup, refreshRecord } from "./record.ts";
import { noteRemoved, readBack, type Save, saveNewRecord, saver, serialize } from "./save.ts";

/** A container with that id is there already. */
export class ExistsError extends ClocheError {
  override name = "ExistsError";
  override code = "ERR_EXISTS";
}

/** The two ids that place a container's files. */
export interface ContainerKey {
  id: string;
  sandboxId: string;
}

/**
 * Saves the record of a new container.
 *
 * @throws ExistsError when the id is taken, whatever sandbox it is in; UsageError when it is none
 */
export async function createRecord(root: string, record: SavedContainer): Promise<void> {
  checkId(record.id);
  checkId(record.sandboxId);
  mkdirSync(root, { recursive: true, mode: 0o700 });
  let isSaved = false;
  try {
    await withLock(root, record.id, save);
  } catch (error) {
    // Whoever is told that there is no new container must not find one.
    if (isSaved) removeRecord(root, record);
    throw error;
  }

  function save(): void {
    if (findExact(root, record.id) !== undefined) {
      throw new ExistsError(
        `cannot create container ${JSON.stringify(record.id)}: container with given ID already exists`,
      );
    }
    // The exit file of a container that was removed by hand would be taken for this one's.
    removeFile(exitPath(root, record.sandboxId, record.id));
    saveNewRecord(root, record);
    isSaved = true;
  }
}

interface LoadOptions {
  /** The id is not a prefix. */
  exact?: boolean;
  /** It must still be this very container, not a later one of that id. */
  only?: SavedContainer | undefined;
  /**
   * On a disk where no lock can be made, since it is full or read-only, go on without: for what must always work, and neither
   * changes nor needs what is saved.
   */
  evenIfFull?: boolean;
  /** How long to wait for the lock; `acquireLock`'s limit unless given. */
  waitLimitMs?: number;
}

/** How long who only looks waits to save what it has found out, which the next one finds out again. */
const LOOK_WAIT_MS = 50;

/**
 * Takes the container's lock, loads its record, brings it up to date, and runs `fn` on it. What `fn` changes in the
 * record is saved when it returns; when it throws, only what it saved itself with `save` stays.
 *
 * @param idOrPrefix an id, or what only one id starts with
 * @throws NotFoundError, StateFileError, LockError, and what `fn` throws
 */
export async function withContainer<T>(
  root: string,
  idOrPrefix: string,
  fn: (record: SavedContainer, save: Save) => T | Promise<T>,
  options?: LoadOptions,
): Promise<T> {
  const { id } = options?.exact === true ? findKey(root, idOrPrefix) : resolveKey(root, idOrPrefix);
  const lock = options?.evenIfFull === true ? withLockIfPossible : withLock;
  const change = async () => {
    const { record, text } = loadRecord(root, findKey(root, id));
    if (options?.only !== undefined && !isSame(record, options.only)) throw notFound(id);
    const save = saver(root, record, text);
    // What the load has found out, the next one finds out again.
    save.ifPossible();
    const result = await fn(record, save);
    save();
    return result;
  };
  return lock(root, id, change, options?.waitLimitMs);
}

async function withLockIfPossible<T>(root: string, id: string, fn: () => T | Promise<T>): Promise<T> {
  let isBegun = false;
  const begin = () => {
    isBegun = true;
    return fn();
  };
  try {
    return await withLock(root, id, begin);
  } catch (error) {
    const { code = "" } = (error instanceof Error ? (error.cause ?? {}) : {}) as NodeJS.ErrnoException;
    if (isBegun || !["ENOSPC", "EDQUOT", "EROFS"].includes(code)) throw error;
    return fn();
  }
}

/**
 * Runs `fn` while holding the lock of a container id, whether or not there is such a container.
 *
 * @throws LockError, and what `fn` throws
 */
export async function withLock<T>(
  root: string,
  id: string,
  fn: () => T | Promise<T>,
  waitLimitMs?: number,
): Promise<T> {
  const endLocking = beginSpan("lock");
  const release = await acquireLock(lockPath(root, id), waitLimitMs).catch((error) => {
    if (error.code === "ENOENT") throw notFound(id);
    throw new ClocheError(
      `cannot lock container ${JSON.stringify(id)} in ${JSON.stringify(root)}: ${reasonOf(error)}`,
      { cause: error },
    );
  });
  endLocking();
  try {
    return await fn();
  } finally {
    release();
  }
}

/**
 * Removes what is saved about a container.
 *
 * Preconditions: the caller holds its lock; with a record, that is inside `withContainer`, which then saves no more.
 */
export function removeRecord(root: string, record: ContainerKey): void {
  const file = statePath(root, record.sandboxId, record.id);
  // The state file goes last: until then the container is there and `delete` can be repeated.
  removeFile(exitPath(root, record.sandboxId, record.id));
  removeFile(temporaryPath(file));
  removeFile(file);
  noteRemoved(record);
}

/**
 * Removes what is saved about this very container, after `removeRest`, all under its lock. One that somebody has deleted, or a later one
 * with its id, is left alone.
 *
 * @returns whether it was still there
 */
export async function forgetContainer(
  root: string,
  record: SavedContainer,
  removeRest: () => void | Promise<void>,
): Promise<boolean> {
  return withLock(root, record.id, async () => {
    if (!isSaved(root, record)) return false;
    try {
      await removeRest();
    } finally {
      removeRecord(root, record);
    }
    return true;
  });
}

/** One that cannot be read counts as saved: who has failed to make it may have failed for the same reason. */
function isSaved(root: string, record: SavedContainer): boolean {
  const key = findExact(root, record.id);
  try {
    return key !== undefined && isSame(loadRecord(root, key).record, record);
  } catch {
    return true;
  }
}

/** Whether both are the same container, as opposed to two that have had the same id one after the other. */
export function isSame(one: SavedContainer, other: SavedContainer): boolean {
  return one.created === other.created && one.sandboxId === other.sandboxId && one.bundle === other.bundle;
}

/** Removes what a `create` that was killed before it had saved its record may have left of a container that is not there. */
export async function removeTraces(root: string, id: string): Promise<void> {
  const lock = lockPath(root, id);
  removeDeadClaims(lock);
  // In whatever sandbox it was to be.
  const ends = [temporaryPath(statePath(root, id, id)), exitPath(root, id, id)].map((file) => path.basename(file));
  const isTrace = (name: string) => ends.some((end) => name.endsWith(end.slice(end.indexOf("_"))));
  const names = listFiles(root);
  if (!names.some((name) => isTrace(name) || name === path.basename(lock))) return;
  await withLock(root, id, () => {
    // Created again while we waited: then they are the new one's.
    if (findExact(root, id) === undefined) for (const name of names.filter(isTrace)) removeFile(`${root}/${name}`);
  });
}

/**
 * A container's record, up to date, for those who only look. It is read without the lock, which is taken only to save
 * that something has changed.
 *
 * @throws NotFoundError, StateFileError
 */
export async function readRecord(
  root: string,
  idOrPrefix: string,
  options?: { exact?: boolean },
): Promise<SavedContainer> {
  const key = options?.exact === true ? findKey(root, idOrPrefix) : resolveKey(root, idOrPrefix);
  const { record, text } = loadRecord(root, key);
  if (serialize(record) === text) return record;
  try {
    return await withContainer(root, record.id, (current) => current, { exact: true, waitLimitMs: LOOK_WAIT_MS });
  } catch (error) {
    // Removed meanwhile. Any other reason (read-only root, lock held) keeps nobody from looking.
    if (error instanceof NotFoundError) throw error;
    return record;
  }
}

/**
 * All containers, or those of one sandbox, by id, up to date, without locks. `onError` gets those that cannot be read.
 */
export function listRecords(root: string, onError: (error: Error) => void, sandboxId?: string): SavedContainer[] {
  const records: SavedContainer[] = [];
  for (const key of listKeys(root)) {
    if (sandboxId !== undefined && key.sandboxId !== sandboxId) continue;
    try {
      records.push(loadRecord(root, key).record);
    } catch (error) {
      // Removed between reading the directory and reading the file: it is not there to be listed.
      if (!(error instanceof NotFoundError)) onError(error instanceof Error ? error : new Error(String(error)));
    }
  }
  return records;
}

/** The container with exactly that id. @throws NotFoundError */
export function findKey(root: string, id: string): ContainerKey {
  checkId(id);
  const key = findExact(root, id);
  if (key === undefined) throw notFound(id);
  return key;
}

/** The container with that id, or the only one whose id starts with it. @throws NotFoundError */
function resolveKey(root: string, idOrPrefix: string): ContainerKey {
  checkId(idOrPrefix);
  const exact = findExact(root, idOrPrefix);
  if (exact !== undefined) return exact;
  const matches = listKeys(root).filter(({ id }) => id.startsWith(idOrPrefix));
  const [only, ...others] = matches;
  if (only === undefined) throw notFound(idOrPrefix);
  if (others.length > 0) {
    const candidates = matches.map(({ id }) => JSON.stringify(id)).join(", ");
    throw new NotFoundError(
      `container ${JSON.stringify(idOrPrefix)} does not exist, and it is the beginning of several: ${candidates}`,
    );
  }
  return only;
}

/** A root container, which nearly all are, is found by its file's name alone. */
function findExact(root: string, id: string): ContainerKey | undefined {
  if (existsSync(statePath(root, id, id))) return { id, sandboxId: id };
  const end = stateNameEnd(id);
  const name = listFiles(root).find((each) => each.endsWith(end));
  return name === undefined ? undefined : parseStateName(name);
}

/** All containers, by id, whether or not they can be read. */
export function listKeys(root: string): ContainerKey[] {
  return listFiles(root)
    .flatMap((name) => parseStateName(name) ?? [])
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function listFiles(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new ClocheError(`cannot list containers in ${JSON.stringify(root)}: ${reasonOf(error)}`, { cause: error });
  }
}

function loadRecord(root: string, key: ContainerKey): { record: SavedContainer; text: string } {
  const path = statePath(root, key.sandboxId, key.id);
  const exitFile = exitPath(root, key.sandboxId, key.id);
  for (;;) {
    const text = readText(path);
    if (text === undefined) throw notFound(key.id);
    const record = readBack(path, text);
    const wasCreating = record.status === "creating";
    refreshRecord(record, (process) => {
      const exit = readExitRecord(exitFile) ?? exitOfZombie(process);
      return exit && explainExit(exit, record, exitFile);
    });
    if (record.status === "paused" && !(hasCgroup(record) && isFrozen(record.cgroup))) {
      // `pause` saves first and freezes then, `resume` thaws first: whoever was killed in between, what runs is not paused.
      record.status = record.pausedFrom ?? "running";
      delete record.pausedFrom;
    }
    // Its creator may have finished and gone between the two looks: then what it has saved is what counts.
    if (wasCreating && record.status === "stopped" && readText(path) !== text) continue;
    return { record, text };
  }
}

function notFound(id: string): NotFoundError {
  return new NotFoundError(`container ${JSON.stringify(id)} does not exist`);
}
