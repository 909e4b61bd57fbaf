/**
 * Device rules: `linux.resources.devices`, then the devices that every container may use.
 *
 * A container starts from "nothing is allowed", as with runc: a config without rules does not open the host's disks. On
 * v1 the rules are written to devices.allow and devices.deny, on v2 they become a BPF program (device-filter.ts).
 */

import { closeSync, constants, openSync, writeSync } from "node:fs";
import { reasonOf, SpecError } from "../../specutils/errors.ts";
import type { DeviceRule } from "../../specutils/spec.ts";
import { errorCode } from "./files.ts";
import type { DeviceAccess } from "./types.ts";

const FIELD = "linux.resources.devices";
const CLAUSE = "config-linux.md#allowed-device-list";
const ANY = undefined;

/**
 * The spec's default devices with pts and ptmx (config-linux.md#default-devices), /dev/net/tun, which container images
 * have come to expect from runc, and mknod, which by itself gives no access.
 */
const ALWAYS_ALLOWED: readonly DeviceAccess[] = [
  always("c", ANY, ANY, "m"),
  always("b", ANY, ANY, "m"),
  always("c", 1, 3, "rwm"),
  always("c", 1, 5, "rwm"),
  always("c", 1, 7, "rwm"),
  always("c", 1, 8, "rwm"),
  always("c", 1, 9, "rwm"),
  always("c", 5, 0, "rwm"),
  always("c", 5, 2, "rwm"),
  always("c", 136, ANY, "rwm"),
  always("c", 10, 200, "rwm"),
];

function always(type: "b" | "c", major: number | undefined, minor: number | undefined, access: string): DeviceAccess {
  return { allow: true, type, major, minor, access, field: undefined };
}

/**
 * The rules to apply in order after a deny-all, or `undefined` if they end up allowing everything.
 *
 * @throws SpecError if a rule has an unknown type or access
 */
export function planDevices(rules: readonly DeviceRule[]): DeviceAccess[] | undefined {
  const all = rules.map((rule, index) => normalize(rule, `${FIELD}[${index}]`));
  const lastReset = all.findLastIndex(isReset);
  if (lastReset >= 0 && all[lastReset]?.allow && all.slice(lastReset).every((rule) => rule.allow)) return undefined;
  // What came before a rule for everything has no effect any more.
  const effective = lastReset < 0 ? all : all.slice(all[lastReset]?.allow ? lastReset : lastReset + 1);
  return [...effective, ...ALWAYS_ALLOWED];
}

/** True for a rule that decides about every device and every access. */
export function isReset(rule: DeviceAccess): boolean {
  return rule.type === "a" && rule.major === undefined && rule.minor === undefined && rule.access.length === 3;
}

/** podman sends -1 for "any"; letters may come in any order; nothing means everything. */
function normalize(rule: DeviceRule, field: string): DeviceAccess {
  const { type = "a", access = "" } = rule;
  const letters = access === "" ? "rwm" : access;
  if (type !== "a" && type !== "b" && type !== "c" && type !== "u") throw ruleError(field, `type: got "${type}"`);
  if (/[^rwm]/.test(letters)) throw ruleError(field, `access: got "${access}", want a combination of r, w and m`);
  return {
    allow: rule.allow,
    type: type === "u" ? "c" : type,
    major: rule.major === undefined || rule.major < 0 ? undefined : rule.major,
    minor: rule.minor === undefined || rule.minor < 0 ? undefined : rule.minor,
    access: [..."rwm"].filter((letter) => letters.includes(letter)).join(""),
    field,
  };
}

/**
 * Checks that the v1 controller can express the rules. It keeps a list of exceptions from "all" or "none", and removing
 * one takes effect only on exactly the same device: denying one device out of an allowed range would be accepted and do
 * nothing.
 *
 * @throws SpecError if a deny rule would have no effect
 */
export function checkV1Devices(rules: readonly DeviceAccess[]): void {
  let allowed: DeviceAccess[] = [];
  let isDefaultAllow = false;
  for (const rule of rules) {
    if (isReset(rule)) {
      isDefaultAllow = rule.allow;
      allowed = [];
    } else if (rule.allow) {
      if (!isDefaultAllow) allowed.push(rule);
    } else if (!isDefaultAllow && allowed.some((other) => overlaps(other, rule) && !isSameDevice(other, rule))) {
      throw ruleError(
        rule.field ?? FIELD,
        "cgroup v1 cannot deny a device out of a wider range that an earlier rule allows",
      );
    }
  }
}

function overlaps(left: DeviceAccess, right: DeviceAccess): boolean {
  const meets = (a: unknown, b: unknown, any: unknown): boolean => a === any || b === any || a === b;
  return (
    meets(left.type, right.type, "a") &&
    meets(left.major, right.major, undefined) &&
    meets(left.minor, right.minor, undefined) &&
    [...left.access].some((letter) => right.access.includes(letter))
  );
}

function isSameDevice(left: DeviceAccess, right: DeviceAccess): boolean {
  const type = left.type === right.type || right.type === "a";
  return type && left.major === right.major && left.minor === right.minor;
}

/** The lines for devices.allow and devices.deny. `a` always means every access there, so anything less is spelt out. */
export function v1DeviceLines(rule: DeviceAccess): string[] {
  if (isReset(rule)) return ["a"];
  const types = rule.type === "a" ? ["b", "c"] : [rule.type];
  return types.map((type) => `${type} ${rule.major ?? "*"}:${rule.minor ?? "*"} ${rule.access}`);
}

/**
 * Writes rules to a v1 devices cgroup. With `isFresh` the deny-all comes first; it is not possible on a cgroup that has
 * children, and not wanted on one in use.
 *
 * @throws SpecError naming the rule that the kernel refused
 */
export function writeV1Devices(dir: string, rules: readonly DeviceAccess[], isFresh: boolean): void {
  const allowFd = openSync(`${dir}/devices.allow`, constants.O_WRONLY);
  let denyFd: number | undefined;
  try {
    denyFd = openSync(`${dir}/devices.deny`, constants.O_WRONLY);
    if (isFresh) writeSync(denyFd, "a");
    for (const rule of rules) {
      for (const line of v1DeviceLines(rule)) {
        try {
          writeSync(rule.allow ? allowFd : denyFd, line);
        } catch (error) {
          // The parent cgroup does not allow it. A device that nobody asked for is then simply not there.
          if (rule.field === undefined && errorCode(error) === "EPERM") continue;
          throw ruleError(
            rule.field ?? "default devices",
            `devices.${rule.allow ? "allow" : "deny"} "${line}": ${reasonOf(error)}`,
          );
        }
      }
    }
  } finally {
    closeSync(allowFd);
    if (denyFd !== undefined) closeSync(denyFd);
  }
}

function ruleError(field: string, cause: string): SpecError {
  return new SpecError(`invalid ${field}: ${cause}`, field, CLAUSE);
}
