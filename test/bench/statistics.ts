/** Medians with their spread. */

/** Values in milliseconds or whatever they were given in; quartiles by linear interpolation. */
export interface Spread {
  median: number;
  low: number;
  high: number;
  count: number;
}

/** Median and quartiles. @throws Error if there are no values */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  return { low: at(sorted, 0.25), median: at(sorted, 0.5), high: at(sorted, 0.75), count: sorted.length };
}

function at(sorted: readonly number[], share: number): number {
  const position = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(position)], sorted[Math.ceil(position)]];
  if (below === undefined || above === undefined) throw new Error("no values");
  return below + (above - below) * (position - Math.floor(position));
}

/** Values by two names: what was measured, and of whom. */
export class Samples {
  private readonly values = new Map<string, Map<string, number[]>>();

  add(what: string, who: string, value: number): void {
    const row = this.values.get(what) ?? new Map<string, number[]>();
    row.set(who, [...(row.get(who) ?? []), value]);
    this.values.set(what, row);
  }

  /** The spread of each, in the order in which they came. */
  spreads(): Record<string, Record<string, Spread>> {
    return Object.fromEntries(
      [...this.values].map(([what, row]) => [
        what,
        Object.fromEntries([...row].map(([who, values]) => [who, spreadOf(values)])),
      ]),
    );
  }
}
