/**
 * Policy put in force: looks at each request before it is carried out. A node carries what its path is to the policy since it was
 * seen there; a file with several names is read-only, or logged, if one of them is.
 */
import type { Gofer } from "./gofer.ts";
import { field, nameAt, nodeOf } from "./gofer.ts";
import { EACCES, ENAMETOOLONG, ENOENT, EROFS, EXDEV, O_ACCMODE, O_TRUNC } from "./host.ts";
import type { Nodes } from "./nodes.ts";
import { Globs, type GoferPolicy } from "./policy.ts";
import { OP, ROOT_ID } from "./protocol.ts";

/** `Nodes.marks` of what is read-only, and of what the audit stream is to tell of. */
const READ_ONLY = 1;
const LOGGED = 2;

/** Bytes. What lies deeper, where no path leads (PATH_MAX) but step by step, would take as much time and memory as one likes. */
const MAX_PATH = 65_536;

/** Where the names lie in the payload of requests that make or remove one. */
export const NAME_OFFSET: Readonly<Record<number, number>> = {
  [OP.LOOKUP]: 0,
  [OP.SYMLINK]: 0,
  [OP.UNLINK]: 0,
  [OP.RMDIR]: 0,
  [OP.MKDIR]: 8,
  [OP.LINK]: 8,
  [OP.RENAME]: 8,
  [OP.MKNOD]: 16,
  [OP.CREATE]: 16,
  [OP.RENAME2]: 16,
};

/** What the policy of one tree says of its paths. */
export class Guard {
  readonly #hidden: Globs;
  readonly #readOnly: Globs;
  readonly #logged: Globs;
  /** Whether it depends on the path what is logged. */
  readonly #logsSome: boolean;
  readonly #nodes: Nodes;

  /** @throws UsageError for a wrong glob */
  constructor(policy: GoferPolicy, nodes: Nodes) {
    this.#hidden = new Globs(policy.hidden);
    this.#readOnly = new Globs(policy.readOnly);
    // What is not said is everything: whoever wants an audit stream without more wants all of it.
    this.#logsSome = policy.logged.length > 0;
    this.#logged = new Globs(this.#logsSome ? policy.logged : ["**"]);
    this.#nodes = nodes;
    if (this.#readOnly.isEmpty && !this.#logsSome) return;
    nodes.mark = (parent, name) => this.#marksOf(this.pathOf(parent, name));
    nodes.marks[ROOT_ID] = this.#marksOf(nodes.path(ROOT_ID));
  }

  /** The path of a name in a directory. */
  pathOf(parent: number, name: string): string {
    const directory = this.#nodes.path(parent);
    return directory === "" ? name : `${directory}/${name}`;
  }

  isHidden(parent: number, name: string): boolean {
    return !this.#hidden.isEmpty && this.#hidden.covers(this.pathOf(parent, name));
  }

  isLogged(path: string): boolean {
    return this.#logged.covers(path);
  }

  /** Whether a node was seen at a path that is logged, wherever it is now. */
  isNodeLogged(node: number): boolean {
    return (this.#nodes.marksOf(node) & LOGGED) !== 0;
  }

  /** 0 if the request in the arena may be carried out, or -errno. */
  check(gofer: Gofer, opcode: number): number {
    if (this.#hidden.isEmpty && this.#readOnly.isEmpty && !this.#logsSome) return 0;
    const offset = NAME_OFFSET[opcode];
    return offset === undefined ? this.#checkNode(gofer, opcode) : this.#checkName(gofer, opcode, offset);
  }

  #marksOf(path: string): number {
    return (this.#readOnly.covers(path) ? READ_ONLY : 0) | (this.isLogged(path) ? LOGGED : 0);
  }

  #checkName(gofer: Gofer, opcode: number, offset: number): number {
    const name = nameAt(gofer, offset);
    // Refused by the operation itself.
    if (name === undefined) return 0;
    const path = this.pathOf(nodeOf(gofer), name);
    if (path.length > MAX_PATH) return -ENAMETOOLONG;
    const isRename = opcode === OP.RENAME || opcode === OP.RENAME2;
    if (this.#hidden.covers(path)) {
      const isThere = opcode === OP.LOOKUP || opcode === OP.UNLINK || opcode === OP.RMDIR || isRename;
      return isThere ? -ENOENT : -EACCES;
    }
    if (opcode === OP.LOOKUP) return 0;
    if (this.#readOnly.covers(path)) return -EROFS;
    if (opcode === OP.LINK && this.#isReadOnly(field(gofer, 0))) return -EROFS;
    return isRename ? this.#checkRename(gofer, path, offset + name.length + 1) : 0;
  }

  /** A directory is not moved where its content would be something else to the policy: mv(1) then copies, name by name. */
  #checkRename(gofer: Gofer, from: string, offset: number): number {
    const name = nameAt(gofer, offset);
    if (name === undefined) return 0;
    const to = this.pathOf(field(gofer, 0), name);
    if (this.#hidden.covers(to)) return -EACCES;
    if (this.#readOnly.covers(to)) return -EROFS;
    const depends = [from, to].some(
      (path) => this.#hidden.dependsOn(path) || this.#readOnly.dependsOn(path) || this.#logsBelow(path),
    );
    return depends ? -EXDEV : 0;
  }

  /** Whether things below a path are logged, and it itself is not: a renaming that would not be told of. */
  #logsBelow(path: string): boolean {
    return this.#logsSome && !this.isLogged(path) && this.#logged.dependsOn(path);
  }

  #checkNode(gofer: Gofer, opcode: number): number {
    switch (opcode) {
      case OP.OPEN: {
        const flags = field(gofer, 0);
        const isChange = (flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0;
        return isChange && this.#isReadOnly(nodeOf(gofer)) ? -EROFS : 0;
      }
      case OP.SETATTR:
      case OP.SETXATTR:
      case OP.REMOVEXATTR:
      case OP.FALLOCATE:
      case OP.WRITE:
      case OP.TMPFILE:
        return this.#isReadOnly(nodeOf(gofer)) ? -EROFS : 0;
      case OP.COPY_FILE_RANGE:
      case OP.COPY_FILE_RANGE_64:
        return this.#isReadOnly(field(gofer, 16)) ? -EROFS : 0;
      default:
        return 0;
    }
  }

  #isReadOnly(node: number): boolean {
    return (this.#nodes.marksOf(node) & READ_ONLY) !== 0;
  }
}
