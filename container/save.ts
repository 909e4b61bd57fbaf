/** Writing a container's record down: at once, if possible, or with the certainty beforehand that it can be done. */

import { ClocheError, reasonOf } from "../specutils/errors.ts";
import { beginSpan } from "../specutils/spans.ts";
import { type PreparedFile, prepareFile, writeFileAtomic } from "../statefile/atomic-file.ts";
import { statePath } from "../statefile/names.ts";
import { parseRecord, type SavedContainer } from "./record.ts";

/** Saves a record as it is now, while its lock is held. */
export interface Save {
  /** @throws ClocheError when it cannot be saved */
  (): void;
  /**
   * Saves what others could find out, or do without: that a full disk keeps it from being saved is no failure, and this
   * process saves it no more.
   */
  ifPossible(): void;
  /**
   * Makes sure that it can be saved, before something that cannot be undone, and returns what does it.
   * @throws ClocheError when it cannot; then nothing has changed
   */
  prepare(): PreparedFile;
}

/** Records whose files were removed: they are saved no more. */
let removed: WeakSet<object> | undefined;

/** Keeps a record that was removed from being saved by its `Save`. */
export function noteRemoved(record: object): void {
  removed ??= new WeakSet();
  removed.add(record);
}

/** The state file of the container that this process has created, as it has saved it last. */
let own = { path: "", text: "" };

/** The record that was read from that last. */
let ownRecord: SavedContainer | undefined;

/** Saves the record of a container that this process creates. Preconditions: the caller holds its lock. @throws ClocheError */
export function saveNewRecord(root: string, record: SavedContainer): void {
  ownRecord = record;
  saveRecord(root, record);
}

/**
 * The record in the text of a state file. What this process has written there for a container of its own making needs no check:
 * nothing in it has come from a file.
 *
 * @throws StateFileError
 */
export function readBack(path: string, text: string): SavedContainer {
  if (own.path !== path || own.text !== text) return parseRecord(path, text);
  ownRecord = JSON.parse(text) as SavedContainer;
  return ownRecord;
}

/** Whether this process has written all that is in the record. */
export function isOwnRecord(record: SavedContainer): boolean {
  return record === ownRecord;
}

/** A `Save` for a record that was loaded from `text`. It does not write what is there already. */
export function saver(root: string, record: SavedContainer, text: string): Save {
  let saved = text;
  const save = () => {
    const current = serialize(record);
    if (current === saved || removed?.has(record) === true) return;
    saveRecord(root, record);
    saved = current;
  };
  const ifPossible = () => {
    try {
      save();
    } catch {
      saved = serialize(record);
    }
  };
  const prepare = () => {
    const current = serialize(record);
    const file = saving(record, () => prepareFile(statePath(root, record.sandboxId, record.id), current));
    const commit = () => {
      saving(record, file.commit);
      saved = current;
    };
    return { commit, discard: file.discard };
  };
  return Object.assign(save, { ifPossible, prepare });
}

/** Saves a record. Preconditions: the caller holds its lock. @throws ClocheError */
export function saveRecord(root: string, record: SavedContainer): void {
  const [path, text] = [statePath(root, record.sandboxId, record.id), serialize(record)];
  saving(record, () => writeFileAtomic(path, text));
  if (record === ownRecord) own = { path, text };
}

function saving<T>(record: SavedContainer, step: () => T): T {
  const endSaving = beginSpan("save the state");
  try {
    const result = step();
    endSaving();
    return result;
  } catch (error) {
    throw new ClocheError(`cannot save the state of container ${JSON.stringify(record.id)}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** The text of a state file. */
export function serialize(record: SavedContainer): string {
  return `${JSON.stringify(record)}\n`;
}
