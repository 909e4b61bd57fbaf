/** What every container operation needs to know about how cloche was called. */

import type { IsolationSettings } from "./isolation-level.ts";

/** Set up once per command by the command line, read by operations. */
export interface Context {
  /** The state root, absolute. */
  root: string;
  /** `--systemd-cgroup`: cgroups are asked for from systemd. */
  systemdCgroup: boolean;
  /** `--cgroup-manager disabled`: containers stay in the caller's cgroup. */
  cgroupManager?: "disabled";
  /** `DEFAULT_ISOLATION` without it. */
  isolation?: IsolationSettings;
  /** Whether `--debug` is given. */
  isDebug: boolean;
  /** Writes a line to the log when `--debug` is given. */
  debug(message: string): void;
  /** Writes a warning to the log: something failed that does not make the operation fail. */
  warn(message: string): void;
}

/**
 * The state root when `--root` is not given. An empty `XDG_RUNTIME_DIR` counts as unset: podman passes it empty to some
 * calls and leaves it out of others, and all must mean the same place.
 *
 * Root of a user namespace is an ordinary user on the host, to whom /run is closed: rootless podman calls that way. But
 * `USER=root` is a session of root's in a container of its own (LXC), and that one's XDG_RUNTIME_DIR ends with the session.
 * Both as in runc, so that one machine has one rule.
 */
export function defaultRoot(
  environment: Readonly<Record<string, string | undefined>>,
  uid: number,
  isInUserNamespace: () => boolean,
): string {
  const runtimeDirectory = environment["XDG_RUNTIME_DIR"];
  if (!runtimeDirectory) return "/run/cloche";
  const isUser = uid !== 0 || (environment["USER"] !== "root" && isInUserNamespace());
  return isUser ? `${runtimeDirectory}/cloche` : "/run/cloche";
}
