/**
 * The audit stream: a line of JSON for each opening, creation, removal and renaming, and for each refusal by policy. Lines are
 * collected and written when the gofer has nothing else to do; what the reader does not take in time is counted and said.
 */
import { Buffer } from "node:buffer";
import { POLLOUT } from "../specutils/syscall/constants.ts";
import { NR, poll, sys } from "../specutils/syscall.ts";
import { AT } from "./arena.ts";
import { field, type Gofer, nameAt, nodeOf } from "./gofer.ts";
import { type Guard, NAME_OFFSET } from "./guard.ts";
import { O_ACCMODE, STAT } from "./host.ts";
import { IN, OP } from "./protocol.ts";

/** Bytes that are kept for a reader who is late. */
const MAX_PENDING = 1 << 20;
const PIPE_PAGE = 4096;
/** Bytes after which is written although there is more to do. */
const FLUSH_AT = 1 << 15;

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

export class Audit {
  readonly #fd: number;
  readonly #guard: Guard;
  #lines: string[] = [];
  #pending = 0;
  #lost = 0;

  /** @param fd where lines go: a file, a pipe, a socket */
  constructor(fd: number, guard: Guard) {
    this.#fd = fd;
    this.#guard = guard;
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
      this.#add(gofer, "open", gofer.nodes.path(nodeOf(gofer)), { access, bytes });
    } else if (named !== undefined) {
      this.#noteName(gofer, named, NAME_OFFSET[opcode] ?? 0);
    }
  }

  #noteName(gofer: Gofer, event: Event, offset: number): void {
    const name = nameAt(gofer, offset) ?? "";
    const path = this.#guard.pathOf(nodeOf(gofer), name);
    if (event === "rename") {
      const to = nameAt(gofer, offset + name.length + 1) ?? "";
      this.#add(gofer, event, path, { to: bytesAsText(this.#guard.pathOf(field(gofer, 0), to)) });
    } else {
      this.#add(gofer, event, path, {});
    }
  }

  #add(gofer: Gofer, event: Event, path: string, more: Record<string, string | number>): void {
    if (!this.#guard.isLogged(path)) return;
    const pid = gofer.arena.u32[(AT.request + IN.PID) >> 2] ?? 0;
    const line = `${JSON.stringify({ time: new Date().toISOString(), event, path: bytesAsText(path), pid, ...more })}\n`;
    if (this.#pending + line.length > MAX_PENDING) {
      this.#lost += 1;
      return;
    }
    this.#lines.push(line);
    this.#pending += line.length;
    if (this.#pending > FLUSH_AT) this.flush();
  }

  /** Writes what has been collected, as far as the reader takes it. */
  flush(): void {
    if (this.#lost > 0) {
      this.#lines.push(`${JSON.stringify({ time: new Date().toISOString(), event: "lost", count: this.#lost })}\n`);
      this.#lost = 0;
    }
    if (this.#lines.length === 0) return;
    let rest = Buffer.from(this.#lines.join(""));
    // A pipe that can be written to has room for a page: so nothing ever waits for the reader.
    while (rest.length > 0 && poll([{ fd: this.#fd, events: POLLOUT }], 0)[0] !== 0) {
      const written = sys(NR.write, this.#fd, rest, Math.min(rest.length, PIPE_PAGE));
      // A reader that is gone is no reason to stop serving.
      rest = written < 0 ? Buffer.alloc(0) : rest.subarray(written);
    }
    this.#lines = rest.length === 0 ? [] : [rest.toString()];
    this.#pending = rest.length;
  }
}

/** Bytes given as Latin-1 are shown as the UTF-8 that they mostly are. */
function bytesAsText(path: string): string {
  return Buffer.from(path, "latin1").toString("utf8");
}
