/**
 * Namespaces that belong to a user namespace other than the sandbox's: it has no rights in them. What config.json wants done there
 * all the same is refused, with the remedy, before the kernel refuses it.
 */
import { UnsupportedError } from "../../specutils/errors.ts";
import type { Spec } from "../../specutils/spec.ts";
import { namespaceChoice } from "../namespaces.ts";
import type { HostView } from "./spec.ts";

const REMEDY = "use --isolation oci, or run the container that it belongs to at level sandboxed too";

/**
 * To be called for a sandbox that has a new user namespace, so that each path is somebody else's.
 *
 * @throws UnsupportedError
 */
export function checkForeign({ linux, hostname, domainname, mounts = [] }: Spec, host: HostView): void {
  const mount = namespaceChoice(linux, "mount");
  if (mount.kind === "host") {
    throw new UnsupportedError(
      'linux.namespaces: a sandbox cannot have the mount namespace of the host: add one of type "mount", or use --isolation oci',
    );
  }
  if (mount.kind === "path") throw notOurs("mount", mount.path, "it cannot be entered");
  const pid = namespaceChoice(linux, "pid");
  // The host's own /proc is bound instead.
  if (pid.kind === "path" && !host.isOwnNamespace(pid.path) && mounts.some(({ type }) => type === "proc")) {
    throw notOurs("pid", pid.path, "its /proc cannot be mounted");
  }
  const uts = namespaceChoice(linux, "uts");
  const isNamed = [hostname, domainname].some((name) => name !== undefined && name !== "");
  if (uts.kind === "path" && isNamed) throw notOurs("uts", uts.path, "it cannot be named");
}

function notOurs(type: string, path: string, what: string): UnsupportedError {
  return new UnsupportedError(
    `linux.namespaces: the ${type} namespace ${JSON.stringify(path)} is not the sandbox's, and ${what}: ${REMEDY}`,
  );
}
