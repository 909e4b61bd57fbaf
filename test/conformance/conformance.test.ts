/**
 * runtime-tools' validation programs, one test each: clean, or not clean for the reason that `expected.ts` gives. A program
 * that gets clean although it is an exception fails too, so that the exception is removed. At isolation level `sandboxed` a
 * program may have the lines of `sandboxed.ts` not ok, and must have each.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { isSandboxed } from "../helpers/level.ts";
import { isDefaultRuntime } from "../helpers/runtime-path.ts";
import { withAppArmorProfile } from "./apparmor.ts";
import { exceptionFor } from "./expected.ts";
import { runtimeNamed } from "./main.ts";
import { buildPrograms, type Edition, type Programs } from "./programs.ts";
import { type Result, runPrograms } from "./run-programs.ts";
import { expectedNotOk, notOk } from "./sandboxed.ts";

const TIMEOUT_MS = 600_000;

/** The programs that only the older edition asks correctly. */
const ONLY_PEERS = ["delete_resources", "linux_cgroups_pids", "linux_cgroups_relative_pids"];

/** What a program cannot have ok at this level. */
const differences = (program: string) => (isSandboxed() && isDefaultRuntime() ? expectedNotOk(program) : []);

const runtime = runtimeNamed(process.env["RUNTIME"] ?? "cloche");
const results = new Map<string, Result>();

async function run(edition: Edition, names?: string[]): Promise<void> {
  const programs = buildPrograms(edition);
  const first = await withAppArmorProfile(() => runPrograms(programs, { runtime, names: names ?? programs.names }));
  for (const result of first) results.set(`${edition} ${result.program}`, result);
  await again(programs, edition, first);
}

/** The programs wait for fixed times: what failed beside others on a busy machine gets a second chance alone. */
async function again(programs: Programs, edition: Edition, first: Result[]): Promise<void> {
  const isExpected = (result: Result) => {
    if (exceptionFor(result.program, edition) !== undefined) return true;
    const expected = differences(result.program);
    return expected.length > 0 && Bun.deepEquals(notOk(result.output), expected);
  };
  const retried = first.filter((result) => !result.clean && !isExpected(result)).map((result) => result.program);
  const second = await withAppArmorProfile(() =>
    runPrograms(programs, { runtime, names: retried, parallel: 1, timeoutMs: 120_000 }),
  );
  for (const result of second) results.set(`${edition} ${result.program}`, result);
}

function check(edition: Edition, program: string): void {
  const exception = exceptionFor(program, edition);
  const expected = exception === undefined ? differences(program) : [];
  const reason =
    exception?.reason ?? (expected.length > 0 ? `at level sandboxed, by design: ${expected.join(", ")}` : "");
  const fact = reason === "" ? "is clean" : `is not clean: ${reason}`;
  test(`runtime-tools ${edition}: ${program} ${fact}`, () => {
    const result = results.get(`${edition} ${program}`);
    expect(result).toBeDefined();
    const isClean = result?.clean ?? false;
    const summary = isClean ? "clean" : `not clean\n${result?.failed.join("\n")}\n${result?.output.slice(-2000)}`;
    if (expected.length > 0) expect([notOk(result?.output ?? ""), isClean]).toEqual([expected, false]);
    else if (exception === undefined) expect(summary).toBe("clean");
    else expect(isClean).toBe(false);
  });
}

beforeAll(async () => {
  await run("head");
  await run("peers", ONLY_PEERS);
}, TIMEOUT_MS);

afterAll(() => results.clear());

for (const program of buildPrograms("head").names) check("head", program);
for (const program of ONLY_PEERS) check("peers", program);
