/**
 * Finds a Go compiler that is new enough for the validation programs. Debian 12's own (1.19) is too old, but old enough a
 * hand to fetch a newer one: toolchains are published as modules.
 */

import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./cache.ts";

/** runtime-tools uses `slices` and `sync.OnceValue`. */
const OLDEST_MINOR = 21;

const TOOLCHAIN = "v0.0.1-go1.24.11.linux-";

/**
 * Names the `go` command to use, after fetching a newer toolchain than the machine's when that is too old.
 *
 * @throws Error when there is no `go` at all, or when fetching fails.
 */
export function findGo(): string {
  const fetched = join(cacheFolder("go"), "toolchain");
  if (existsSync(fetched)) return join(fetched, "bin/go");
  let version: string;
  try {
    version = execFileSync("go", ["env", "GOVERSION"], { encoding: "utf8" });
  } catch (cause) {
    throw new Error('cannot find "go": install it with: apt-get install golang-go', { cause });
  }
  const minor = Number(/^go1\.(\d+)/.exec(version)?.[1] ?? 0);
  if (minor >= OLDEST_MINOR) return "go";
  fetchToolchain(fetched);
  return join(fetched, "bin/go");
}

/** Downloads the toolchain module with the old `go` and undoes what a module archive cannot hold. */
function fetchToolchain(target: string): void {
  const module = `golang.org/toolchain@${TOOLCHAIN}${process.arch === "x64" ? "amd64" : process.arch}`;
  const answer = execFileSync("go", ["mod", "download", "-json", module], { encoding: "utf8" });
  const copy = mkdtempSync(`${target}-`);
  cpSync(JSON.parse(answer).Dir, copy, { recursive: true });
  execFileSync("chmod", ["-R", "u+w", copy]);
  for (const entry of readdirSync(copy, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    // Modules hold neither nested go.mod files nor executable bits.
    if (entry.name === "_go.mod") renameSync(path, join(entry.parentPath, "go.mod"));
    if (entry.isFile() && /\/(bin|pkg\/tool\/[^/]+)$/.test(entry.parentPath)) chmodSync(path, 0o755);
  }
  try {
    renameSync(copy, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  }
}
