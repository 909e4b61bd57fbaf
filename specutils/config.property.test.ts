import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkConfig, parseConfig } from "./config.ts";
import { SpecError, UnsupportedError } from "./errors.ts";
import { type Json, JsonError, parseJson, readJson } from "./json.ts";

const FULL_CONFIG = readFileSync(join(import.meta.dir, "testdata/full-config.json"), "utf8");
const COUNT = 20_000;
const LONGEST_MESSAGE = 700;

/** Numbers from 0 to 2^32 - 1, the same ones for the same seed (xorshift32). */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

type Random = (limit: number) => number;

function pick<T>(items: readonly T[], random: Random): T {
  return items[random(items.length)] as T;
}

const ODD_VALUES: readonly string[] = [
  "null",
  "true",
  "0",
  "-1",
  "1.5",
  "1e400",
  "-0",
  "4294967296",
  "9007199254740993",
  "18446744073709551616",
  '""',
  '"\\u0000"',
  '"../../etc"',
  '"\\ud800"',
  '":"',
  "[]",
  "[null]",
  "{}",
  '{"__proto__":{"polluted":1}}',
  '{"":{}}',
];
const FRAGMENTS: readonly string[] = [
  '"',
  "\\",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "\u0000",
  "\n",
  "é",
  "😀",
  "1",
  "-",
  " ",
];

/** Text that is a little wrong: characters removed, repeated, swapped or added. */
function mutateText(text: string, random: Random): string {
  const start = random(text.length);
  const end = Math.min(text.length, start + 1 + random(random(4) === 0 ? 400 : 4));
  switch (random(4)) {
    case 0:
      return text.slice(0, start) + text.slice(end);
    case 1:
      return text.slice(0, end) + text.slice(start);
    case 2:
      return text.slice(0, start) + pick(FRAGMENTS, random) + text.slice(start);
    default:
      return text.slice(0, start);
  }
}

const VALUE = /"(?:[^"\\]|\\.)*"(?!\s*:)|-?\d+|true|false/g;
const MEMBER = /"\w+":\s*(?:"(?:[^"\\]|\\.)*"|-?\d+|true|false)/g;

/** JSON that is a little wrong: a value replaced by an odd one, or a member repeated. */
function mutateValue(text: string, random: Random): string {
  const isRepeated = random(8) === 0;
  const matches = [...text.matchAll(isRepeated ? MEMBER : VALUE)];
  if (matches.length === 0) return text;
  const match = pick(matches, random);
  const replacement = isRepeated ? `${match[0]},${match[0]}` : pick(ODD_VALUES, random);
  return text.slice(0, match.index) + replacement + text.slice(match.index + match[0].length);
}

function outcomeOf(read: (text: string) => Json, text: string): Json | JsonError {
  try {
    return read(text);
  } catch (error) {
    if (error instanceof JsonError) return error;
    throw error;
  }
}

test(`${COUNT} mutated configs are accepted or refused with one clear line, and nothing else happens`, () => {
  const random = randomNumbers(0x0c1c4e);
  const compact = JSON.stringify(JSON.parse(FULL_CONFIG));
  let refused = 0;
  for (let run = 0; run < COUNT; run++) {
    let text = random(2) === 0 ? FULL_CONFIG : compact;
    for (let changes = random(3); changes >= 0; changes--) {
      text = random(2) === 0 ? mutateValue(text, random) : mutateText(text, random);
      if (text === "") break;
    }
    try {
      checkConfig(parseConfig(text));
    } catch (error) {
      refused++;
      if (!(error instanceof SpecError || error instanceof UnsupportedError)) throw new Error(text, { cause: error });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      if (/[\u0000-\u001f]/.test(error.message) || error.message.length > LONGEST_MESSAGE) throw new Error(text);
    }
    if ("polluted" in Object.prototype) throw new Error(text);
  }
  // Both happen often, so that neither side of the reader is untested.
  expect(refused).toBeGreaterThan(COUNT / 2);
  expect(refused).toBeLessThan(COUNT);
}, 120_000);

test("both ways of reading JSON agree on mutated configs", () => {
  const random = randomNumbers(0xdecaf);
  for (let run = 0; run < COUNT / 10; run++) {
    const text = random(2) === 0 ? mutateValue(FULL_CONFIG, random) : mutateText(FULL_CONFIG, random);
    const [fast, slow] = [outcomeOf(parseJson, text), outcomeOf(readJson, text)];
    if (fast instanceof JsonError) expect(slow).toEqual(fast);
    else expect(Bun.deepEquals(fast, slow)).toBe(true);
  }
}, 120_000);
