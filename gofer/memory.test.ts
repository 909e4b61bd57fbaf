import { expect, test } from "bun:test";
import { unchangedRanges } from "./memory.ts";

const MAPS = `00200000-01a39000 r--p 00000000 fe:00 1004 /usr/bin/cloche
01a40000-0684a000 r-xp 01838000 fe:00 1004 /usr/bin/cloche
0684a000-0685f000 rw-p 06642000 fe:00 1004 /usr/bin/cloche
0685f000-06867000 r--p 06657000 fe:00 1004 /usr/bin/cloche
06f96000-07c61000 rw-p 00000000 00:00 0
7f3147378000-7f3147385000 r--p 00000000 fe:00 2001 /usr/lib/libc.so.6
7f3147385000-7f3147389000 r-xp 00001000 fe:00 2001 /usr/lib/libc.so.6
7ffd4cbee000-7ffd4cc0f000 rw-p 00000000 00:00 0 [stack]
`;

test("unchangedRanges are the code and the constants of the executable, and nothing that was written to", () => {
  expect(unchangedRanges(MAPS)).toEqual([
    [0x00200000, 0x01a39000],
    [0x01a40000, 0x0684a000],
  ]);
  expect(unchangedRanges("")).toEqual([]);
});
