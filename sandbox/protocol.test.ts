import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import path from "node:path";
import * as protocol from "./protocol.ts";

const header = readFileSync(path.join(import.meta.dirname, "init/protocol.h"), "utf8");

/** `PREFIX_NAME = 1,` and `#define PREFIX_NAME 0x1u` of the header, without the prefix. */
function constants(prefix: string, except: RegExp = /^$/): Record<string, number> {
  const pattern = new RegExp(`^(?:#define|) *${prefix}(\\w+)(?: =)? \\(?(0x[0-9a-f]+|\\d+)u?(?: << (\\d+))?`, "gm");
  const found = [...header.matchAll(pattern)].filter(([, name = ""]) => !except.test(name));
  return Object.fromEntries(
    found.map(([, name = "", value, shift]) => [name, Number(value) * 2 ** Number(shift ?? 0)]),
  );
}

test("op codes are those of protocol.h", () => {
  expect(constants("OP_", /^FLAG_/)).toEqual({ ...protocol.OP });
});

test("op flags are those of protocol.h", () => {
  expect(constants("OP_FLAG_")).toEqual({ ...protocol.OP_FLAG });
});

test("target kinds are those of protocol.h", () => {
  expect(constants("TARGET_")).toEqual({ ...protocol.TARGET });
});

test("message kinds are those of protocol.h", () => {
  expect(constants("MESSAGE_")).toEqual({ ...protocol.MESSAGE });
});

test("sync codes are those of protocol.h", () => {
  expect(constants("SYNC_")).toEqual({ ...protocol.SYNC });
});

test("limits are those of protocol.h", () => {
  const { PLAN_MAGIC, PLAN_VERSION, PLAN_MAX_BYTES, PLAN_MAX_OPS, PLAN_SLOTS } = protocol;
  expect(constants("PLAN_")).toEqual({
    MAGIC: PLAN_MAGIC,
    VERSION: PLAN_VERSION,
    MAX_BYTES: PLAN_MAX_BYTES,
    MAX_OPS: PLAN_MAX_OPS,
    SLOTS: PLAN_SLOTS,
  });
  expect(constants("NO_SLO")).toEqual({ T: protocol.NO_SLOT });
  expect(constants("MAX_CGROUP_")).toEqual({ FDS: protocol.MAX_CGROUP_FDS });
});
