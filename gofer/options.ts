/** What a gofer is told, as JSON in its `--options`. */
import { UsageError } from "../specutils/errors.ts";

/** What holds for one tree. */
export interface TreeOptions {
  /** No request changes anything; the superblock itself is read-only, which spares a request after each read. */
  readOnly: boolean;
  /** Whether the kernel reads and writes files itself, where it can. */
  passthrough: boolean;
  /** For how many milliseconds the kernel may believe names and attributes: that late a change on the host is seen. */
  validMs: number;
  /** Seconds, 0 to 65535: a connection that does not answer for so long is ended. 0: never. */
  requestTimeoutSeconds: number;
  /** The mount that the tree belongs to: what the audit stream calls it. Trees of one mount share its quota. */
  mount: string;
  /** Where in that mount the root of the tree is, without slashes at the ends: globs and the audit stream begin at the mount's. */
  below: string;
  /** Globs (policy.ts). */
  hidden: string[];
  readOnlyPaths: string[];
  logged: string[];
  /** How many bytes and files may be added; 0: no limit. Without passthrough if there is one of bytes. */
  quotaBytes: number;
  quotaFiles: number;
  /** Whether the audit stream, if there is one, tells of it. */
  audited: boolean;
}

/** What holds for the process; and for every tree of which `trees` says nothing else. */
export interface GoferOptions extends TreeOptions {
  /** How many descriptors are kept for files and directories; 0: a quarter of the limit, 3840 at most. */
  maxFds: number;
  /** The state file of the container, by which a gofer is found when that cannot be read. */
  stateFile: string;
  /** A descriptor for the audit stream; 0: there is none. */
  auditFd: number;
  /** What its lines say of the container. */
  auditContainer: string;
  /** One for each descriptor of a tree. */
  trees: Partial<TreeOptions>[];
}

const treeDefaults: TreeOptions = {
  readOnly: false,
  passthrough: true,
  validMs: 750,
  requestTimeoutSeconds: 300,
  mount: "",
  below: "",
  hidden: [],
  readOnlyPaths: [],
  logged: [],
  quotaBytes: 0,
  quotaFiles: 0,
  audited: true,
};

const processDefaults = {
  maxFds: 0,
  stateFile: "",
  auditFd: 0,
  auditContainer: "",
};

/** Of the number that has one in the protocol. */
const MAX_TIMEOUT_SECONDS = 65_535;

/** As parsed: each tree's options are complete. */
export type ParsedOptions = Omit<GoferOptions, keyof TreeOptions | "trees"> & { trees: TreeOptions[] };

/** @throws UsageError that names the field */
export function parseGoferOptions(text: string): ParsedOptions {
  const { trees = [{}], ...given } = readObject(text);
  if (!Array.isArray(trees) || trees.length === 0) throw wrong("trees", "a list of objects is wanted");
  checkFields(given, { ...treeDefaults, ...processDefaults }, "");
  const all = { ...treeDefaults, ...processDefaults, ...given };
  const { maxFds, stateFile, auditFd, auditContainer, ...common } = all;
  return {
    ...{ maxFds, stateFile, auditFd, auditContainer },
    trees: trees.map((tree: unknown, index) => {
      const name = `trees[${index}]`;
      if (!isRecord(tree)) throw wrong(name, "an object is wanted");
      checkFields(tree, treeDefaults, `${name}.`);
      const options = { ...common, ...tree };
      if (options.requestTimeoutSeconds > MAX_TIMEOUT_SECONDS) {
        throw wrong(`${name}.requestTimeoutSeconds`, "0 to 65535 is wanted");
      }
      return options;
    }),
  };
}

function checkFields(given: Record<string, unknown>, defaults: object, prefix: string): void {
  for (const [field, value] of Object.entries(given)) {
    const name = prefix + field;
    const usual = new Map<string, unknown>(Object.entries(defaults)).get(field);
    if (usual === undefined) throw wrong(name, "unknown field");
    if (typeof usual === "boolean" && typeof value !== "boolean") throw wrong(name, "true or false is wanted");
    if (typeof usual === "number" && !isCount(value)) throw wrong(name, "a whole number from 0 on is wanted");
    if (typeof usual === "string" && typeof value !== "string") throw wrong(name, "a string is wanted");
    if (Array.isArray(usual) && !isTexts(value)) throw wrong(name, "a list of strings is wanted");
  }
}

function wrong(name: string, text: string): UsageError {
  return new UsageError(`invalid gofer options: ${name}: ${text}`);
}

function isCount(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value)) return value;
  } catch {
    // Said below.
  }
  throw new UsageError("invalid gofer options: a JSON object is wanted");
}
