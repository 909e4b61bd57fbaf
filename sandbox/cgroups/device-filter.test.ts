import { expect, test } from "bun:test";
import type { DeviceRule } from "../../specutils/spec.ts";
import { deviceProgram } from "./device-filter.ts";
import { planDevices } from "./devices.ts";

/** Runs the few eBPF instructions that the program uses, as the kernel does for one access to one device. */
function isAllowed(program: Uint8Array, type: "b" | "c", major: number, minor: number, access: string): boolean {
  const view = new DataView(program.buffer);
  const bits = [...access].reduce((sum, letter) => sum | { m: 1, r: 2, w: 4 }[letter as "m" | "r" | "w"], 0);
  const context = [(bits << 16) | (type === "b" ? 1 : 2), major, minor];
  const registers: number[] = new Array(11).fill(0);
  for (let at = 0; at < program.length; at += 8) {
    const opcode = view.getUint8(at);
    const target = view.getUint8(at + 1) & 15;
    const source = view.getUint8(at + 1) >> 4;
    const offset = view.getInt16(at + 2, true);
    const number = view.getUint32(at + 4, true);
    const value = registers[target] ?? 0;
    if (opcode === 0x61) registers[target] = context[offset / 4] ?? 0;
    else if (opcode === 0xbf) registers[target] = registers[source] ?? 0;
    else if (opcode === 0xb7) registers[target] = number;
    else if (opcode === 0x54) registers[target] = (value & number) >>> 0;
    else if (opcode === 0x74) registers[target] = value >>> number;
    else if (opcode === 0x56) at += value !== number ? offset * 8 : 0;
    else if (opcode === 0x16) at += value === number ? offset * 8 : 0;
    else if (opcode === 0x95) return registers[0] === 1;
    else throw new Error(`unknown opcode ${opcode}`);
  }
  throw new Error("the program ran past its end");
}

function filter(rules: DeviceRule[]): (type: "b" | "c", major: number, minor: number, access: string) => boolean {
  const program = deviceProgram(planDevices(rules) ?? []);
  return (...device) => isAllowed(program, ...device);
}

test("the filter allows the default devices and no others", () => {
  const allows = filter([{ allow: false, access: "rwm" }]);
  expect(allows("c", 1, 3, "rw")).toBeTrue();
  expect(allows("c", 136, 77, "rwm")).toBeTrue();
  expect(allows("c", 1, 11, "r")).toBeFalse();
  expect(allows("b", 1, 3, "r")).toBeFalse();
  expect(allows("b", 8, 0, "m")).toBeTrue();
  expect(allows("b", 8, 0, "rm")).toBeFalse();
});

test("the filter decides each kind of access by the last rule that matches it", () => {
  const allows = filter([
    { allow: true, type: "c", access: "rw" },
    { allow: false, type: "c", major: 1, minor: 11, access: "w" },
    { allow: true, type: "b", major: 8, access: "r" },
    { allow: true, type: "b", major: 8, minor: 1, access: "w" },
  ]);
  expect(allows("c", 1, 11, "r")).toBeTrue();
  expect(allows("c", 1, 11, "rw")).toBeFalse();
  expect(allows("c", 1, 12, "rw")).toBeTrue();
  expect(allows("b", 8, 1, "rw")).toBeTrue();
  expect(allows("b", 8, 2, "rw")).toBeFalse();
});

test("the filter allows everything but what is denied afterwards", () => {
  const allows = filter([
    { allow: true, access: "rwm" },
    { allow: false, major: 10, access: "r" },
  ]);
  expect(allows("b", 250, 3, "rwm")).toBeTrue();
  expect(allows("b", 10, 3, "r")).toBeFalse();
  expect(allows("c", 10, 3, "w")).toBeTrue();
  expect(allows("c", 10, 200, "rw")).toBeTrue();
});
