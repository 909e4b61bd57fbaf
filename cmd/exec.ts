/** `cloche exec`: runs another process inside a container. */

import { UsageError } from "../specutils/errors.ts";
import { loading } from "../specutils/spans.ts";
import { optionalPath } from "./bundle-flags.ts";
import { command } from "./command.ts";

/** runc's exit code when the process could not be run, which engines tell from the process's own. */
const EXEC_FAILED = 255;

export default command({
  name: "exec",
  summary: "run another process inside a container",
  synopsis: "<container-id> [command [argument...]]",
  arity: [1, Number.POSITIVE_INFINITY],
  order: "leading",
  failureCode: EXEC_FAILED,
  flags: {
    process: { kind: "string", short: "p", value: "file", help: "read the process from this JSON file instead" },
    tty: { kind: "boolean", short: "t", help: "give the process a terminal" },
    detach: { kind: "boolean", short: "d", help: "return once the process runs" },
    "pid-file": { kind: "string", value: "file", help: "write the process's pid to this file" },
    "console-socket": {
      kind: "string",
      value: "socket",
      help: "unix socket to send the master end of the process's terminal to",
    },
    cwd: { kind: "string", value: "directory", help: "working directory in the container" },
    env: { kind: "list", short: "e", value: "name=value", help: "add an environment variable; may be repeated" },
    user: { kind: "string", short: "u", value: "uid[:gid]", help: "user and group of the process" },
    "additional-gids": { kind: "list", short: "g", value: "gid", help: "add a group; may be repeated" },
    cap: { kind: "list", short: "c", value: "name", help: "add a capability; may be repeated" },
    "no-new-privs": { kind: "boolean", help: "keep the process from gaining privileges by execve" },
    apparmor: { kind: "string", value: "profile", help: "AppArmor profile of the process" },
    "process-label": { kind: "string", value: "label", help: "SELinux label of the process" },
    "preserve-fds": {
      kind: "integer",
      value: "number",
      help: "pass this many file descriptors on, beyond stdio and $LISTEN_FDS",
      fallback: "0",
    },
    cgroup: {
      kind: "list",
      value: "[controller:]path",
      help: "run the process in this existing cgroup below the container's; may be repeated",
    },
    "ignore-paused": { kind: "boolean", help: "exec into a paused container: the process starts when it is resumed" },
    "no-subreaper": { kind: "boolean", help: "accepted for runc's callers, without effect", isHidden: true },
  },
  details:
    "The exit code is that of the process, 128 and the signal's number if a signal ended it, 255 if it could not be run.",
  async run({ context, flags, args, id }) {
    const command = args.slice(1);
    const processFile = optionalPath("processFile", flags.process);
    if (command.length === 0 && processFile.processFile === undefined) {
      throw new UsageError('"exec" requires a command, or --process: cloche exec <container-id> command');
    }
    const additionalGids = flags["additional-gids"].map(parseGid);
    const { execContainer } = await loading("load container/exec", () => import("../container/exec.ts"));
    return await execContainer(context, {
      id,
      ...processFile,
      args: command,
      tty: flags.tty ?? false,
      detach: flags.detach ?? false,
      ...optionalPath("pidFile", flags["pid-file"]),
      ...optionalPath("consoleSocket", flags["console-socket"]),
      ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
      env: flags.env,
      ...(flags.user === undefined ? {} : { user: flags.user }),
      additionalGids,
      caps: flags.cap,
      ...(flags["no-new-privs"] === undefined ? {} : { noNewPrivs: flags["no-new-privs"] }),
      ...(flags.apparmor === undefined ? {} : { apparmor: flags.apparmor }),
      ...(flags["process-label"] === undefined ? {} : { processLabel: flags["process-label"] }),
      preserveFds: flags["preserve-fds"] ?? 0,
      cgroup: flags.cgroup,
      ignorePaused: flags["ignore-paused"] ?? false,
    });
  },
});

function parseGid(text: string): number {
  const gid = Number(text);
  // 2^32 - 1 is none: to the kernel it is -1.
  if (!/^\d+$/.test(text) || gid > 0xffff_fffe) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -additional-gids: must be a group id`);
  }
  return gid;
}
