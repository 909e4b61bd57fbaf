/**
 * Builds the validation programs of opencontainers/runtime-tools, at a fixed commit of its main branch, into the test
 * cache. Each folder under `validation/` is one program; `runtimetest` is what most of them run inside the container.
 */

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./cache.ts";
import { findGo } from "./go.ts";

const MODULE = "github.com/opencontainers/runtime-tools";

/**
 * The commits that are used. `head` is the main branch when the expectations were written; its configs say ociVersion 1.3.0,
 * which no Debian 12 peer but runc reads, and three of its programs compare pointers. `peers` is the last one before that
 * (ociVersion 1.1.0), on which all peers can be compared.
 */
export const VERSIONS = {
  head: "v0.9.1-0.20251205004911-5e639034dcdc",
  peers: "v0.9.1-0.20250523060157-0ea5ed0382a2",
} as const;

/** Which of the two commits. */
export type Edition = keyof typeof VERSIONS;

/** The built programs: the folder they must run in, and their names in alphabetical order. */
export interface Programs {
  folder: string;
  names: string[];
}

/**
 * Builds the programs, unless the cache has them already.
 *
 * @throws Error when Go, the module or a build fails.
 */
export function buildPrograms(edition: Edition): Programs {
  const cache = cacheFolder("conformance");
  const folder = join(cache, VERSIONS[edition]);
  if (!existsSync(folder)) {
    const go = findGo();
    const run = (cwd: string, args: string[]) =>
      execFileSync(go, args, {
        cwd,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"],
        // runtimetest runs inside a root file system without any library.
        env: { ...process.env, CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOFLAGS: "-mod=readonly -buildvcs=false" },
      });
    const { Dir: source } = JSON.parse(run(cache, ["mod", "download", "-json", `${MODULE}@${VERSIONS[edition]}`]));
    const built = mkdtempSync(join(cache, "build-"));
    run(source, ["build", "-trimpath", "-o", `${built}/`, "./validation/..."]);
    const overlay = join(built, "overlay.json");
    keepOpenFileLimit(run(cache, ["env", "GOROOT"]).trim(), overlay);
    run(source, ["build", "-trimpath", "-overlay", overlay, "-o", `${built}/`, "./cmd/runtimetest"]);
    rmSync(overlay);
    copyFileSync(join(source, rootfsArchive()), join(built, rootfsArchive()));
    // Several test runs may build at once: the first rename wins, the others use its result.
    try {
      renameSync(built, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error;
    }
  }
  const names = readdirSync(folder).filter((name) => name !== "runtimetest" && name !== rootfsArchive());
  return { folder, names: names.sort() };
}

/**
 * Since 1.19, Go programs raise their soft RLIMIT_NOFILE before main, so that runtimetest sees a limit that the runtime did not
 * set. Writes a build overlay, in which that initializer is an ordinary function that nobody calls.
 */
function keepOpenFileLimit(goRoot: string, overlay: string): void {
  const original = join(goRoot, "src/syscall/rlimit.go");
  const source = readFileSync(original, "utf8");
  const changed = source.replace(/^func init\(\) \{/m, "func raiseOpenFileLimit() {");
  if (changed === source) throw new Error(`cannot find the initializer in "${original}"`);
  const replacement = join(cacheFolder("conformance"), "rlimit.go");
  writeFileSync(replacement, changed);
  writeFileSync(overlay, JSON.stringify({ Replace: { [original]: replacement } }));
}

/** The root file system that the programs unpack; they name it by Go's word for the architecture. */
function rootfsArchive(): string {
  return `rootfs-${process.arch === "x64" ? "amd64" : process.arch}.tar.gz`;
}
