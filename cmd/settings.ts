/** The global flags, and what they come to together with environment and configuration file. */

import { resolve } from "node:path";
import { defaultRoot } from "../container/context.ts";
import { DEFAULT_ISOLATION, ISOLATION_LEVELS, type IsolationSettings } from "../container/isolation-level.ts";
import { FILE_ACCESS } from "../sandbox/isolation/level.ts";
import { UsageError } from "../specutils/errors.ts";
import type { LogFormat, LogTarget } from "../specutils/log.ts";
import { isInUserNamespace } from "../specutils/user-namespace.ts";
import { DEFAULT_CONFIG_FILE, readConfigFile } from "./config-file.ts";
import { type FlagTable, type FlagValues, parseBoolean } from "./flags.ts";

const LOG_FORMATS: readonly LogFormat[] = ["text", "json"];

/** crun's names, which podman passes on. */
const CGROUP_MANAGERS = ["cgroupfs", "systemd", "disabled"] as const;

export const globalFlags = {
  root: {
    kind: "string",
    value: "directory",
    help: "keep the state of containers here, best on a tmpfs",
    fallback: "/run/cloche, or $XDG_RUNTIME_DIR/cloche for users, also as root of a user namespace",
  },
  log: { kind: "string", value: "file", help: "append log lines to this file", fallback: "stderr" },
  "log-format": { kind: "string", choices: LOG_FORMATS, help: "format of log lines", fallback: "text" },
  debug: { kind: "boolean", help: "log what is being done, and how long it takes" },
  "trace-file": {
    kind: "string",
    value: "file",
    help: "append how long each step takes to this file, in the Chrome trace format",
  },
  "systemd-cgroup": {
    kind: "boolean",
    help: 'let systemd make the cgroups; cgroupsPath then has the form "slice:prefix:name"',
  },
  "cgroup-manager": {
    kind: "string",
    choices: CGROUP_MANAGERS,
    help: "who makes the cgroups; `disabled` leaves containers in the caller's",
    fallback: "cgroupfs, or systemd with --systemd-cgroup",
  },
  isolation: {
    kind: "string",
    choices: ISOLATION_LEVELS,
    help: "what config.json asks for (`oci`), or that in a user namespace and with less of the kernel in reach",
    fallback: "sandboxed",
  },
  "file-access": {
    kind: "string",
    choices: FILE_ACCESS,
    help: "how files of the host get into a sandbox: as mounts of the kernel's, served by a process, or as fits best",
    fallback: "auto",
  },
  "gofer-policy": {
    kind: "string",
    value: "file",
    help: "what a sandbox may do with the files of its mounts: paths hidden, read-only or logged, and quotas",
  },
  "gofer-audit": {
    kind: "string",
    value: "file",
    help: "append a line of JSON to this file for what a sandbox opens, creates, removes and renames",
  },
  "rootfs-overlay": {
    kind: "string",
    value: "none|memory|directory",
    help: "where a sandbox keeps what it writes to its root file system: there, in memory, or in this directory",
    fallback: "none",
  },
  config: { kind: "string", value: "file", help: "read settings from this file", fallback: DEFAULT_CONFIG_FILE },
  rootless: { kind: "string", value: "mode", help: "accepted for runc's callers, without effect", isHidden: true },
  criu: { kind: "string", value: "file", help: "accepted for runc's callers, without effect", isHidden: true },
  help: { kind: "boolean", short: "h", help: "show help" },
  version: { kind: "boolean", short: "v", help: "show the version" },
} as const satisfies FlagTable;

export type GlobalFlagValues = FlagValues<typeof globalFlags>;

/** The settings that environment and configuration file may also give, under the names of their flags. */
const settingKinds = {
  root: "string",
  log: "string",
  "log-format": "string",
  debug: "boolean",
  "systemd-cgroup": "boolean",
  "cgroup-manager": "string",
  isolation: "string",
  "file-access": "string",
  "gofer-policy": "string",
  "gofer-audit": "string",
  "rootfs-overlay": "string",
} as const satisfies Partial<Record<keyof GlobalFlagValues, "boolean" | "string">>;

/** What the configuration file alone may say: it is the administrator's. */
const fileKinds = {
  ...settingKinds,
  "isolation-annotation": "boolean",
  "baseline-allow": "strings",
  "ids-user": "string",
} as const;

export interface Settings {
  /** Absolute path of the state root. */
  root: string;
  log: LogTarget;
  systemdCgroup: boolean;
  cgroupManager?: "disabled";
  isolation: IsolationSettings;
}

/** What the flags alone say about the log: where an error goes that comes up while the other settings are read. */
export function logTargetOf(flags: Partial<Pick<GlobalFlagValues, "log" | "log-format" | "debug">>): LogTarget {
  const format = flags["log-format"] ?? "text";
  return {
    file: flags.log === "/dev/stderr" || flags.log === "" ? undefined : flags.log,
    format: format === "json" ? "json" : "text",
    isDebug: flags.debug ?? false,
  };
}

/**
 * Settles each setting: the flag, else `CLOCHE_<NAME>` from the environment, else the configuration file, else the default.
 * An empty variable counts as unset: podman passes `XDG_RUNTIME_DIR=` to some calls and leaves it out of others.
 * @throws ClocheError if the configuration file is wrong, UsageError if a setting's value is
 */
export async function readSettings(
  flags: GlobalFlagValues,
  env: Readonly<Record<string, string | undefined>>,
  uid: number,
): Promise<Settings> {
  const given = { ...fromEnvironment(env), ...definedOnly(flags) };
  const configFile = flags.config ?? (env["CLOCHE_CONFIG"] || undefined);
  const file = await readConfigFile(configFile ?? DEFAULT_CONFIG_FILE, fileKinds, configFile === undefined);
  const {
    root = defaultRoot(env, uid, isInUserNamespace),
    "systemd-cgroup": systemdCgroup = false,
    "cgroup-manager": manager,
    isolation,
    "file-access": fileAccess = DEFAULT_ISOLATION.fileAccess,
    "gofer-policy": goferPolicy = "",
    "gofer-audit": goferAudit = "",
    "rootfs-overlay": rootfsOverlay = DEFAULT_ISOLATION.rootfsOverlay,
    "isolation-annotation": allowAnnotation = DEFAULT_ISOLATION.allowAnnotation,
    "baseline-allow": baselineAllow = DEFAULT_ISOLATION.baselineAllow,
    "ids-user": idsUser = DEFAULT_ISOLATION.idsUser,
    ...log
  } = { ...file, ...given };
  if (root === "") {
    throw new UsageError('invalid value "" for root: must be a directory');
  }
  return {
    root: resolve(root),
    systemdCgroup:
      manager === undefined ? systemdCgroup : oneOf("cgroup-manager", CGROUP_MANAGERS, manager) === "systemd",
    isolation: {
      level: oneOf("isolation", ISOLATION_LEVELS, isolation ?? DEFAULT_ISOLATION.level),
      isChosen: isolation !== undefined,
      fileAccess: oneOf("file-access", FILE_ACCESS, fileAccess),
      goferPolicy: goferPolicy === "" ? undefined : resolve(goferPolicy),
      goferAudit: goferAudit === "" ? undefined : resolve(goferAudit),
      rootfsOverlay: parseOverlay(rootfsOverlay),
      allowAnnotation,
      baselineAllow,
      idsUser,
    },
    ...(manager === "disabled" && { cgroupManager: "disabled" as const }),
    log: { ...logTargetOf(log), format: oneOf("log-format", LOG_FORMATS, log["log-format"] ?? "text") },
  };
}

type SettingValues = { -readonly [Name in keyof typeof settingKinds]?: GlobalFlagValues[Name] & {} };

function fromEnvironment(env: Readonly<Record<string, string | undefined>>): SettingValues {
  const values: Record<string, string | boolean> = {};
  for (const name in settingKinds) {
    const variable = `CLOCHE_${name.toUpperCase().replaceAll("-", "_")}`;
    const text = env[variable];
    if (text !== undefined && text !== "") {
      const kind = settingKinds[name as keyof typeof settingKinds];
      values[name] = kind === "boolean" ? parseBoolean(variable, text) : text;
    }
  }
  return values;
}

function definedOnly(flags: GlobalFlagValues): SettingValues {
  const values: Record<string, string | boolean> = {};
  for (const name in settingKinds) {
    const value = flags[name as keyof typeof settingKinds];
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function parseOverlay(text: string): IsolationSettings["rootfsOverlay"] {
  if (text === "none" || text === "memory") return text;
  if (text.startsWith("/")) return text as `/${string}`;
  throw new UsageError(
    `invalid rootfs-overlay ${JSON.stringify(text)}: must be none, memory or the absolute path of a directory`,
  );
}

function oneOf<const Value extends string>(name: string, known: readonly Value[], text: string): Value {
  for (const value of known) if (value === text) return value;
  throw new UsageError(`invalid ${name} ${JSON.stringify(text)}: must be one of ${known.join(", ")}`);
}
