/** Carrying out the changes of several engines' files: all of them or none. */

import path from "node:path";
import { ClocheError, messageOf } from "../../specutils/errors.ts";
import { print } from "../output.ts";
import type { Engine, Files } from "./engine.ts";
import {
  firstMissingDirectory,
  hostFiles,
  readRecords,
  removeDirectories,
  removeFile,
  writeFile,
  writeRecords,
} from "./host-files.ts";
import type { InstallOptions } from "./options.ts";
import type { Change, InstallRecord, planInstall } from "./registration.ts";

/** One engine's change, with its record as it was before. */
interface EngineChange extends Change {
  engine: Engine;
  oldRecord: InstallRecord | undefined;
}

/** A record of what others have taken out. */
interface Outdated {
  engine: Engine;
  record: InstallRecord;
}

/**
 * Plans with `plan` for each engine, shows the changes, and makes them unless it is a dry run.
 * @throws ClocheError if one of them is refused; then nothing is changed
 */
export async function planAndApply(
  chosen: readonly Engine[],
  { entry, isDryRun, rootDirectory }: InstallOptions,
  plan: typeof planInstall,
  warn: (message: string) => void,
): Promise<void> {
  const files = hostFiles(rootDirectory);
  const records = readRecords(rootDirectory);
  const changes: EngineChange[] = [];
  const outdated: Outdated[] = [];
  const reasons: string[] = [];
  for (const engine of chosen) {
    const oldRecord = recordOf(engine, entry.name, records, files);
    const planned = await plan(engine, entry, oldRecord, files);
    if ("reason" in planned) {
      reasons.push(`${engine.name}: ${planned.reason}\n`);
      if (planned.isOutdated === true && oldRecord !== undefined) {
        outdated.push({ engine, record: oldRecord });
      }
    } else {
      changes.push({ ...planned.change, engine, oldRecord });
    }
  }
  print(reasons.join(""));
  for (const change of changes) {
    print(await diffOf(change));
  }
  for (const { engine, after, record } of changes) {
    const warnings = record && (await engine.warnings(await engine.parse(after ?? ""), entry.name, files));
    for (const warning of warnings ?? []) {
      warn(`${engine.name}: ${warning}`);
    }
  }
  if (isDryRun || changes.length + outdated.length === 0) {
    return;
  }
  await applyChanges(rootDirectory, changes, outdated, records, entry.name);
  for (const { engine, file, record } of changes) {
    const notice = record === undefined ? engine.notice?.uninstall : engine.notice?.install;
    const next = [notice, record && engine.example(entry.name)].filter((command) => command !== undefined);
    print(`${engine.name}: changed ${file}${next.length === 0 ? "" : `; next: ${next.join(", then: ")}`}\n`);
  }
}

/** The record that holds. Of two, which a call that was killed has left, that is the one whose text is in the file. */
function recordOf(engine: Engine, runtime: string, records: readonly InstallRecord[], files: Files) {
  const [first, ...others] = records.filter((record) => record.engine === engine.name && record.runtime === runtime);
  const text = others.length === 0 ? "" : (files.read(engine.file(runtime)) ?? "");
  return others.find(({ inserted }) => text.includes(inserted)) ?? first;
}

/** The change as a unified diff. */
async function diffOf({ file, before, after }: Change): Promise<string> {
  const { createTwoFilesPatch } = await import("diff");
  const name = (text: string | undefined) => (text === undefined ? "/dev/null" : file);
  const patch = createTwoFilesPatch(name(before), name(after), before ?? "", after ?? "");
  return patch.replace(/^Index: .*\n/, "").replace(/^=+\n/, "");
}

/**
 * Writes the records, then the files. When one cannot be written, those before it get their old text back.
 * @throws ClocheError
 */
async function applyChanges(
  rootDirectory: string,
  changes: readonly EngineChange[],
  outdated: readonly Outdated[],
  records: readonly InstallRecord[],
  runtime: string,
): Promise<void> {
  const files = hostFiles(rootDirectory);
  const made = changes.map(({ file }) => firstMissingDirectory(rootDirectory, file));
  const newRecords = changes.flatMap(({ record }, index) => {
    const directory = record?.directory ?? made[index];
    return record === undefined ? [] : [{ ...record, ...(directory === undefined ? {} : { directory }) }];
  });
  const settled = new Set([...changes, ...outdated].map(({ engine }) => engine.name));
  const kept = records.filter((record) => record.runtime !== runtime || !settled.has(record.engine));
  const done: (() => Promise<void>)[] = [];
  try {
    // The record comes first, and goes last: one without its text does no harm, a text without its record is not undone exactly.
    await writeRecords(rootDirectory, [...records, ...newRecords]);
    done.push(() => writeRecords(rootDirectory, records));
    for (const [index, { file, before, after, oldRecord }] of changes.entries()) {
      if (files.read(file) !== before) {
        throw new ClocheError(`cannot change ${JSON.stringify(file)}: somebody else is changing it: try again`);
      }
      const directory = oldRecord?.directory ?? made[index];
      await put(rootDirectory, file, after, directory);
      done.push(() => put(rootDirectory, file, before, directory));
    }
    for (const { engine, record } of outdated) {
      removeDirectories(rootDirectory, path.dirname(engine.file(runtime)), record.directory);
    }
    await writeRecords(rootDirectory, [...kept, ...newRecords]);
  } catch (error) {
    const failure = error instanceof ClocheError ? error : new ClocheError(messageOf(error), { cause: error });
    for (const undo of done.reverse()) {
      await undo().catch((thrown: unknown) => failure.cleanupFailures.push(new Error(messageOf(thrown))));
    }
    throw failure;
  }
}

async function put(root: string, file: string, text: string | undefined, directory: string | undefined): Promise<void> {
  if (text === undefined) {
    removeFile(root, file, directory);
  } else {
    await writeFile(root, file, text);
  }
}
