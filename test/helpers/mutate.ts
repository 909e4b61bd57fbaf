/** JSON texts that are a little wrong, the same ones for the same seed. */

/** Numbers from 0 up to a limit, which is excluded. */
export type Random = (limit: number) => number;

/** xorshift32. @param seed not 0 */
export function randomNumbers(seed: number): Random {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

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
export function mutateText(text: string, random: Random): string {
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
export function mutateValue(text: string, random: Random): string {
  const isRepeated = random(8) === 0;
  const matches = [...text.matchAll(isRepeated ? MEMBER : VALUE)];
  if (matches.length === 0) return text;
  const match = pick(matches, random);
  const replacement = isRepeated ? `${match[0]},${match[0]}` : pick(ODD_VALUES, random);
  return text.slice(0, match.index) + replacement + text.slice(match.index + match[0].length);
}
