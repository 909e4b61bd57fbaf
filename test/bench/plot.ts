/** A result as an SVG: for each command a bar per runtime, its length the median, a line from quartile to quartile. */
import type { Result } from "./result.ts";
import { factsOf, milliseconds } from "./table.ts";

const COLOURS: Readonly<Record<string, string>> = {
  cloche: "#c2410c",
  sandboxed: "#fb923c",
  crun: "#0f766e",
  runc: "#1d4ed8",
  runsc: "#6b7280",
};

/** Pixels. */
const WIDTH = 860;
const LEFT = 110;
const RIGHT = 70;
const BAR = 11;
const GAP = 12;
const TOP = 78;

/** The SVG's text. Bars are cut at the length that leaves the others readable; their numbers are not. */
export function plotOf(result: Result): string {
  const peers = Object.keys(result.machine.runtimes).filter((name) => name !== "served");
  const rows = Object.entries(result.times);
  // runsc is an order of magnitude away from the others, and so are many runs, and docker's, from one run.
  const shown = rows.filter(([what]) => !/^\d+ runs$|^life$|^docker /.test(what));
  const longest = Math.max(
    ...shown.flatMap(([, row]) => Object.entries(row).map(([who, { high }]) => (who === "runsc" ? 0 : high))),
  );
  const scale = (ms: number) => (Math.min(ms, longest) / longest) * (WIDTH - LEFT - RIGHT);
  const marks: string[] = [];
  let y = TOP;
  for (const [what, row] of shown) {
    marks.push(text(LEFT - 10, y + (peers.length * BAR) / 2 + 4, what, 'text-anchor="end"'));
    for (const peer of peers) {
      const spread = row[peer];
      if (spread !== undefined) {
        const middle = y + BAR / 2;
        const [length, low, high] = [spread.median, spread.low, spread.high].map((ms) => LEFT + scale(ms));
        const colour = COLOURS[peer] ?? "#000";
        marks.push(
          `<rect x="${LEFT}" y="${y}" width="${fixed((length ?? 0) - LEFT)}" height="${BAR - 2}" fill="${colour}"/>`,
          `<path d="M${fixed(low)} ${fixed(middle - 1)}H${fixed(high)}" stroke="#000" stroke-opacity="0.6"/>`,
          text((high ?? 0) + 5, middle + 3, milliseconds(spread.median), 'font-size="9"'),
        );
      }
      y += BAR;
    }
    y += GAP;
  }
  const legend = peers.map((peer, index) => {
    const x = LEFT + index * 90;
    return `<rect x="${x}" y="52" width="10" height="10" fill="${COLOURS[peer] ?? "#000"}"/>${text(x + 15, 61, peer)}`;
  });
  const facts = factsOf(result).split("\n")[0] ?? "";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" font-family="sans-serif" font-size="12">`,
    `<title>Milliseconds per command: ${peers.join(", ")}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(10, 20, "Milliseconds per command: median, and the line from quartile to quartile", 'font-weight="bold"'),
    text(10, 38, facts, 'font-size="10"'),
    ...legend,
    ...marks,
    "</svg>\n",
  ].join("\n");
}

function fixed(value: number | undefined): string {
  return (value ?? 0).toFixed(1);
}

function text(x: number, y: number, content: string, attributes = ""): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${fixed(x)}" y="${fixed(y)}"${attributes === "" ? "" : ` ${attributes}`}>${escaped}</text>`;
}
