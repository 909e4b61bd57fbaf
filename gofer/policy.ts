/**
 * What an administrator lets a container do with the files of one mount, by globs: hidden paths are not there, read-only ones do
 * not change, logged ones go into the audit stream. Pure: paths in, answers out.
 *
 * A glob is matched from the root of the mount on: `*` and `?` stand for characters of one name, `**` as a whole name for any
 * number of names. What it matches, it matches with everything below.
 */
import { UsageError } from "../specutils/errors.ts";

export interface GoferPolicy {
  hidden: readonly string[];
  readOnly: readonly string[];
  logged: readonly string[];
}

/** A glob, name by name; `**` is null. */
type Glob = readonly (string | null)[];

/** Positions in a glob that the names so far lead to, as bits; globs have at most 30 names. */
type Positions = number;
const MAX_NAMES = 30;

/** A set of globs. Paths have no leading slash; the root of the mount is "". */
export class Globs {
  readonly #globs: readonly Glob[];
  /** Whether one of them is `**`: the audit stream's usual one, asked with every request. */
  readonly #isAll: boolean;

  /** @throws UsageError for a glob that is empty, too long, or has ".." in it */
  constructor(texts: readonly string[]) {
    this.#globs = texts.map(parseGlob);
    this.#isAll = this.#globs.some((glob) => isMatched(glob, start(glob)));
  }

  get isEmpty(): boolean {
    return this.#globs.length === 0;
  }

  /** Whether a path, or a directory above it, is matched. */
  covers(path: string): boolean {
    if (this.#isAll || this.isEmpty) return this.#isAll;
    const names = namesOf(path);
    return this.#globs.some((glob) => {
      let positions = start(glob);
      return names.some((name) => {
        positions = step(glob, positions, name);
        return isMatched(glob, positions);
      });
    });
  }

  /**
   * Whether what lies below a directory can be matched because of where the directory is: moved, it would be matched no more, or
   * now. A glob like `**\/name` matches wherever the directory is moved, and does not count.
   */
  dependsOn(path: string): boolean {
    const names = namesOf(path);
    return this.#globs.some((glob) => {
      const first = start(glob);
      const last = names.reduce((positions, name) => step(glob, positions, name), first);
      const isAnywhere = glob[0] === null && last === first;
      return last !== 0 && !isAnywhere;
    });
  }
}

function namesOf(path: string): string[] {
  return path === "" ? [] : path.split("/");
}

function parseGlob(text: string): Glob {
  const names = text.replace(/^\//, "").replace(/\/+$/, "").split("/");
  const isWrong = names.length > MAX_NAMES || names.some((name) => name === "" || name === "." || name === "..");
  if (isWrong) throw new UsageError(`${JSON.stringify(text)}: names and globs of names are wanted`);
  return names.map((name) => (name === "**" ? null : patternOf(name)));
}

/** A text's bytes in UTF-8 as Latin-1 text, which is how names are compared here. */
export function bytesOf(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** Names are bytes as Latin-1; a glob is text, of which the bytes in UTF-8 are meant. */
function patternOf(name: string): string {
  return bytesOf(name).replace(/\*+/g, "*");
}

/**
 * Whether a name is matched by a pattern with `*` and `?`. Its time is bounded by the product of their lengths, which a regular
 * expression does not promise: names are the container's.
 */
function isMatch(pattern: string, name: string): boolean {
  let at = 0;
  let star = -1;
  let afterStar = 0;
  for (let index = 0; index < name.length; ) {
    if (pattern[at] === "*") {
      star = at;
      afterStar = index;
      at += 1;
    } else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === name[index])) {
      at += 1;
      index += 1;
    } else if (star >= 0) {
      // The last star takes one more.
      afterStar += 1;
      index = afterStar;
      at = star + 1;
    } else {
      return false;
    }
  }
  return at === pattern.length || (at === pattern.length - 1 && pattern[at] === "*");
}

/** With every position that `**` leads on to without a name. */
function closed(glob: Glob, positions: Positions): Positions {
  let all = positions;
  for (let index = 0; index < glob.length; index++) {
    if (glob[index] === null && ((all >> index) & 1) === 1) all |= 1 << (index + 1);
  }
  return all;
}

function start(glob: Glob): Positions {
  return closed(glob, 1);
}

function step(glob: Glob, positions: Positions, name: string): Positions {
  let next = 0;
  for (let index = 0; index < glob.length; index++) {
    if (((positions >> index) & 1) === 0) continue;
    const pattern = glob[index];
    if (pattern === null) next |= 1 << index;
    else if (pattern !== undefined && isMatch(pattern, name)) next |= 1 << (index + 1);
  }
  return closed(glob, next);
}

function isMatched(glob: Glob, positions: Positions): boolean {
  return ((positions >> glob.length) & 1) === 1;
}
