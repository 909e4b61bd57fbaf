/**
 * Putting a runtime into an engine's configuration file, and taking it out: what the text would be, without writing it.
 *
 * What was inserted is kept in a record (`host-files.ts`), so that undoing is exact however much else of the file has changed,
 * as long as the inserted text is still there as it was. Where it is not, the runtime alone is taken out. Each new text is
 * read again and compared with what it has to say, before anybody sees it.
 */

import { isDeepStrictEqual } from "node:util";
import { ClocheError, messageOf } from "../../specutils/errors.ts";
import type { Engine, Files, RuntimeEntry } from "./engine.ts";

/** What an installation put where. */
export interface InstallRecord {
  engine: string;
  runtime: string;
  /** Whether the file was not there before. */
  isCreated: boolean;
  inserted: string;
  /** The uppermost directory that had to be made for the file. */
  directory?: string;
}

/** One file's change; `before` and `after` are undefined where there is no file. */
export interface Change {
  file: string;
  before: string | undefined;
  after: string | undefined;
  record: InstallRecord | undefined;
}

/** A change, or why none is needed; `isOutdated` if others have taken out what the record tells of. */
export type Planned = { change: Change } | { reason: string; isOutdated?: boolean };

/**
 * What installing does.
 * @throws ClocheError if the file is not as the engine reads it, or has a runtime of that name that is not ours
 */
export async function planInstall(
  engine: Engine,
  entry: RuntimeEntry,
  record: InstallRecord | undefined,
  files: Files,
): Promise<Planned> {
  const file = engine.file(entry.name);
  return await explain(`cannot change ${JSON.stringify(file)}`, async () => {
    const before = files.read(file);
    const found = engine.find(await engine.parse(before ?? ""), entry.name);
    const isKnown = found !== undefined && engine.pathIn(found) === entry.path;
    const isUntouched = record !== undefined && before?.includes(record.inserted) === true;
    if (isKnown && !isUntouched) {
      return { reason: `${file} has runtime ${entry.name} already` };
    }
    if (found !== undefined && record === undefined) {
      throw new Error(`it has another runtime "${entry.name}" already: choose another name with --name`);
    }
    const base = record === undefined ? before : await withoutRecorded(engine, before, record);
    const text = base ?? "";
    const insertion = await engine.insert(text, await engine.parse(text), entry, files);
    const after = text.slice(0, insertion.offset) + insertion.text + text.slice(insertion.offset);
    const result = await engine.parse(after);
    const added = engine.find(result, entry.name);
    if (added === undefined || engine.pathIn(added) !== entry.path) {
      throw new Error("the file is laid out in a way that is not understood: add the runtime by hand");
    }
    if (after === before) {
      return { reason: `${file} has runtime ${entry.name} already` };
    }
    const newRecord = {
      engine: engine.name,
      runtime: entry.name,
      isCreated: base === undefined,
      inserted: insertion.text,
      ...(record?.directory === undefined ? {} : { directory: record.directory }),
    };
    return { change: { file, before, after, record: newRecord } };
  });
}

/**
 * What uninstalling does. Without a record, a runtime of that name is left alone unless it is the executable `path`.
 * @throws ClocheError if the file cannot be read as the engine does, or uses the runtime by default
 */
export async function planUninstall(
  engine: Engine,
  entry: RuntimeEntry,
  record: InstallRecord | undefined,
  files: Files,
): Promise<Planned> {
  const file = engine.file(entry.name);
  return await explain(`cannot change ${JSON.stringify(file)}`, async () => {
    const before = files.read(file);
    const document = await engine.parse(before ?? "");
    const found = engine.find(document, entry.name);
    if (before === undefined || found === undefined) {
      return { reason: `${file} has no runtime ${entry.name}`, ...(record && { isOutdated: true }) };
    }
    if (record === undefined && engine.pathIn(found) !== entry.path) {
      return { reason: `${file} has a runtime ${entry.name} that "cloche install" did not add: left alone` };
    }
    if (engine.defaultRuntime(document) === entry.name) {
      throw new Error(`it makes runtime "${entry.name}" the default: choose another default first`);
    }
    const after =
      record === undefined
        ? await withoutEntry(engine, before, entry.name)
        : await withoutRecorded(engine, before, record);
    return { change: { file, before, after, record: undefined } };
  });
}

/** The text without what was recorded; undefined if the file is to go. */
async function withoutRecorded(
  engine: Engine,
  text: string | undefined,
  { inserted, runtime, isCreated }: InstallRecord,
): Promise<string | undefined> {
  if (text === undefined || (isCreated && text === inserted)) {
    return undefined;
  }
  const at = text.indexOf(inserted);
  if (at >= 0 && text.indexOf(inserted, at + 1) < 0) {
    const rest = text.slice(0, at) + text.slice(at + inserted.length);
    const wanted = engine.without(await engine.parse(text), runtime, inserted);
    if (await says(engine, rest, wanted)) {
      return rest;
    }
  }
  return await withoutEntry(engine, text, runtime);
}

/** The text without the runtime, and with all else that may have come with it. */
async function withoutEntry(engine: Engine, text: string, name: string): Promise<string> {
  const rest = engine.remove(text, name);
  if (await says(engine, rest, engine.without(await engine.parse(text), name, ""))) {
    return rest;
  }
  throw new Error(`runtime "${name}" is written in a way that is not understood: remove it by hand`);
}

async function says(engine: Engine, text: string, wanted: object): Promise<boolean> {
  try {
    // Parsers differ in the prototypes of what they make; copies do not.
    return isDeepStrictEqual(structuredClone(await engine.parse(text)), structuredClone(wanted));
  } catch {
    return false;
  }
}

async function explain<T>(what: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw error instanceof ClocheError ? error : new ClocheError(`${what}: ${messageOf(error)}`, { cause: error });
  }
}
