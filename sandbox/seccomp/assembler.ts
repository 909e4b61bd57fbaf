/**
 * Assembles classic BPF backwards, from the last instruction to the first, so that the target of every jump is already
 * there when the jump is made. Jumps in BPF only go forward (linux/filter.h, Documentation/networking/filter.rst).
 *
 * A label is the number of instructions from its target to the end of the program. Conditional jumps reach 255
 * instructions; where that is too short, an unconditional one (32 bits) is put between.
 */

/** Codes of the instructions that seccomp filters need (linux/bpf_common.h). */
const loadWord = 0x20; // BPF_LD | BPF_W | BPF_ABS
const andConstant = 0x54; // BPF_ALU | BPF_AND | BPF_K
const jumpAlways = 0x05; // BPF_JMP | BPF_JA
const returnConstant = 0x06; // BPF_RET | BPF_K
const jumps = { equal: 0x15, greater: 0x25, greaterOrEqual: 0x35 } as const; // BPF_JMP | BPF_JEQ, JGT, JGE | BPF_K

/** sizeof(struct sock_filter): u16 code, u8 jt, u8 jf, u32 k. */
const instructionBytes = 8;
const farthestJump = 255;

export type Label = number;
export type Comparison = keyof typeof jumps;

interface Instruction {
  readonly code: number;
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly constant: number;
}

export class Assembler {
  /** The last instruction first. */
  readonly #instructions: Instruction[] = [];
  readonly #returns = new Map<number, Label>();

  get length(): number {
    return this.#instructions.length;
  }

  /** `return value`. Uses an instruction that is there already if it is near. */
  ret(value: number): Label {
    const existing = this.#returns.get(value);
    // Half the reach, so that the jumps that are made next can still get there directly.
    if (existing !== undefined && this.length - existing <= farthestJump / 2) return existing;
    const label = this.#emit(returnConstant, 0, 0, value);
    this.#returns.set(value, label);
    return label;
  }

  /** Loads the 32-bit word at `offset` of seccomp_data, then goes on at `next`. */
  load(offset: number, next: Label): Label {
    this.#goTo(next);
    return this.#emit(loadWord, 0, 0, offset);
  }

  /** Keeps those bits of the loaded word that are in `mask`, then goes on at `next`. */
  and(mask: number, next: Label): Label {
    this.#goTo(next);
    return this.#emit(andConstant, 0, 0, mask);
  }

  /** Goes on at `ifTrue` if the loaded word compares so with `constant` (unsigned), otherwise at `ifFalse`. */
  jump(comparison: Comparison, constant: number, ifTrue: Label, ifFalse: Label): Label {
    if (ifTrue === ifFalse) return ifTrue;
    const nearTrue = this.#near(ifTrue);
    const nearFalse = this.#near(ifFalse);
    return this.#emit(jumps[comparison], this.length - nearTrue, this.length - nearFalse, constant);
  }

  /** The program as `struct sock_filter[]`, little-endian like every host that cloche runs on. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.length * instructionBytes);
    const view = new DataView(bytes.buffer);
    let offset = 0;
    for (const { code, ifTrue, ifFalse, constant } of this.#instructions.toReversed()) {
      view.setUint16(offset, code, true);
      view.setUint8(offset + 2, ifTrue);
      view.setUint8(offset + 3, ifFalse);
      view.setUint32(offset + 4, constant, true);
      offset += instructionBytes;
    }
    return bytes;
  }

  /** A label that a conditional jump reaches even if one more instruction comes between. */
  #near(label: Label): Label {
    return this.length - label < farthestJump ? label : this.#emit(jumpAlways, 0, 0, this.length - label);
  }

  /** Makes `label` what the instruction emitted next falls through to. */
  #goTo(label: Label): void {
    if (label !== this.length) this.#emit(jumpAlways, 0, 0, this.length - label);
  }

  #emit(code: number, ifTrue: number, ifFalse: number, constant: number): Label {
    this.#instructions.push({ code, ifTrue, ifFalse, constant });
    return this.length;
  }
}
