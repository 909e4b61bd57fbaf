/** Draws operations, makes them on both sides, compares. */
import { NR, sys } from "../../../specutils/syscall.ts";
import { operations, remember, SLOTS } from "./operations.ts";
import { Random } from "./random.ts";
import { Side } from "./side.ts";

/** Root, and two users; the second is in a group of the first. */
const users = [
  { uid: 0, gid: 0, groups: [0] },
  { uid: 0, gid: 0, groups: [0] },
  { uid: 1000, gid: 1000, groups: [1000, 2000] },
  { uid: 1001, gid: 1001, groups: [1001, 1000] },
] as const;
const umasks = [0o022, 0o000, 0o077, 0o027] as const;
/** CAP_FSETID. */
const FSETID = 4;
const CAPABILITY_VERSION = 0x20080522;

export class Driver {
  readonly #random: Random;
  readonly #sides: readonly [plain: Side, served: Side];
  readonly #counts = new Map<string, number>();
  readonly #history: string[] = [];
  readonly #deck = operations.flatMap(([weight, draw]) => Array.from({ length: weight }, () => draw));
  #user: (typeof users)[number] = users[0];

  constructor(seed: number, plain: string, served: string, isCached: boolean) {
    this.#random = new Random(seed);
    this.#sides = [new Side(plain, isCached), new Side(served, isCached)];
  }

  /** Makes `count` operations. @returns the first difference, in words */
  run(count: number): string | undefined {
    for (let index = 0; index < count; index++) {
      if (this.#random.once(20)) this.#becomeSomebody();
      const difference = this.#step(index);
      if (difference !== undefined) return `${this.#history.slice(-25).join("\n")}\n${difference}`;
    }
    return undefined;
  }

  /** How many operations succeeded, and how many failed with what. */
  summary(): string {
    const sorted = [...this.#counts].sort(([, a], [, b]) => b - a);
    return sorted.map(([result, count]) => `${result} ${count}`).join(", ");
  }

  #step(index: number): string | undefined {
    const drawn = this.#random.pick(this.#deck)(this.#random);
    const isAging = this.#random.once(4);
    if (isAging) this.#asRoot(() => this.#age(drawn.paths));
    const [plain, served] = this.#sides.map((side) => drawn.run(side));
    const words = `${index} (uid ${this.#user.uid})${isAging ? " aged" : ""} ${drawn.words}`;
    this.#history.push(`${words} = ${plain}`);
    if (!/^E[A-Z]/.test(plain ?? "E")) remember(drawn.paths);
    const kind = /^E[A-Z0-9]+$/.test(plain ?? "") ? (plain ?? "") : "ok";
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    if (plain !== served) return `${words}\n  plain:  ${plain}\n  served: ${served}`;
    return this.#asRoot(() => this.#compare(words, drawn.paths));
  }

  #age(paths: readonly string[]): void {
    for (const side of this.#sides) {
      for (const path of paths) side.age(path);
    }
  }

  /** What the paths of an operation and all open files are, on both sides. */
  #compare(words: string, paths: readonly string[]): string | undefined {
    for (const path of paths) {
      const [plain, served] = this.#sides.map((side) => side.describe(side.root, path, false));
      if (plain !== served) return `${words}: then ${path}\n  plain:  ${plain}\n  served: ${served}`;
    }
    for (let slot = 0; slot < SLOTS; slot++) {
      const [plain, served] = this.#sides.map((side) =>
        side.slot(slot) < 0 ? "" : side.describe(side.slot(slot), "", false),
      );
      if (plain !== served) return `${words}: then [${slot}]\n  plain:  ${plain}\n  served: ${served}`;
    }
    return undefined;
  }

  #becomeSomebody(): void {
    sys(NR.umask, this.#random.pick(umasks));
    this.#become(this.#random.pick(users));
  }

  /** Ids and capabilities of this thread alone, by raw calls; the kernel takes capabilities from a user and gives them back. */
  #become(user: (typeof users)[number]): void {
    this.#user = user;
    sys(NR.setfsuid, 0);
    const groups = new Uint32Array(user.groups);
    sys(NR.setgroups, groups.length, new Uint8Array(groups.buffer));
    sys(NR.setfsgid, user.gid);
    sys(NR.setfsuid, user.uid);
  }

  #asRoot<T>(body: () => T): T {
    const before = this.#user;
    if (before.uid !== 0) this.#become(users[0]);
    const result = body();
    if (before.uid !== 0) this.#become(before);
    return result;
  }
}

/** Takes CAP_FSETID from this thread for good. */
export function dropFsetid(): void {
  const header = new Uint8Array(new Uint32Array([CAPABILITY_VERSION, 0]).buffer);
  const data = new Uint32Array(6);
  const bytes = new Uint8Array(data.buffer);
  sys(NR.capget, header, bytes);
  data[0] = (data[0] ?? 0) & ~(1 << FSETID);
  data[1] = (data[1] ?? 0) & ~(1 << FSETID);
  const result = sys(NR.capset, header, bytes);
  if (result < 0) throw new Error(`capset: ${result}`);
}
