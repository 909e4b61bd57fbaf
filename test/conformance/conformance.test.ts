/**
 * runtime-tools' validation programs, one test each: clean, or not clean for the reason that `expected.ts` gives. A program
 * that gets clean although it is an exception fails too, so that the exception is removed.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { withAppArmorProfile } from "./apparmor.ts";
import { exceptionFor } from "./expected.ts";
import { runtimeNamed } from "./main.ts";
import { buildPrograms, type Edition, type Programs } from "./programs.ts";
import { type Result, runPrograms } from "./run-programs.ts";

const TIMEOUT_MS = 600_000;

/** The programs that only the older edition asks correctly. */
const ONLY_PEERS = ["delete_resources", "linux_cgroups_pids", "linux_cgroups_relative_pids"];

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
  const names = first.filter((result) => !result.clean).map((result) => result.program);
  const retried = names.filter((name) => exceptionFor(name, edition) === undefined);
  const second = await withAppArmorProfile(() =>
    runPrograms(programs, { runtime, names: retried, parallel: 1, timeoutMs: 120_000 }),
  );
  for (const result of second) results.set(`${edition} ${result.program}`, result);
}

function check(edition: Edition, program: string): void {
  const exception = exceptionFor(program, edition);
  const fact = exception === undefined ? "is clean" : `is not clean: ${exception.reason}`;
  test(`runtime-tools ${edition}: ${program} ${fact}`, () => {
    const result = results.get(`${edition} ${program}`);
    expect(result).toBeDefined();
    const isClean = result?.clean ?? false;
    const summary = isClean ? "clean" : `not clean\n${result?.failed.join("\n")}\n${result?.output.slice(-2000)}`;
    if (exception === undefined) expect(summary).toBe("clean");
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
