/** What a gofer is told, as JSON in its `--options`. */
import { UsageError } from "../specutils/errors.ts";

export interface GoferOptions {
  /** No request changes anything; the superblock itself is read-only, which spares a request after each read. */
  readOnly: boolean;
  /** Whether the kernel reads and writes files itself, where it can. */
  passthrough: boolean;
  /** For how many milliseconds the kernel may believe names and attributes: that late a change on the host is seen. */
  validMs: number;
  /** Seconds, 0 to 65535: a connection that does not answer for so long is ended. 0: never. */
  requestTimeoutSeconds: number;
  /** Whether it serves on, until its last mount is gone, when nobody holds the other end of the control socket any more. */
  outlivesControl: boolean;
  /** How many descriptors are kept for files and directories; 0: a quarter of the limit, 3840 at most. */
  maxFds: number;
  /** Globs (policy.ts). */
  hidden: string[];
  readOnlyPaths: string[];
  logged: string[];
  /** How many bytes and files may be added; 0: no limit. Without passthrough if there is one of bytes. */
  quotaBytes: number;
  quotaFiles: number;
  /** A descriptor for the audit stream; 0: there is none. */
  auditFd: number;
  /** What its lines say of the container and of the mount. */
  auditContainer: string;
  auditMount: string;
}

const defaults: GoferOptions = {
  readOnly: false,
  passthrough: true,
  validMs: 750,
  requestTimeoutSeconds: 60,
  outlivesControl: false,
  maxFds: 0,
  hidden: [],
  readOnlyPaths: [],
  logged: [],
  quotaBytes: 0,
  quotaFiles: 0,
  auditFd: 0,
  auditContainer: "",
  auditMount: "",
};

/** Of the number that has one in the protocol. */
const MAX_TIMEOUT_SECONDS = 65_535;

/** @throws UsageError that names the field */
export function parseGoferOptions(text: string): GoferOptions {
  const given = readObject(text);
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, name)) throw wrong(name, "unknown field");
    const usual = defaults[name as keyof GoferOptions];
    if (typeof usual === "boolean" && typeof value !== "boolean") throw wrong(name, "true or false is wanted");
    if (typeof usual === "number" && !isCount(value)) throw wrong(name, "a whole number from 0 on is wanted");
    if (typeof usual === "string" && typeof value !== "string") throw wrong(name, "a string is wanted");
    if (Array.isArray(usual) && !isTexts(value)) throw wrong(name, "a list of strings is wanted");
  }
  const options = { ...defaults, ...(given as Partial<GoferOptions>) };
  if (options.requestTimeoutSeconds > MAX_TIMEOUT_SECONDS) throw wrong("requestTimeoutSeconds", "0 to 65535 is wanted");
  return options;
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

function readObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new UsageError("invalid gofer options: a JSON object is wanted");
}
