/** Writing that is over when the call returns: `process.exit` right after it cuts nothing off. */

import { writeSync } from "node:fs";

/** How long to wait before trying a full non-blocking pipe again, in milliseconds. */
const RETRY_MS = 1;

/**
 * Writes all of `text` to `fd`. Engines may hand us non-blocking pipes, for which write(2) fails with EAGAIN while full.
 * @throws NodeJS.ErrnoException as write(2) fails otherwise
 */
export function writeAll(fd: number, text: string): void {
  let rest: Uint8Array = new TextEncoder().encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== "EAGAIN" && code !== "EINTR") {
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}
