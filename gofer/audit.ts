/**
 * The audit stream: a line of JSON for each opening, creation, removal and renaming, and for each refusal by policy. Lines are
 * collected and written when the gofer has nothing else to do. Several gofers may append to one file: each write is of whole lines.
 */
import { Buffer } from "node:buffer";
import { NR, sys } from "../specutils/syscall.ts";
import { AT } from "./arena.ts";
import { field, type Gofer, nameAt, nodeOf } from "./gofer.ts";
import { type Guard, NAME_OFFSET } from "./guard.ts";
import { O_ACCMODE, PATH_MAX, STAT } from "./host.ts";
import { IN, OP } from "./protocol.ts";

/** Bytes after which is written although there is more to do. */
const FLUSH_AT = 1 << 15;

const NEWLINE = 0x0a;
const IS_ASCII = /^[ -~]*$/;

type Event = "open" | "create" | "unlink" | "rename" | "denied";

/** What the making or removing of a name is called. */
const NAMED: Readonly<Record<number, Event>> = {
  [OP.CREATE]: "create",
  [OP.MKNOD]: "create",
  [OP.MKDIR]: "create",
  [OP.LINK]: "create",
  [OP.SYMLINK]: "create",
  [OP.UNLINK]: "unlink",
  [OP.RMDIR]: "unlink",
  [OP.RENAME]: "rename",
  [OP.RENAME2]: "rename",
};

/** Notes what happens in one tree. */
export class Audit {
  readonly #stream: AuditStream;
  readonly #guard: Guard;
  /** What each line goes on with after the time. */
  readonly #names: string;

  /** @param names what each line begins with, after the time */
  constructor(stream: AuditStream, guard: Guard, names: Record<string, string>) {
    this.#stream = stream;
    this.#guard = guard;
    this.#names = JSON.stringify(names).slice(1, -1);
  }

  /** Notes what the request in the arena was. Its payload is still in place. */
  note(gofer: Gofer, opcode: number, result: number, isDenied: boolean): void {
    const named = NAMED[opcode];
    if (isDenied) {
      const offset = NAME_OFFSET[opcode];
      const name = offset === undefined ? undefined : nameAt(gofer, offset);
      const path = name === undefined ? gofer.nodes.path(nodeOf(gofer)) : this.#guard.pathOf(nodeOf(gofer), name);
      this.#add(gofer, "denied", path, { error: result });
    } else if (result < 0) {
      return;
    } else if (opcode === OP.OPEN) {
      const fd = gofer.nodes.fd(nodeOf(gofer));
      const isKnown = fd >= 0 && gofer.host.stat(fd) >= 0;
      const bytes = isKnown ? Number(gofer.arena.u64(AT.stat + STAT.SIZE)) : 0;
      const access = (field(gofer, 0) & O_ACCMODE) === 0 ? "read" : "write";
      const isWanted = this.#guard.isNodeLogged(nodeOf(gofer));
      this.#add(gofer, "open", gofer.nodes.path(nodeOf(gofer)), { access, bytes }, isWanted);
    } else if (named !== undefined) {
      this.#noteName(gofer, opcode, named, NAME_OFFSET[opcode] ?? 0);
    }
  }

  #noteName(gofer: Gofer, opcode: number, event: Event, offset: number): void {
    const name = nameAt(gofer, offset) ?? "";
    const path = this.#guard.pathOf(nodeOf(gofer), name);
    if (event === "rename") {
      const to = this.#guard.pathOf(field(gofer, 0), nameAt(gofer, offset + name.length + 1) ?? "");
      this.#add(gofer, event, path, { to: bytesAsText(to) }, this.#guard.isLogged(to));
    } else {
      this.#add(gofer, event, path, {}, opcode === OP.LINK && this.#guard.isNodeLogged(field(gofer, 0)));
    }
  }

  #add(gofer: Gofer, event: Event, path: string, more: Record<string, string | number>, isWanted = false): void {
    if (!isWanted && !this.#guard.isLogged(path)) return;
    const pid = gofer.arena.u32[(AT.request + IN.PID) >> 2] ?? 0;
    this.#stream.add(this.#names, { event, path: bytesAsText(path), pid, ...more });
  }
}

/** Where the lines of all trees go, in the order in which they come. */
export class AuditStream {
  readonly #fd: number;
  /** What a line that is about no tree goes on with after the time. */
  readonly #names: string;
  #time = { ms: 0, text: "" };
  #lines: string[] = [];
  #pending = 0;
  /** How many lines could not be written. */
  #lost = 0;
  #isTorn = false;

  /** @param fd a file that is opened to append */
  constructor(fd: number, names: Record<string, string>) {
    this.#fd = fd;
    this.#names = JSON.stringify(names).slice(1, -1);
  }

  /** @param names members of the line's object as JSON */
  add(names: string, event: Record<string, string | number>): void {
    const line = this.#line(names, event);
    this.#lines.push(line);
    this.#pending += line.length;
    if (this.#pending > FLUSH_AT) this.flush();
  }

  #line(names: string, event: Record<string, string | number>): string {
    const ms = Date.now();
    if (ms !== this.#time.ms) this.#time = { ms, text: new Date(ms).toISOString() };
    return `{"time":"${this.#time.text}",${names},${JSON.stringify(event).slice(1)}\n`;
  }

  /** Writes what has been collected. A full disk is no reason to stop serving: what is lost is counted. */
  flush(): void {
    if (this.#lines.length === 0) return;
    const lines = this.#lines;
    const told = this.#lost === 0 ? [] : [this.#line(this.#names, { event: "lost", count: this.#lost })];
    // What follows a line that was written in part begins on a line of its own.
    const before = this.#isTorn ? ["\n", ...told] : told;
    const bytes = Buffer.from([...before, ...lines].join(""));
    this.#lines = [];
    this.#pending = 0;
    const written = this.#write(bytes);
    if (written === bytes.length) {
      this.#lost = 0;
      this.#isTorn = false;
      return;
    }
    if (written > 0) this.#isTorn = bytes[written - 1] !== NEWLINE;
    const whole = bytes.subarray(0, written).reduce((count, byte) => count + (byte === NEWLINE ? 1 : 0), 0);
    this.#lost += lines.length - Math.max(0, whole - before.length);
  }

  /** @returns how many bytes were written */
  #write(bytes: Buffer): number {
    let written = 0;
    while (written < bytes.length) {
      const result = sys(NR.write, this.#fd, bytes.subarray(written), bytes.length - written);
      if (result <= 0) break;
      written += result;
    }
    return written;
  }
}

/** Bytes given as Latin-1 are shown as the UTF-8 that they mostly are; the end of what is longer than PATH_MAX after "…". */
function bytesAsText(path: string): string {
  if (path.length > PATH_MAX) return `…${bytesAsText(path.slice(-PATH_MAX))}`;
  return IS_ASCII.test(path) ? path : Buffer.from(path, "latin1").toString("utf8");
}
