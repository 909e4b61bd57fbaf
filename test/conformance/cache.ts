/** Where test tools that take minutes to build are kept between runs: never inside the repository. */

import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Makes and names a folder of the test cache: `$CLOCHE_TEST_CACHE`, else `$XDG_CACHE_HOME/cloche-test`, else
 * `~/.cache/cloche-test`. Everything in it can be deleted at any time and is built again.
 */
export function cacheFolder(name: string): string {
  const base =
    process.env["CLOCHE_TEST_CACHE"] || join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "cloche-test");
  const folder = join(base, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}
