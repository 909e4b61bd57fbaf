import { expect, test } from "bun:test";
import { formatTable, toJson } from "./output.ts";

test("formatTable pads columns to twelve characters at least, and not the last one", () => {
  expect(formatTable(["ID", "PID", "OWNER"], [])).toBe("ID          PID         OWNER\n");
  expect(formatTable(["ID", "PID"], [["a-rather-long-id", "1"]])).toBe(
    "ID                 PID\na-rather-long-id   1\n",
  );
});

test("toJson writes 64-bit integers out in full", () => {
  expect(toJson({ hard: 18446744073709551615n, soft: -1n, name: "x" })).toBe(
    '{"hard":18446744073709551615,"soft":-1,"name":"x"}',
  );
});

test("toJson indents when asked to", () => {
  expect(toJson([1n], "\t")).toBe("[\n\t1\n]");
});
