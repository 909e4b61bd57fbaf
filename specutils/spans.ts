/**
 * Where the time of a call goes: named stretches of it, for `--debug`, `--trace-file` and `npm run profile`.
 *
 * Off unless `startSpans` was called, and then a span costs a comparison.
 */

/** A stretch of time; both ends in milliseconds since the process began (`performance.now`). */
export interface Span {
  name: string;
  startMs: number;
  endMs: number;
}

let spans: Span[] | undefined;

/** From now on spans are kept. The first is from the start of the process to this call. */
export function startSpans(): void {
  spans = [{ name: "start", startMs: 0, endMs: performance.now() }];
}

/** Begins a span; what it returns ends it, and has to be called even if the step fails, for the span to be there. */
export function beginSpan(name: string): () => void {
  if (spans === undefined) {
    return ignore;
  }
  const span = { name, startMs: performance.now(), endMs: Number.NaN };
  spans.push(span);
  return () => {
    span.endMs = performance.now();
  };
}

/** Loads a module, as a span of its own. */
export async function loading<T>(name: string, load: () => Promise<T>): Promise<T> {
  const endLoading = beginSpan(name);
  const module = await load();
  endLoading();
  return module;
}

/** The spans so far, in the order in which they began; those that have not ended end now. */
export function readSpans(): readonly Span[] {
  const now = performance.now();
  return (spans ?? []).map((span) => (Number.isNaN(span.endMs) ? { ...span, endMs: now } : span));
}

function ignore(): void {}
