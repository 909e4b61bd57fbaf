/**
 * Checks the direction of imports: cmd → container → sandbox | gofer | statefile → specutils, and `test` on top of all.
 * Also that sources import only `node:` modules, the packages in package.json and files with their extension, so that the same code runs
 * under Node as a library.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const allowed: Record<string, readonly string[]> = {
  cmd: ["cmd", "container", "sandbox", "gofer", "statefile", "specutils"],
  container: ["container", "sandbox", "gofer", "statefile", "specutils"],
  sandbox: ["sandbox", "specutils"],
  gofer: ["gofer", "sandbox/seccomp", "specutils"],
  statefile: ["statefile", "specutils"],
  specutils: ["specutils"],
};

const top = path.join(import.meta.dirname, "..");
const { dependencies } = JSON.parse(readFileSync(path.join(top, "package.json"), "utf8"));
const packages: readonly string[] = Object.keys(dependencies);

/** Modules named by `import`, `export … from` and `import()` in a source text. */
function importsOf(text: string): string[] {
  const statements = text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/g);
  return [...statements].flatMap(([, fromStatement, fromCall]) => fromStatement ?? fromCall ?? []);
}

/** What is wrong with one import of a file, or undefined. */
function complaint(file: string, imported: string): string | undefined {
  const folder = file.split("/")[0] ?? "";
  const isTest = file.endsWith(".test.ts");
  if (!imported.startsWith(".")) {
    const isKnown = imported.startsWith("node:") || packages.some((name) => imported.split("/")[0] === name);
    return isKnown || (isTest && imported === "bun:test") ? undefined : `"${imported}" is no dependency`;
  }
  const target = path.join(path.dirname(file), imported);
  const targetFolder = target.split("/")[0] ?? "";
  if (!target.includes("/")) {
    return target === "package.json" ? undefined : `${target} is in no folder`;
  }
  if (isTest && targetFolder === "test") {
    return undefined;
  }
  const isAllowed = allowed[folder]?.some((prefix) => target.startsWith(`${prefix}/`)) === true;
  return isAllowed ? undefined : `${folder} must not import ${target}`;
}

const complaints = Object.keys(allowed).flatMap((folder) => {
  if (!existsSync(path.join(top, folder))) return [];
  const files = readdirSync(path.join(top, folder), { recursive: true, encoding: "utf8" });
  return files
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`)
    .flatMap((file) =>
      importsOf(readFileSync(path.join(top, file), "utf8")).flatMap((imported) => {
        const text = complaint(file, imported);
        return text === undefined ? [] : [`${file}: ${text}`];
      }),
    );
});
for (const line of complaints) {
  console.error(line);
}
process.exitCode = complaints.length === 0 ? 0 : 1;
