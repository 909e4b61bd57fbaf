import { describe, expect, test } from "bun:test";
import { constants } from "node:os";
import { parseSignal, signalName } from "./signals.ts";

describe("parseSignal", () => {
  test.each([
    ["SIGKILL", 9],
    ["KILL", 9],
    ["kill", 9],
    ["sigterm", 15],
    ["9", 9],
    ["0", 0],
    ["64", 64],
    ["SIGRTMIN", 34],
    ["RTMIN+3", 37],
    ["SIGRTMIN+30", 64],
    ["SIGRTMAX", 64],
    ["SIGRTMAX-14", 50],
    ["SIGCLD", 17],
    ["SIGPOLL", 29],
  ])("reads %s as %d", (text, number) => {
    expect(parseSignal(text)).toBe(number);
  });

  test.each([
    "",
    "SIG",
    "SIGFOO",
    "65",
    "-1",
    "+9",
    "9.0",
    "0x9",
    " 9",
    "999999999999",
    "SIGRTMIN-1",
    "SIGRTMIN+31",
    "SIGRTMAX+1",
    "SIGRTMIN+",
    "toString",
  ])("refuses %j", (text) => {
    expect(() => parseSignal(text)).toThrow(`unknown signal ${JSON.stringify(text)}`);
  });

  test("agrees with the system's signal numbers", () => {
    for (const [name, number] of Object.entries(constants.signals)) expect(parseSignal(name)).toBe(number);
  });
});

describe("signalName", () => {
  test("is what parseSignal reads back, for every signal", () => {
    for (let number = 0; number <= 64; number++) expect(parseSignal(signalName(number))).toBe(number);
  });

  test("names 9, 34 and 37, and leaves 0 and 33 as numbers", () => {
    expect([9, 34, 37, 0, 33].map(signalName)).toEqual(["SIGKILL", "SIGRTMIN", "SIGRTMIN+3", "0", "33"]);
  });
});
