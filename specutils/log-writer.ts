/** The part of the log that needs winston and streams, apart from log.ts because it is slow to load. */

import { Writable } from "node:stream";
import winston from "winston";
import type { Line, LogFormat } from "./log.ts";
import { writeAll } from "./write-all.ts";

/** A logger that has written each line to `fd` when the call returns. */
export function createLogger(fd: number, format: LogFormat): winston.Logger {
  // Writes at once: winston's own file transport writes later, and loses lines when the process ends.
  const stream = new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      writeAll(fd, line);
      done();
    },
  });
  const render = format === "json" ? jsonLine : textLine;
  return winston.createLogger({
    level: "debug",
    levels: { error: 0, warning: 1, debug: 2 },
    format: winston.format.printf((line) => render(line as unknown as Line)),
    transports: [new winston.transports.Stream({ stream, eol: "\n" })],
  });
}

/** The form that containerd, podman and go-runc read back. */
function jsonLine(line: Line): string {
  return JSON.stringify({ level: line.level, msg: line.message, time: line.time });
}

function textLine(line: Line): string {
  return `time=${JSON.stringify(line.time)} level=${line.level} msg=${JSON.stringify(line.message)}`;
}
