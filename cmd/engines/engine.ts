/** What `install` and `uninstall` have to know of an engine's configuration file: one object per engine, all of it pure. */

import type { Json } from "../../specutils/json.ts";

/** The runtime as an engine is told of it. */
export interface RuntimeEntry {
  /** The name under which callers ask for it. */
  name: string;
  /** Absolute path of the executable. */
  path: string;
}

/** A text that is put into another, and nothing else is touched: taking it out again is an exact undo. */
export interface Insertion {
  /** In UTF-16 code units. */
  offset: number;
  text: string;
}

/** A configuration file's content. */
export type Document = { [name: string]: Json };

/** The files of the machine, by their paths as its programs see them. */
export interface Files {
  /** Text of a file; undefined if there is none. */
  read(path: string): string | undefined;
  /** Paths of a directory's files whose names end so, sorted by name; none if there is no such directory. */
  list(directory: string, ending: string): string[];
}

export interface Engine {
  name: string;
  /** Any of these, programs of PATH or paths, says that the engine is on the machine. */
  signs: { programs: readonly string[]; paths: readonly string[] };
  /** Path of the file that names the runtime. */
  file(runtimeName: string): string;
  /** @throws Error whose message says what is wrong with the text */
  parse(text: string): Promise<Document>;
  /** What `document` says about the runtime, undefined if nothing. */
  find(document: Document, runtimeName: string): Json | undefined;
  /** Path of the executable in what `find` answered, undefined if it has none. */
  pathIn(found: Json): Json | undefined;
  /** Where what goes into the text. `document` is what the text says. @throws Error if it cannot be done */
  insert(text: string, document: Document, entry: RuntimeEntry, files: Files): Promise<Insertion>;
  /** `document` as it has to be without the runtime that `inserted` brought, whatever else has changed. */
  without(document: Document, runtimeName: string, inserted: string): Document;
  /** The text without the runtime, for when it is no longer as inserted. What comes out is checked against `without`. */
  remove(text: string, runtimeName: string): string;
  /** The runtime that `document` says is used where none is asked for. */
  defaultRuntime(document: Document): Json | undefined;
  /** What the administrator should know of `document` once the runtime is in it, a line each. */
  warnings(document: Document, runtimeName: string, files: Files): Promise<string[]>;
  /** What makes the engine notice the runtime, and that it is gone; undefined if it does by itself. */
  notice: { install: string; uninstall: string } | undefined;
  /** A command that uses the runtime. */
  example(runtimeName: string): string;
}
