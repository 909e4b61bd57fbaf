import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { lutimesSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { claimRange, hasAbandoned, parsePool, releaseAbandoned, releaseRange } from "./id-ranges.ts";

const NOBODY = "no-user-of-that-name";
const FIRST = 0x7000_0000;

async function inClaims(body: (claims: string, state: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/cloche-claims-`);
  try {
    await body(`${directory}/claims`, `${directory}/state`);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const claimed = (claims: string) => readdirSync(claims).filter((name) => name !== "lock");

test("claimRange takes the first range that is free, releaseRange gives it back", () =>
  inClaims(async (claims, state) => {
    const [first, second] = [await claimRange(NOBODY, state, claims), await claimRange(NOBODY, `${state}2`, claims)];
    expect([first.range, second.range]).toEqual([
      { uid: FIRST, gid: FIRST },
      { uid: FIRST + 65536, gid: FIRST + 65536 },
    ]);
    expect(readlinkSync(`${claims}/${FIRST}-${FIRST}@state`)).toStartWith(`${state}#`);
    releaseRange(first.range, `${state}2`, claims);
    expect(claimed(claims)).toHaveLength(2);
    releaseRange(first.range, state, claims);
    releaseRange(first.range, state, claims);
    expect((await claimRange(NOBODY, state, claims)).range).toEqual(first.range);
  }));

test("a claim gives back what it has taken, and not what was taken in the same name since", () =>
  inClaims(async (claims, state) => {
    const first = await claimRange(NOBODY, state, claims);
    expect(first.isHeld()).toBe(true);
    releaseRange(first.range, state, claims);
    expect(first.isHeld()).toBe(false);
    const second = await claimRange(NOBODY, state, claims);
    expect(second.range).toEqual(first.range);
    expect(first.isHeld()).toBe(false);
    first.release();
    expect(second.isHeld()).toBe(true);
    second.release();
    second.release();
    expect(claimed(claims)).toEqual([]);
  }));

test("what a process that is gone has claimed for a state file is given back, and what one takes that is there is not", () =>
  inClaims(async (claims, state) => {
    const held = await claimRange(NOBODY, state, claims);
    expect(hasAbandoned(state, claims)).toBe(false);
    const module = path.join(import.meta.dirname, "id-ranges.ts");
    const script = `const { claimRange } = await import(${JSON.stringify(module)}); await claimRange("${NOBODY}", "${state}", "${claims}")`;
    expect(spawnSync(process.execPath, ["-e", script]).status).toBe(0);
    expect(claimed(claims)).toHaveLength(2);
    expect(hasAbandoned(`${state}2`, claims)).toBe(false);
    expect(hasAbandoned(state, claims)).toBe(true);
    releaseAbandoned(state, { uid: FIRST + 65536, gid: FIRST + 65536 }, claims);
    expect(claimed(claims)).toHaveLength(2);
    releaseAbandoned(state, undefined, claims);
    expect([claimed(claims).length, held.isHeld()]).toEqual([1, true]);
  }));

test("claimRange overlaps no range of another pool", () =>
  inClaims(async (claims, state) => {
    await claimRange(NOBODY, state, claims);
    symlinkSync(state, `${claims}/${FIRST + 65536 + 1000}-5000000`);
    expect((await claimRange(NOBODY, state, claims)).range.uid).toBe(FIRST + 3 * 65536);
    symlinkSync(state, `${claims}/5000000-${FIRST + 5 * 65536 - 1}`);
    expect((await claimRange(NOBODY, state, claims)).range.uid).toBe(FIRST + 6 * 65536);
  }));

test(
  "claimRange sweeps claims whose state file is gone, when all are taken, and says so when there is none",
  () =>
    inClaims(async (claims, state) => {
      writeFileSync(state, "");
      await claimRange(NOBODY, state, claims);
      for (let index = 1; index < 4094; index++) {
        const start = FIRST + index * 65536;
        symlinkSync(state, `${claims}/${start}-${start}@state`);
      }
      await expect(claimRange(NOBODY, state, claims)).rejects.toThrow("all ranges of 65536 ids are taken");
      const [old, young] = [FIRST + 7 * 65536, FIRST + 9 * 65536];
      for (const start of [old, young]) {
        releaseRange({ uid: start, gid: start }, state, claims);
        symlinkSync(`${state}-that-is-gone`, `${claims}/${start}-${start}`);
      }
      // A create that has not written its state file yet looks the same, but not for long.
      lutimesSync(`${claims}/${old}-${old}`, 1, 1);
      expect((await claimRange(NOBODY, state, claims)).range.uid).toBe(old);
      await expect(claimRange(NOBODY, state, claims)).rejects.toThrow("are taken");
    }),
  60_000,
);

test("parsePool reads a user's lines, and refuses those that are none", () => {
  const text = "root:100000:65536\ncloche:200000:65536\ncloche:400000:131072\n";
  expect(parsePool(text, "/etc/subuid", "cloche")).toEqual([
    { start: 200000, size: 65536 },
    { start: 400000, size: 131072 },
  ]);
  expect(parsePool(text, "/etc/subuid", "nobody")).toBeUndefined();
  for (const line of ["cloche:0:65536", "cloche:x:1", "cloche:4294967295:65536", "cloche:1", "cloche:-5:65536"]) {
    expect(() => parsePool(line, "/etc/subuid", "cloche")).toThrow("must be user:start:count");
  }
});
