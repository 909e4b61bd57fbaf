/** Sizes and durations as people write them on the command line. */

import { UsageError } from "../specutils/errors.ts";

/** Bytes per unit: the binary multiples, whatever the spelling (`k`, `kb`, `KiB`). */
const BYTES: Readonly<Record<string, number>> = {
  "": 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
  p: 1024 ** 5,
};

const MILLISECONDS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const INT64_MAX = 2n ** 63n - 1n;

/** A size such as `64M`, `1.5 GiB` or `1048576`, in bytes; `-1` stands for "no limit". */
export function parseSize(flag: string, text: string): bigint {
  if (text === "-1") {
    return -1n;
  }
  const match = /^(\d+)(\.\d+)? ?([kmgtp]?)(?:i?b)?$/i.exec(text);
  const factor = BYTES[match?.[3]?.toLowerCase() ?? ""];
  if (match === null || factor === undefined) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -${flag}: must be a size such as 64M`);
  }
  const whole = BigInt(match[1] ?? "0") * BigInt(factor);
  const size = whole + BigInt(Math.trunc(Number(`0${match[2] ?? ""}`) * factor));
  return inInt64(flag, text, size);
}

/** A whole number, negative ones included, that fits into 64 bits. */
export function parseInt64(flag: string, text: string): bigint {
  if (!/^[+-]?\d+$/.test(text)) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -${flag}: must be a whole number`);
  }
  return inInt64(flag, text, BigInt(text.replace(/^\+/, "")));
}

/** A duration in Go's notation (`5s`, `1m30s`, `500ms`), in milliseconds; more than zero. */
export function parseDuration(flag: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  const total = parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (MILLISECONDS[unit ?? ""] ?? 0), 0);
  if (parts.map(([part]) => part).join("") !== text || !(total > 0)) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -${flag}: must be a duration such as 5s`);
  }
  return total;
}

function inInt64(flag: string, text: string, value: bigint): bigint {
  if (value > INT64_MAX || value < -INT64_MAX - 1n) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -${flag}: must fit into 64 bits`);
  }
  return value;
}
