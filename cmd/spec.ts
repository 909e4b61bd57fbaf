/** `cloche spec`: writes a configuration to start from. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClocheError } from "../specutils/errors.ts";
import { command } from "./command.ts";
import { toJson } from "./output.ts";

export default command({
  name: "spec",
  summary: "write a config.json to start from",
  synopsis: "",
  arity: [0, 0],
  flags: {
    bundle: {
      kind: "string",
      short: "b",
      value: "directory",
      help: "directory to write it to",
      fallback: "current directory",
    },
    rootless: { kind: "boolean", help: "for a user without privileges, who becomes root in the container" },
  },
  details: "An existing config.json is not touched.",
  async run({ flags }) {
    const { defaultSpec, rootlessSpec } = await import("./default-spec.ts");
    const spec =
      flags.rootless === true ? rootlessSpec(process.geteuid?.() ?? 0, process.getegid?.() ?? 0) : defaultSpec();
    const path = join(flags.bundle ?? ".", "config.json");
    try {
      writeFileSync(path, `${toJson(spec, "\t")}\n`, { flag: "wx" });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") {
        throw new ClocheError(`cannot write ${JSON.stringify(path)}: it exists, remove it first`, { cause: error });
      }
      throw error;
    }
  },
});
