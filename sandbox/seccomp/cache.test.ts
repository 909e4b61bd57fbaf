import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp } from "../../specutils/spec.ts";
import { cachedSeccomp, compilerVersion, loadSeccomp } from "./cache.ts";
import * as compiler from "./compile.ts";
import { compileSeccomp } from "./compile.ts";

const profile: Seccomp = {
  defaultAction: "SCMP_ACT_ERRNO",
  architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"],
  syscalls: [
    { names: ["read", "write", "socket", "openat2"], action: "SCMP_ACT_ALLOW" },
    { names: ["clone"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, op: "SCMP_CMP_NE", value: 1n }] },
  ],
};
const arch = process.arch === "arm64" ? "arm64" : "x64";

let directory: string;
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "seccomp-cache-")), "cache");
});
afterEach(() => rmSync(join(directory, ".."), { recursive: true }));

/** How often something compiles while `fn` runs. */
function compilationsIn(fn: () => void): number {
  const spy = spyOn(compiler, "compileSeccomp");
  try {
    fn();
    return spy.mock.calls.length;
  } finally {
    spy.mockRestore();
  }
}

describe("cachedSeccomp", () => {
  test("compiles a profile once, and answers the same from the file", () => {
    const compiled = compileSeccomp(profile, arch);
    const first = cachedSeccomp(directory, profile);
    expect(compilationsIn(() => expect(cachedSeccomp(directory, structuredClone(profile))).toEqual(first))).toBe(0);
    expect(Buffer.from(first.filter).equals(Buffer.from(compiled.filter))).toBe(true);
    expect(first).toMatchObject({ flags: compiled.flags, needsListener: false });
    expect(readdirSync(directory)).toEqual([String(first.key)]);
  });

  test("its directory and files are closed to others", () => {
    const { key } = cachedSeccomp(directory, profile);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, String(key))).mode & 0o777).toBe(0o600);
  });

  test("tells profiles apart that differ in one thing", () => {
    const [allow, clone] = profile.syscalls ?? [];
    if (allow === undefined || clone === undefined) throw new Error("the profile has two rules");
    const clones = (value: bigint, valueTwo?: bigint) => ({
      ...clone,
      args: [{ index: 0, op: "SCMP_CMP_MASKED_EQ", value, ...(valueTwo === undefined ? {} : { valueTwo }) }],
    });
    const others: Seccomp[] = [
      { ...profile, defaultErrnoRet: 2 },
      { ...profile, flags: [] },
      { ...profile, architectures: [] },
      { ...profile, syscalls: [clone, allow] },
      { ...profile, syscalls: [{ ...allow, names: ["read", "write,socket"] }] },
      { ...profile, syscalls: [clones(1n)] },
      { ...profile, syscalls: [clones(1n, 1n)] },
      { ...profile, syscalls: [clones(2n ** 63n, 1n)] },
      { ...profile, syscalls: [clones(2n ** 63n + 1n, 1n)] },
      { ...profile, syscalls: [{ ...allow, action: "SCMP_ACT_LOG" }] },
      { ...profile, syscalls: [{ ...allow, action: "SCMP_ACT_ERRNO", errnoRet: 5 }] },
    ];
    const keys = new Set(others.map((other) => cachedSeccomp(directory, other).key));
    expect(keys.size).toBe(others.length);
  });

  test("what only concerns the listener's other end makes no second file", () => {
    const notify = { ...profile, syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }] };
    cachedSeccomp(directory, { ...notify, listenerPath: "/run/a", listenerMetadata: "a" });
    const { needsListener } = cachedSeccomp(directory, { ...notify, listenerPath: "/run/b", listenerMetadata: "b" });
    expect(needsListener).toBe(true);
    expect(readdirSync(directory)).toHaveLength(1);
  });

  test("a damaged file is replaced", () => {
    const { key, filter } = cachedSeccomp(directory, profile);
    const path = join(directory, String(key));
    const good = readFileSync(path);
    const flipped = Buffer.from(good);
    flipped.writeUInt8(flipped.readUInt8(good.length - 1) ^ 1, good.length - 1);
    for (const damaged of [Buffer.alloc(0), good.subarray(0, 20), good.subarray(0, good.length - 8), flipped]) {
      writeFileSync(path, damaged);
      expect(Buffer.from(cachedSeccomp(directory, profile).filter).equals(Buffer.from(filter))).toBe(true);
      expect(readFileSync(path).equals(good)).toBe(true);
    }
  });

  test("a file that others can write is not used", () => {
    const { key } = cachedSeccomp(directory, profile);
    chmodSync(join(directory, String(key)), 0o666);
    expect(compilationsIn(() => cachedSeccomp(directory, profile))).toBe(1);
  });

  test("a file for another input with the same hash stays what it is", () => {
    const { key } = cachedSeccomp(directory, profile);
    const other = cachedSeccomp(directory, { ...profile, flags: [] });
    const path = join(directory, String(key));
    const foreign = readFileSync(join(directory, String(other.key)));
    writeFileSync(path, foreign);
    const again = cachedSeccomp(directory, profile);
    expect(again.key).toBe(`${key}-1`);
    expect(readFileSync(path).equals(foreign)).toBe(true);
    expect(cachedSeccomp(directory, profile).key).toBe(`${key}-1`);
  });

  test("compiles anyway if the file cannot be written, and leaves nothing", () => {
    writeFileSync(directory, "not a directory");
    expect(cachedSeccomp(directory, profile)).toMatchObject({ key: undefined, needsListener: false });
    expect(readFileSync(directory, "utf8")).toBe("not a directory");
  });

  test("a wrong profile is an error and leaves no file", () => {
    mkdirSync(directory);
    expect(() => cachedSeccomp(directory, { defaultAction: "SCMP_ACT_NONE" })).toThrow("linux.seccomp.defaultAction");
    expect(readdirSync(directory)).toEqual([]);
  });
});

test("loadSeccomp finds a filter by its key, and none that is not there", () => {
  const { key, ...compiled } = cachedSeccomp(directory, profile);
  expect(loadSeccomp(directory, String(key))).toEqual(compiled);
  expect(loadSeccomp(directory, "0000000000000000")).toBeUndefined();
});

test("compilerVersion is raised when the compiler makes something else of a profile", () => {
  const programs = (["x64", "arm64"] as const).map((host) => compileSeccomp(profile, host).filter);
  const digest = new Bun.CryptoHasher("sha256").update(Buffer.concat(programs)).digest("hex");
  expect([compilerVersion, digest.slice(0, 16)]).toEqual([1, "4b5d8eb7e767493c"]);
});
