/** Writes the tables of docs/CONFORMANCE.md from the expectations and the recorded results of the peers. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXCEPTIONS } from "./expected.ts";
import recorded from "./peers.json" with { type: "json" };
import { DIFFERENCES, RUN_RUNTIMETEST } from "./sandboxed.ts";

/** Results of the peers, taken with the edition `peers`; `why` for what only some of them fail. */
interface Peers {
  versions: Record<"crun" | "runc" | "runsc", string>;
  programs: Record<string, { crun: boolean; runc: boolean; runsc: boolean; why?: string }>;
}

const peers: Peers = recorded;

/** The document that is written. */
export const DOCUMENT = join(import.meta.dirname, "../../docs/CONFORMANCE.md");

const INTRODUCTION = `# Conformance

<!-- Written by \`test/conformance/run --document\`. -->

The validation programs of runtime-tools, one line each, at isolation level \`oci\`; what differs at level \`sandboxed\` is below. "Clean" is
exit code 0 and no \`not ok\`. \`npm run conformance\` runs them all (\`CLOCHE_ISOLATION=oci\` for this table), \`npm test\` compares every one
with this page at both levels: a program that stops being clean, or becomes clean against it, fails.

Two commits are used (\`test/conformance/programs.ts\`): \`head\`, whose configs say ociVersion 1.3.0 and in which three programs
compare pointers, and \`peers\`, the last one before that, on which the figures of runc, crun and runsc were taken.
Three things are done for the programs, not for a runtime: each runs in a mount namespace of its own (linux_ns_itype mounts
into the caller's); \`runtimetest\` is built without the start-up code of Go that raises RLIMIT_NOFILE (process_rlimits
looks at it); what the cgroups programs leave behind is removed. For peers only: crun does not see the version 2 hierarchy beside
version 1 (it refuses to work with both), and runsc has no network.

"VM" means: clean where the machine offers what is missing, which \`test/vm\` shows (Debian's kernels 6.1 and 5.10, cgroup
version 1 with every controller, all capabilities, AppArmor).
`;

const CAUSES = { engines: "engines", machine: "machine", test: "test bug" } as const;

/** The whole text. */
export function renderDocument(): string {
  const rows = Object.entries(peers.programs).map(([program, results]) => {
    const exceptions = EXCEPTIONS.filter((exception) => exception.programs.includes(program));
    const always = exceptions.find((exception) => exception.edition === undefined);
    const own = always === undefined ? "clean" : always.isInVm ? "VM" : "no";
    const reasons = exceptions.map(({ cause, edition, reason }) => {
      const where = edition === undefined ? "" : ` (edition \`${edition}\`)`;
      return `${CAUSES[cause]}${where}: ${reason}`;
    });
    const others = results.why === undefined ? [] : [results.why];
    const marks = [results.crun, results.runc, results.runsc].map((isClean) => (isClean ? "clean" : "no"));
    return `| ${[program, own, ...marks, [...reasons, ...others].join("; ")].join(" | ")} |`;
  });
  const total = (name: "crun" | "runc" | "runsc") =>
    Object.values(peers.programs).filter((results) => results[name]).length;
  const header = `| program | cloche | ${peers.versions.crun} | ${peers.versions.runc} | ${peers.versions.runsc} | why not |`;
  const own = Object.keys(peers.programs).filter(
    (program) => !EXCEPTIONS.some(({ programs, edition }) => edition === undefined && programs.includes(program)),
  );
  const totals = `| **clean, of ${rows.length}** | **${own.length}** | **${total("crun")}** | **${total("runc")}** | **${total("runsc")}** | |`;
  return `${INTRODUCTION}\n${[header, "|---|---|---|---|---|---|", ...rows, totals].join("\n")}\n${sandboxedPart()}`;
}

const SANDBOXED = `
## At isolation level \`sandboxed\`

Which is the default. Everything that the programs look at is as at level \`oci\`, but for these lines; each of them must be there, and no
other. Programs that are not clean at level \`oci\` are not clean here.

`;

/** The lines that are not ok at level `sandboxed`. */
function sandboxedPart(): string {
  const rows = DIFFERENCES.map(({ programs = RUN_RUNTIMETEST, lines, reason }) => {
    const names = programs.length === RUN_RUNTIMETEST.length ? `${programs.length}: ${programs.join(", ")}` : programs;
    return `| ${names} | ${lines.map((line) => `\`${line}\``).join(", ")} | ${reason} |`;
  });
  return `${SANDBOXED}${["| program | not ok | why |", "|---|---|---|", ...rows].join("\n")}\n`;
}

/** Writes the document. */
export function writeDocument(): void {
  writeFileSync(DOCUMENT, renderDocument());
}
