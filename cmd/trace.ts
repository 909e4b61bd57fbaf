/** Spans as they are shown: lines of the debug log, events of a trace file. */

import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { readSpans, type Span } from "../specutils/spans.ts";

/** Writes the spans of this call to the debug log, and to the trace file if there is one. @throws NodeJS.ErrnoException */
export function tellSpans(command: string, file: string | undefined, debug: (line: string) => void): void {
  const spans = readSpans();
  for (const line of spanLines(spans)) debug(line);
  if (file !== undefined) {
    appendTrace(file, command, spans);
  }
}

/** One line for each span: when it began and how long it took, indented below the one that it is part of. */
export function spanLines(spans: readonly Span[]): string[] {
  const open: Span[] = [];
  return spans.map((span) => {
    while (open.length > 0 && (open.at(-1)?.endMs ?? 0) <= span.startMs) {
      open.pop();
    }
    const indent = "  ".repeat(open.length);
    open.push(span);
    return `span ${indent}${span.name}: ${(span.endMs - span.startMs).toFixed(2)} ms from ${span.startMs.toFixed(2)} ms on`;
  });
}

/**
 * Appends the spans to a file in the Chrome trace format, as events of this process. It is the array form, of which the
 * closing bracket may be missing, so that several calls can share a file: `chrome://tracing` and Perfetto read it.
 * @throws NodeJS.ErrnoException if the file cannot be written
 */
function appendTrace(file: string, command: string, spans: readonly Span[]): void {
  const { pid } = process;
  const whole = { name: command, startMs: 0, endMs: Math.max(...spans.map(({ endMs }) => endMs)) };
  const events = [whole, ...spans].map(({ name, startMs, endMs }) => ({
    name,
    cat: "cloche",
    ph: "X",
    // Microseconds, on the clock that all processes share.
    ts: Math.round((performance.timeOrigin + startMs) * 1000),
    dur: Math.round((endMs - startMs) * 1000),
    pid,
    tid: pid,
  }));
  const fd = openSync(file, "a", 0o644);
  try {
    // In one write, so that calls that end at once do not mix.
    const begin = fstatSync(fd).size === 0 ? "[\n" : "";
    writeSync(fd, begin + events.map((event) => `${JSON.stringify(event)},\n`).join(""));
  } finally {
    closeSync(fd);
  }
}
