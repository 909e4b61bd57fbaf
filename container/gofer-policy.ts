/** The gofer policy: a TOML file of the administrator's that says what a container may do with the files of its mounts. */
import { readFileSync } from "node:fs";
import { Globs } from "../gofer/policy.ts";
import { FILE_ACCESS, type FileAccess } from "../sandbox/isolation/level.ts";
import { mountName } from "../sandbox/isolation/mount-access.ts";
import { ClocheError, messageOf, reasonOf } from "../specutils/errors.ts";
import { parseToml } from "../specutils/toml.ts";

/** Of the file: a gofer is told its part of it in an argument, of which the kernel takes 128 KiB. */
const MAX_BYTES = 32_768;

/** What holds for one mount. */
export interface MountPolicy {
  hidden: readonly string[];
  readOnly: readonly string[];
  logged: readonly string[];
  /** 0: no limit. */
  maxBytes: number;
  maxFiles: number;
  fileAccess: FileAccess | undefined;
}

export interface GoferPolicyFile {
  /** Where the audit stream goes. */
  audit: string | undefined;
  /** By destination, or `*`. */
  mounts: ReadonlyMap<string, MountPolicy>;
}

export const NO_POLICY: MountPolicy = {
  hidden: [],
  readOnly: [],
  logged: [],
  maxBytes: 0,
  maxFiles: 0,
  fileAccess: undefined,
};

/** Whether anything but the way of access is said. */
export function isRestrictive({ hidden, readOnly, logged, maxBytes, maxFiles }: MountPolicy): boolean {
  return hidden.length + readOnly.length + logged.length + maxBytes + maxFiles > 0;
}

/** What holds where both are said: globs add up, all else is as `own` says. */
export function mergePolicies(common: MountPolicy, own: MountPolicy): MountPolicy {
  return {
    hidden: [...common.hidden, ...own.hidden],
    readOnly: [...common.readOnly, ...own.readOnly],
    logged: [...common.logged, ...own.logged],
    maxBytes: own.maxBytes || common.maxBytes,
    maxFiles: own.maxFiles || common.maxFiles,
    fileAccess: own.fileAccess ?? common.fileAccess,
  };
}

/** @throws ClocheError that names file and field */
export async function readGoferPolicy(file: string): Promise<GoferPolicyFile> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ClocheError(`cannot read gofer policy ${JSON.stringify(file)}: ${reasonOf(error)}`, { cause: error });
  }
  return await parseGoferPolicy(text, (reason, cause) => {
    return new ClocheError(`invalid gofer policy ${JSON.stringify(file)}: ${reason}`, { cause });
  });
}

type Invalid = (reason: string, cause?: unknown) => ClocheError;

/** @throws what `invalid` makes of the reason, which names the field */
export async function parseGoferPolicy(text: string, invalid: Invalid): Promise<GoferPolicyFile> {
  if (Buffer.byteLength(text) > MAX_BYTES) throw invalid(`larger than ${MAX_BYTES} bytes`);
  const { audit, mounts = {}, ...others } = await parseToml(text, invalid);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw invalid(`${unknown}: unknown key, known are audit, mounts`);
  if (audit !== undefined && !(typeof audit === "string" && audit.startsWith("/"))) {
    throw invalid("audit: must be the absolute path of a file");
  }
  if (!isTable(mounts)) throw invalid("mounts: must be a table");
  const read = Object.entries(mounts).map(([name, value]): [string, MountPolicy] => {
    const field = `mounts.${JSON.stringify(name)}`;
    if (name !== "*" && !(name.startsWith("/") && mountName(name) === name)) {
      throw invalid(`${field}: must be "*" or the destination of a mount, without "." and ".." and doubled slashes`);
    }
    if (!isTable(value)) throw invalid(`${field}: must be a table`);
    return [name, readMount(value, field, invalid)];
  });
  return { audit, mounts: new Map(read) };
}

function readMount(table: Record<string, unknown>, field: string, invalid: Invalid): MountPolicy {
  const globs = (key: string) => readGlobs(table[key] ?? [], `${field}.${key}`, invalid);
  const limit = (key: string) => readLimit(table[key], `${field}.${key}`, invalid);
  const fields: Record<string, () => Partial<MountPolicy>> = {
    hidden: () => ({ hidden: globs("hidden") }),
    "read-only": () => ({ readOnly: globs("read-only") }),
    logged: () => ({ logged: globs("logged") }),
    "max-bytes": () => ({ maxBytes: limit("max-bytes") }),
    "max-files": () => ({ maxFiles: limit("max-files") }),
    "file-access": () => ({ fileAccess: readAccess(table["file-access"], `${field}.file-access`, invalid) }),
  };
  const policy = { ...NO_POLICY };
  for (const key of Object.keys(table)) {
    const read = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (read === undefined) {
      throw invalid(`${field}.${key}: unknown key, known are ${Object.keys(fields).join(", ")}`);
    }
    Object.assign(policy, read());
  }
  if (policy.fileAccess === "donated" && isRestrictive(policy)) {
    throw invalid(`${field}.file-access: what is donated has no policy: must be "served" or left out`);
  }
  return policy;
}

function readGlobs(value: unknown, field: string, invalid: Invalid): string[] {
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw invalid(`${field}: must be a list of globs`);
  }
  for (const [index, glob] of value.entries()) {
    try {
      new Globs([glob]);
    } catch (error) {
      throw invalid(`${field}[${index}]: ${messageOf(error)}`, error);
    }
  }
  return value;
}

function readLimit(value: unknown, field: string, invalid: Invalid): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(`${field}: must be a whole number from 1 on`);
}

function readAccess(value: unknown, field: string, invalid: Invalid): FileAccess {
  const access = FILE_ACCESS.find((known) => known === value);
  if (access === undefined) throw invalid(`${field}: must be one of ${FILE_ACCESS.join(", ")}`);
  return access;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
