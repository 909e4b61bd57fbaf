/**
 * Device rules on cgroup v2: an eBPF program attached to the cgroup, which the kernel asks about every open and mknod
 * of a device node (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15).
 *
 * The program looks at the rules from last to first, and takes from the wanted access what a rule decides: a denied bit
 * ends it with "no", and when nothing is left the answer is "yes". So for each bit the last matching rule counts, which
 * is what the spec's order means, and any rule can be expressed, unlike on v1.
 */

import { closeSync, constants, openSync } from "node:fs";
import { UnsupportedError } from "../../specutils/errors.ts";
import { addressOf, NR, strerror, sys } from "../../specutils/syscall.ts";
import type { DeviceAccess } from "./types.ts";

// Opcodes of linux/bpf_common.h and linux/bpf.h: class | source | operation.
const LOAD_WORD = 0x61;
const MOVE_REGISTER = 0xbf;
const MOVE_NUMBER = 0xb7;
const AND_NUMBER_32 = 0x54;
const SHIFT_RIGHT_32 = 0x74;
const JUMP_NOT_EQUAL_32 = 0x56;
const JUMP_EQUAL_32 = 0x16;
const EXIT = 0x95;

/** struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor. */
const CONTEXT = { accessType: 0, major: 4, minor: 8 };
const DEVICE_TYPE = { b: 1, c: 2 };
/** BPF_DEVCG_ACC_*. */
const ACCESS_BIT: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const ALL_ACCESS = 7;

const R0 = 0;
const R1 = 1;
const TYPE = 2;
const WANTED = 3;
const MAJOR = 4;
const MINOR = 5;
const SCRATCH = 6;

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_DETACH = 9;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_PROG_QUERY = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
const BPF_F_ALLOW_MULTI = 2;
/** Far above what anybody attaches to one cgroup; the kernel allows 64. */
const MAX_ATTACHED = 64;

/** The program for rules that are applied in order after a deny-all, as struct bpf_insn[]. */
export function deviceProgram(rules: readonly DeviceAccess[]): Uint8Array {
  const code: number[] = [];
  emit(code, LOAD_WORD, TYPE, R1, CONTEXT.accessType, 0);
  emit(code, MOVE_REGISTER, WANTED, TYPE, 0, 0);
  emit(code, AND_NUMBER_32, TYPE, 0, 0, 0xffff);
  emit(code, SHIFT_RIGHT_32, WANTED, 0, 0, 16);
  emit(code, LOAD_WORD, MAJOR, R1, CONTEXT.major, 0);
  emit(code, LOAD_WORD, MINOR, R1, CONTEXT.minor, 0);
  for (const rule of [...rules].reverse()) code.push(...ruleCode(rule));
  code.push(...answer(0));
  return Uint8Array.from(code);
}

function ruleCode(rule: DeviceAccess): number[] {
  const bits = [...rule.access].reduce((sum, letter) => sum | (ACCESS_BIT[letter] ?? 0), 0);
  const body: number[] = [];
  if (rule.allow) {
    // What this rule allows is settled; with nothing left to settle, the answer is yes.
    emit(body, AND_NUMBER_32, WANTED, 0, 0, ALL_ACCESS & ~bits);
    emit(body, JUMP_NOT_EQUAL_32, WANTED, 0, 2, 0);
    body.push(...answer(1));
  } else {
    emit(body, MOVE_REGISTER, SCRATCH, WANTED, 0, 0);
    emit(body, AND_NUMBER_32, SCRATCH, 0, 0, bits);
    emit(body, JUMP_EQUAL_32, SCRATCH, 0, 2, 0);
    body.push(...answer(0));
  }
  const conditions: [register: number, value: number][] = [];
  if (rule.type !== "a") conditions.push([TYPE, DEVICE_TYPE[rule.type]]);
  if (rule.major !== undefined) conditions.push([MAJOR, rule.major]);
  if (rule.minor !== undefined) conditions.push([MINOR, rule.minor]);
  const code: number[] = [];
  for (const [index, [register, value]] of conditions.entries()) {
    const rest = conditions.length - index - 1 + body.length / 8;
    emit(code, JUMP_NOT_EQUAL_32, register, 0, rest, value);
  }
  return [...code, ...body];
}

function answer(value: 0 | 1): number[] {
  const code: number[] = [];
  emit(code, MOVE_NUMBER, R0, 0, 0, value);
  emit(code, EXIT, 0, 0, 0, 0);
  return code;
}

/** struct bpf_insn: opcode, two registers in one byte, a 16-bit jump distance or offset, a 32-bit number. */
function emit(code: number[], opcode: number, target: number, source: number, offset: number, number: number): void {
  code.push(opcode, (source << 4) | target, offset & 0xff, (offset >> 8) & 0xff);
  code.push(number & 0xff, (number >> 8) & 0xff, (number >> 16) & 0xff, (number >>> 24) & 0xff);
}

/**
 * Attaches the program for `rules` and then takes away those that were attached before, so that at no moment more is
 * allowed than before or after.
 *
 * @throws UnsupportedError if the kernel or our privileges do not allow it: a container without its filter is not made
 */
export function setDeviceFilter(dir: string, rules: readonly DeviceAccess[]): void {
  const cgroupFd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  let programFd = -1;
  try {
    const before = attachedPrograms(cgroupFd);
    programFd = loadProgram(deviceProgram(rules));
    check("attach the device filter", bpf(BPF_PROG_ATTACH, attachAttributes(cgroupFd, programFd, BPF_F_ALLOW_MULTI)));
    for (const id of before) detach(cgroupFd, id);
  } finally {
    if (programFd >= 0) closeSync(programFd);
    closeSync(cgroupFd);
  }
}

function loadProgram(instructions: Uint8Array): number {
  const license = Buffer.from("Apache-2.0\0");
  const attributes = new DataView(new ArrayBuffer(48));
  attributes.setUint32(0, BPF_PROG_TYPE_CGROUP_DEVICE, true);
  attributes.setUint32(4, instructions.length / 8, true);
  attributes.setBigUint64(8, addressOf(instructions), true);
  attributes.setBigUint64(16, addressOf(license), true);
  return check("load the device filter", bpf(BPF_PROG_LOAD, attributes));
}

/** Ids of the device programs attached to this very cgroup. */
function attachedPrograms(cgroupFd: number): number[] {
  const ids = new Uint32Array(MAX_ATTACHED);
  const attributes = new DataView(new ArrayBuffer(32));
  attributes.setUint32(0, cgroupFd, true);
  attributes.setUint32(4, BPF_CGROUP_DEVICE, true);
  attributes.setBigUint64(16, addressOf(new Uint8Array(ids.buffer)), true);
  attributes.setUint32(24, ids.length, true);
  check("query device filters", bpf(BPF_PROG_QUERY, attributes));
  return [...ids.subarray(0, attributes.getUint32(24, true))];
}

function detach(cgroupFd: number, id: number): void {
  const attributes = new DataView(new ArrayBuffer(16));
  attributes.setUint32(0, id, true);
  const programFd = check("open a device filter", bpf(BPF_PROG_GET_FD_BY_ID, attributes));
  try {
    check("detach a device filter", bpf(BPF_PROG_DETACH, attachAttributes(cgroupFd, programFd, 0)));
  } finally {
    closeSync(programFd);
  }
}

function attachAttributes(cgroupFd: number, programFd: number, flags: number): DataView<ArrayBuffer> {
  const attributes = new DataView(new ArrayBuffer(16));
  attributes.setUint32(0, cgroupFd, true);
  attributes.setUint32(4, programFd, true);
  attributes.setUint32(8, BPF_CGROUP_DEVICE, true);
  attributes.setUint32(12, flags, true);
  return attributes;
}

/** bpf(2). The kernel takes attributes shorter than its own as if filled up with zeros. */
function bpf(command: number, attributes: DataView<ArrayBuffer>): number {
  const bytes = new Uint8Array(attributes.buffer);
  return sys(NR.bpf, command, bytes, bytes.length);
}

function check(what: string, result: number): number {
  if (result >= 0) return result;
  throw new UnsupportedError(`cannot set linux.resources.devices: cannot ${what}: ${strerror(-result)}`);
}
