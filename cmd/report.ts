/** How a failed call is reported: one line on stderr, the same as one line in the log if there is one, and an exit code. */

import { ClocheError, messageOf, reasonOf, UsageError } from "../specutils/errors.ts";
import type { Log } from "../specutils/log.ts";
import { writeAll } from "../specutils/write-all.ts";

const STDERR_FD = 2;

/** conmon reads the reason of a failure from stderr with one read(2) of 8191 bytes. */
const MAX_BYTES = 8000;

/** Writes down why the call failed. Engines show either place to their users, so both get the same text. */
export async function reportFailure(thrown: unknown, log: Log): Promise<void> {
  const text = failureText(thrown);
  if (thrown instanceof Error && !(thrown instanceof UsageError)) {
    log.debug(thrown.stack ?? text);
  }
  const isLogOnly = log.target.file === undefined && log.target.format === "json";
  let logFailure = "";
  if (isLogOnly || log.target.file !== undefined) {
    log.error(text);
  }
  try {
    await log.close();
  } catch (error) {
    logFailure = ` (and cannot write log ${JSON.stringify(log.target.file)}: ${describe(error)})`;
  }
  if (!isLogOnly) {
    writeAll(STDERR_FD, `${text}${logFailure}\n`);
  }
}

/** The failure in one line, with what went wrong while cleaning up after it. */
export function failureText(thrown: unknown): string {
  const cleanup = thrown instanceof ClocheError ? thrown.cleanupFailures : [];
  const text = [describe(thrown), ...cleanup.map((error) => `(cleaning up failed too: ${describe(error)})`)].join(" ");
  return clip(escapeControls(text));
}

/** The message; of a failed call of node:fs in the form of our own (`cannot open "/x": permission denied`). */
function describe(thrown: unknown): string {
  const { code, syscall, path } = thrown instanceof Error ? (thrown as NodeJS.ErrnoException) : {};
  if (!(thrown instanceof Error) || typeof code !== "string" || typeof syscall !== "string") {
    return thrown instanceof ClocheError ? thrown.message : `internal error: ${messageOf(thrown)}`;
  }
  return `cannot ${syscall}${path === undefined ? "" : ` ${JSON.stringify(path)}`}: ${reasonOf(thrown)}`;
}

/** Texts may come from a bundle or a container: nothing of theirs may start a line of its own or steer a terminal. */
function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => {
    const escaped = JSON.stringify(char).slice(1, -1);
    return escaped.length > 1 ? escaped : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function clip(text: string): string {
  const bytes = Buffer.from(text);
  return bytes.length <= MAX_BYTES
    ? text
    : `${bytes
        .subarray(0, MAX_BYTES)
        .toString()
        .replace(/\ufffd+$/, "")} …`;
}
