/**
 * The log behind `--log`, `--log-format` and `--debug`, written by winston.
 *
 * What always holds: winston is loaded with the first line and not before (it costs 14 ms, a whole call 6 ms); a line that
 * was written is in the file when the call returns once winston is there, so that a process that is killed or blocks in a
 * system call has left its trace; the file is only ever appended to, as several calls and several processes share it.
 */

import { closeSync, openSync } from "node:fs";
import type { Logger } from "winston";

export type LogFormat = "text" | "json";
type Level = "error" | "warning" | "debug";

const STDERR_FD = 2;

export interface LogTarget {
  /** Path of the file; stderr if there is none. */
  file: string | undefined;
  format: LogFormat;
  /** Whether debug lines are written, too. */
  isDebug: boolean;
}

/** One line of the log. */
export interface Line {
  level: Level;
  message: string;
  /** RFC 3339, UTC. */
  time: string;
}

export interface Log {
  readonly target: LogTarget;
  debug(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  /** Writes what is still held back and lets go of the file. @throws NodeJS.ErrnoException if the file cannot be written */
  close(): Promise<void>;
}

/**
 * A log to `target`; opens and loads nothing yet.
 *
 * Warnings in a JSON file are held back until `close`, and are dropped if an error was logged: podman parses the whole file
 * as one object when a call failed, and containerd takes the last error from it. With `isDebug` they go out at once.
 */
export function openLog(target: LogTarget): Log {
  const isHoldingWarnings = target.format === "json" && target.file !== undefined && !target.isDebug;
  const warnings: Line[] = [];
  const queue: Line[] = [];
  let hasError = false;
  let logger: Logger | undefined;
  let fd: number | undefined;
  let loading: Promise<void> | undefined;

  async function load(): Promise<void> {
    fd = target.file === undefined ? STDERR_FD : openSync(target.file, "a", 0o644);
    const { createLogger } = await import("./log-writer.ts");
    logger = createLogger(fd, target.format);
    for (const line of queue.splice(0)) {
      logger.log(line);
    }
  }

  function write(line: Line): void {
    if (logger !== undefined) {
      logger.log(line);
      return;
    }
    queue.push(line);
    loading ??= load();
    // `close` reports it; without this a log that cannot be opened would be an unhandled rejection first.
    loading.catch(() => undefined);
  }

  return {
    target,
    debug(message) {
      if (target.isDebug) {
        write(lineOf("debug", message));
      }
    },
    warn(message) {
      const line = lineOf("warning", message);
      if (isHoldingWarnings) {
        warnings.push(line);
      } else {
        write(line);
      }
    },
    error(message) {
      hasError = true;
      write(lineOf("error", message));
    },
    async close() {
      if (!hasError) {
        for (const line of warnings.splice(0)) write(line);
      }
      await loading;
      logger?.close();
      if (fd !== undefined && fd !== STDERR_FD) {
        closeSync(fd);
        fd = undefined;
      }
    },
  };
}

function lineOf(level: Level, message: string): Line {
  return { level, message, time: new Date().toISOString() };
}
