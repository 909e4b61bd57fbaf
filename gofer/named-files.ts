/** Files of which each name is a node of its own (nodes.ts): which nodes are names of one file, and what these share. */

/** What the nodes of one file share: how many there are, and their rights by policy, which are those of all names. */
interface NamedFile {
  count: number;
  marks: number;
}

export class NamedFiles {
  /** What the file of a node would be known by, if it had one name. */
  readonly #keys = new Map<number, number | string>();
  readonly #files = new Map<number | string, NamedFile>();

  /** Whether there are any. */
  get areThere(): boolean {
    return this.#keys.size > 0;
  }

  /** Whether a node is a name of such a file. */
  has(node: number): boolean {
    return this.#keys.has(node);
  }

  /** The key of the file that a node is a name of. */
  keyOf(node: number): number | string | undefined {
    return this.#keys.get(node);
  }

  /** The file that a node is a name of. */
  fileOf(node: number): NamedFile | undefined {
    const key = this.#keys.get(node);
    return key === undefined ? undefined : this.#files.get(key);
  }

  /** A node is a name of the file from now on. */
  add(node: number, key: number | string, nodeMarks: number): void {
    this.#keys.set(node, key);
    const { count = 0, marks = 0 } = this.#files.get(key) ?? {};
    this.#files.set(key, { count: count + 1, marks: marks | nodeMarks });
  }

  /** A node has gone. */
  remove(node: number): void {
    const key = this.#keys.get(node);
    if (key === undefined) return;
    this.#keys.delete(node);
    const file = this.#files.get(key);
    if (file === undefined) return;
    file.count -= 1;
    if (file.count === 0) this.#files.delete(key);
  }
}
