/** `cloche --version`, in the form that docker and go-runc parse (`<name> version <version>`, `commit: `, `spec: `). */

import { command } from "./command.ts";
import { print } from "./output.ts";

// Filled in by the build (`bun build --define`), absent when the sources are run as they are.
declare const CLOCHE_VERSION: string;
declare const CLOCHE_COMMIT: string;

/** The newest version of the runtime-spec that cloche implements. */
const SPEC_VERSION = "1.3.0";

/** The three lines of `--version`. */
export function versionText(): string {
  const version = typeof CLOCHE_VERSION === "undefined" ? "0.0.0-dev" : CLOCHE_VERSION;
  const commit = typeof CLOCHE_COMMIT === "undefined" ? "unknown" : CLOCHE_COMMIT;
  return `cloche version ${version}\ncommit: ${commit}\nspec: ${SPEC_VERSION}\n`;
}

export default command({
  name: "version",
  summary: "show the version of cloche and of the runtime-spec it implements",
  synopsis: "",
  arity: [0, 0],
  flags: {},
  run: () => print(versionText()),
});
