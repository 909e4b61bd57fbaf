/** The two sides of an engine case: the runtime under test and the reference, run at the same time and compared. */
import { expect } from "bun:test";
import type { Result } from "../helpers/runtime.ts";
import { distDirectory, isDefaultRuntime, runtimePath } from "../helpers/runtime-path.ts";
import { findProgram } from "./daemon.ts";

/** A runtime that an engine is given. */
export interface Side {
  /** Name of the runtime, by which an engine's configuration knows it too. */
  readonly name: string;
  /** Path of its executable. */
  readonly binary: string;
}

/** The runtime that cloche is compared with. */
const REFERENCE = "runc";

/** Names of the runtimes a case is run with, the reference last. `RUNTIME=runc` leaves the reference alone. */
export const sideNames: readonly string[] = isDefaultRuntime()
  ? ["cloche", REFERENCE]
  : [...new Set([runtimePath(), REFERENCE])];

/** The runtime of that name. @throws Error if it is not installed */
export function findSide(name: string): Side {
  return { name, binary: name === "cloche" ? `${distDirectory}/cloche` : findProgram(name) };
}

/** The runtimes of {@link sideNames}. @throws Error if one of them is not installed */
export function findSides(): Side[] {
  return sideNames.map(findSide);
}

/**
 * Runs `body` for each side at the same time and expects the same value of each.
 *
 * @throws AggregateError of what failed, each failure with its side's name
 */
export async function sameOnAllSides(sides: Side[], body: (side: Side) => Promise<unknown>): Promise<void> {
  const outcomes = await Promise.allSettled(sides.map(body));
  const failures = outcomes.flatMap((outcome, index) =>
    outcome.status === "rejected" ? [`with ${sides[index]?.name}: ${describe(outcome.reason)}`] : [],
  );
  if (failures.length > 0) throw new Error(failures.join("\n"));
  const values = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined));
  for (const value of values) expect(value).toEqual(values.at(-1));
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}

/** What a command has printed, both streams. @throws Error that names it as `what`, when it did not end with 0 */
export function printed(what: string, { exitCode, stdout, stderr }: Result): string {
  if (exitCode !== 0) throw new Error(`${what}: exit code ${exitCode}: ${stdout}${stderr}`);
  return stdout + stderr;
}
