/** Code for rules that look at a system call's arguments. */
import type { Assembler, Label } from "./assembler.ts";
import type { Condition, ConditionalRule } from "./policy.ts";

/** Where the arguments begin in struct seccomp_data (linux/seccomp.h): six little-endian u64. */
const argsOffset = 16;

/** Returns the rule's action if all its conditions hold, and goes on at `otherwise` if not. */
export function emitRule(program: Assembler, rule: ConditionalRule, otherwise: Label): Label {
  let next = program.ret(rule.action);
  for (const condition of rule.conditions.toReversed()) {
    next = emitCondition(program, condition, rule.argumentBits, next, otherwise);
  }
  return next;
}

function emitCondition(program: Assembler, condition: Condition, bits: 32 | 64, yes: Label, no: Label): Label {
  const low = Number(condition.value & 0xffffffffn);
  const high = Number(condition.value >> 32n);
  const offset = argsOffset + 8 * condition.index;
  const isWide = bits === 64;

  /** Compares the low words, and before that the high ones, whose difference decides if there is one. */
  const ordered = (comparison: "greater" | "greaterOrEqual", ifTrue: Label, ifFalse: Label): Label => {
    const lowWord = program.load(offset, program.jump(comparison, low, ifTrue, ifFalse));
    if (!isWide) return lowWord;
    const notGreater = program.jump("equal", high, lowWord, ifFalse);
    return program.load(offset + 4, program.jump("greater", high, ifTrue, notGreater));
  };
  const masked = (ifTrue: Label, ifFalse: Label): Label => {
    const lowWord = emitMaskedWord(program, offset, Number(condition.mask & 0xffffffffn), low, ifTrue, ifFalse);
    if (!isWide) return lowWord;
    return emitMaskedWord(program, offset + 4, Number(condition.mask >> 32n), high, lowWord, ifFalse);
  };

  switch (condition.op) {
    case "SCMP_CMP_EQ":
    case "SCMP_CMP_MASKED_EQ":
      return masked(yes, no);
    case "SCMP_CMP_NE":
      return masked(no, yes);
    case "SCMP_CMP_GT":
      return ordered("greater", yes, no);
    case "SCMP_CMP_GE":
      return ordered("greaterOrEqual", yes, no);
    case "SCMP_CMP_LT":
      return ordered("greaterOrEqual", no, yes);
    case "SCMP_CMP_LE":
      return ordered("greater", no, yes);
  }
}

/** Goes on at `ifTrue` if the word at `offset` equals `value` in the bits of `mask`, of which `value` has no others. */
function emitMaskedWord(
  program: Assembler,
  offset: number,
  mask: number,
  value: number,
  ifTrue: Label,
  ifFalse: Label,
): Label {
  if (mask === 0) return ifTrue;
  const compare = program.jump("equal", value, ifTrue, ifFalse);
  return program.load(offset, mask === 0xffffffff ? compare : program.and(mask, compare));
}
