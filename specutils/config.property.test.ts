import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { mutateText, mutateValue, randomNumbers } from "../test/helpers/mutate.ts";
import { checkConfig, parseConfig } from "./config.ts";
import { SpecError, UnsupportedError } from "./errors.ts";
import { type Json, JsonError, parseJson, readJson } from "./json.ts";

const FULL_CONFIG = readFileSync(join(import.meta.dir, "testdata/full-config.json"), "utf8");
const COUNT = 20_000;
const LONGEST_MESSAGE = 700;

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
