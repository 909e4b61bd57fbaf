import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { DOCUMENT, renderDocument } from "./document.ts";

test("docs/CONFORMANCE.md says what the expectations say", () => {
  expect(readFileSync(DOCUMENT, "utf8")).toBe(renderDocument());
});
