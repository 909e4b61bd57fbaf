import { expect, test } from "bun:test";
import type { DeviceRule } from "../../specutils/spec.ts";
import { checkV1Devices, planDevices, v1DeviceLines } from "./devices.ts";

const DENY_ALL: DeviceRule = { allow: false, access: "rwm" };
const ALLOW_ALL: DeviceRule = { allow: true, access: "rwm" };

function v1(rules: DeviceRule[]): string[] {
  return (planDevices(rules) ?? []).flatMap((rule) =>
    v1DeviceLines(rule).map((line) => `${rule.allow ? "+" : "-"}${line}`),
  );
}

test("planDevices allows the default devices and nothing else without rules", () => {
  expect(v1([])).toEqual(v1([DENY_ALL]));
  expect(v1([])).toContain("+c 1:3 rwm");
  expect(v1([])).toContain("+c 5:2 rwm");
  expect(v1([])).not.toContain("+a");
});

test("planDevices has nothing to do when the last word is that everything is allowed", () => {
  expect(planDevices([DENY_ALL, ALLOW_ALL])).toBeUndefined();
  expect(planDevices([ALLOW_ALL, { allow: true, type: "c", major: 1, minor: 1, access: "r" }])).toBeUndefined();
});

test("planDevices keeps a denial after everything was allowed", () => {
  expect(v1([ALLOW_ALL, { allow: false, type: "c", major: 1, minor: 11, access: "w" }]).slice(0, 2)).toEqual([
    "+a",
    "-c 1:11 w",
  ]);
});

test("planDevices reads what engines send: no type, -1 for any, letters in any order", () => {
  const rules: DeviceRule[] = [
    { allow: true, type: "c", major: 10, minor: -1, access: "rmw" },
    { allow: true, type: "u", major: 4, minor: 1 },
    { allow: true, major: 7, access: "r" },
  ];
  expect(v1([DENY_ALL, ...rules]).slice(0, 4)).toEqual(["+c 10:* rwm", "+c 4:1 rwm", "+b 7:* r", "+c 7:* r"]);
});

test("planDevices refuses an unknown type or access, naming the rule", () => {
  expect(() => planDevices([DENY_ALL, { allow: true, type: "p" }])).toThrow("linux.resources.devices[1]: type");
  expect(() => planDevices([{ allow: true, access: "rx" }])).toThrow('linux.resources.devices[0]: access: got "rx"');
});

test("checkV1Devices refuses a denial that the v1 controller would accept and ignore", () => {
  const range: DeviceRule = { allow: true, type: "c", access: "rwm" };
  const hole: DeviceRule = { allow: false, type: "c", major: 1, minor: 11, access: "w" };
  expect(() => checkV1Devices(planDevices([DENY_ALL, range, hole]) ?? [])).toThrow("linux.resources.devices[2]");
  expect(() => checkV1Devices(planDevices([DENY_ALL, { ...hole, allow: true }, hole]) ?? [])).not.toThrow();
  expect(() => checkV1Devices(planDevices([ALLOW_ALL, hole]) ?? [])).not.toThrow();
});
