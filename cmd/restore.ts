/** `cloche restore`: refused, but known: podman probes its flags. */

import { UnsupportedError } from "../specutils/errors.ts";
import { bundleFlags } from "./bundle-flags.ts";
import { criuFlags } from "./checkpoint.ts";
import { command } from "./command.ts";

export default command({
  name: "restore",
  summary: "bring a saved container back (not supported)",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: {
    ...bundleFlags,
    ...criuFlags,
    detach: { kind: "boolean", short: "d", help: "return once the container runs" },
    "tcp-close": { kind: "boolean", help: "close TCP connections" },
    "parent-path": { kind: "string", value: "directory", help: "directory of the image before this one" },
    "lsm-profile": { kind: "string", value: "type:name", help: "LSM profile to restore with" },
    "lsm-mount-context": { kind: "string", value: "context", help: "LSM mount context to restore with" },
  },
  run({ id }) {
    throw new UnsupportedError(
      `cannot restore container ${JSON.stringify(id)}: not supported by this version of cloche`,
    );
  },
});
