import { expect, test } from "bun:test";
import { parseCpuList } from "./cpu-list.ts";

test.each([
  ["0-3,7", [0, 1, 2, 3, 7]],
  ["7, 1-2 ,2", [1, 2, 7]],
  ["8191", [8191]],
  ["", []],
])("parseCpuList reads %j", (text, numbers) => {
  expect(parseCpuList(text)).toEqual(numbers);
});

test.each(["a", "3-1", "1-", "-1", "1,,2", "1,", "8192", "0-99999", "1-2-3", "0x1", "1.5"])(
  "parseCpuList refuses %j",
  (text) => {
    expect(parseCpuList(text)).toBeUndefined();
  },
);
