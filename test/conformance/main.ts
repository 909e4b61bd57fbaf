/** Command line: runs the validation programs against one runtime and prints one line per program. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withAppArmorProfile } from "./apparmor.ts";
import { writeDocument } from "./document.ts";
import { buildPrograms, type Edition, VERSIONS } from "./programs.ts";
import { type Result, type RuntimeUnderTest, runPrograms } from "./run-programs.ts";

const USAGE = `usage: test/conformance/run [flags] [PROGRAM...]

  --runtime NAME     cloche (the default: dist/cloche), runc, crun, runsc, or a path
  --edition NAME     ${Object.keys(VERSIONS).join(" or ")} (see programs.ts; default head)
  --json FILE        also write every result, with all output, to a file
  --timeout SECONDS  for each program (default 60)
  --document         write docs/CONFORMANCE.md and run nothing
  --verbose          print the output of programs that are not clean
`;

/**
 * What each known runtime needs. crun 1.8.1 wants an ociVersion with "1.0" in it, and no controller in a version 2 hierarchy
 * beside version 1. runsc has no network of its own in the host's namespace.
 */
export function runtimeNamed(name: string): RuntimeUnderTest {
  switch (name) {
    case "cloche":
      return { path: join(import.meta.dirname, "../../dist/cloche") };
    case "crun":
      return { path: "crun", ociVersion: "1.0.2", withoutUnified: true };
    case "runsc":
      return { path: "runsc", args: ["--network=none"], ociVersion: "1.1.0" };
    default:
      return { path: name };
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      runtime: { type: "string", default: process.env["RUNTIME"] ?? "cloche" },
      edition: { type: "string", default: "head" },
      json: { type: "string" },
      timeout: { type: "string", default: "60" },
      document: { type: "boolean", default: false },
      verbose: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (!(values.edition in VERSIONS)) {
    process.stderr.write(USAGE);
    return 2;
  }
  if (values.document) {
    writeDocument();
    return 0;
  }
  const programs = buildPrograms(values.edition as Edition);
  const results = await withAppArmorProfile(() =>
    runPrograms(programs, {
      runtime: runtimeNamed(values.runtime),
      timeoutMs: Number(values.timeout) * 1000,
      names: positionals.length > 0 ? positionals : programs.names,
      onResult: (result) => process.stdout.write(describe(result, values.verbose)),
    }),
  );
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results, undefined, 1));
  const clean = results.filter((result) => result.clean).length;
  process.stdout.write(`${clean} of ${results.length} programs are clean\n`);
  return clean === results.length ? 0 : 1;
}

function describe(result: Result, verbose: boolean): string {
  const counts = `${result.ok} ok, ${result.failed.length} not ok`;
  const how = result.timedOut ? "timed out" : `exit ${result.exitCode}`;
  const line = `${result.clean ? "clean    " : "not clean"} ${result.program}: ${counts}, ${how}, ${result.seconds.toFixed(1)} s\n`;
  return verbose && !result.clean ? `${line}${result.output.replace(/^/gm, "    ")}\n` : line;
}

if (import.meta.main) process.exitCode = await main();
