import { expect, test } from "bun:test";
import { selectRows } from "./ps.ts";

const table = "UID          PID    PPID CMD\nroot           1       0 init 42\nroot          42       1 sh -c x\n";

test("selectRows keeps the heading and the rows of the pids", () => {
  expect(selectRows(table, new Set([42]))).toBe("UID          PID    PPID CMD\nroot          42       1 sh -c x\n");
});

test("selectRows finds the column by its heading", () => {
  expect(selectRows("    PID CMD\n      1 a\n     12 b\n", new Set([12]))).toBe("    PID CMD\n     12 b\n");
});

test("selectRows refuses a table without pids", () => {
  expect(() => selectRows("CMD\nsh\n", new Set([1]))).toThrow("must leave the column PID");
});
