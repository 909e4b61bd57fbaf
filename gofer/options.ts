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
}

const defaults: GoferOptions = {
  readOnly: false,
  passthrough: true,
  validMs: 750,
  requestTimeoutSeconds: 60,
  outlivesControl: false,
  maxFds: 0,
};

/** @throws UsageError that names the field */
export function parseGoferOptions(text: string): GoferOptions {
  const given = readObject(text);
  const wrong = (name: string, wanted: string) => new UsageError(`invalid gofer options: ${name}: ${wanted} is wanted`);
  const result: Record<string, unknown> = { ...defaults };
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, name)) throw new UsageError(`invalid gofer options: ${name}: unknown field`);
    const wanted = defaults[name as keyof GoferOptions];
    if (typeof value !== typeof wanted) throw wrong(name, `a ${typeof wanted}`);
    result[name] = value;
  }
  const options = result as unknown as GoferOptions;
  if (!Number.isInteger(options.validMs) || options.validMs < 0) throw wrong("validMs", "an integer from 0 on");
  if (!Number.isInteger(options.maxFds) || options.maxFds < 0) throw wrong("maxFds", "an integer from 0 on");
  const seconds = options.requestTimeoutSeconds;
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > 65_535) {
    throw wrong("requestTimeoutSeconds", "an integer from 0 to 65535");
  }
  return options;
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
