/** Lists of CPUs or memory nodes as the spec writes them: `0-3,7` (cpuset(7), "List format"). */

/** No Linux kernel is built for more CPUs (NR_CPUS) than this, which bounds what a short text can ask for. */
const MAX_NUMBER = 8191;

const RANGE = /^(\d{1,4})(?:-(\d{1,4}))?$/;

/** The numbers in a list, ascending and each once; undefined when the text is no list. Spaces around items are allowed. */
export function parseCpuList(text: string): number[] | undefined {
  const numbers = new Set<number>();
  if (text.trim() === "") return [];
  for (const item of text.split(",")) {
    const [matched, first, last = first] = RANGE.exec(item.trim()) ?? [];
    if (matched === undefined || Number(last) < Number(first) || Number(last) > MAX_NUMBER) return undefined;
    for (let number = Number(first); number <= Number(last); number++) numbers.add(number);
  }
  return [...numbers].sort((a, b) => a - b);
}
