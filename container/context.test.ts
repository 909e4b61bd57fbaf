import { expect, test } from "bun:test";
import { defaultRoot } from "./context.ts";

const xdg = { XDG_RUNTIME_DIR: "/run/user/7" };

test("the state root is /run/cloche for root, whatever XDG_RUNTIME_DIR says", () => {
  expect(defaultRoot(xdg, 0, () => false)).toBe("/run/cloche");
});

test("the state root is the user's for an ordinary user, and for root of a user namespace", () => {
  expect(defaultRoot(xdg, 7, () => false)).toBe("/run/user/7/cloche");
  expect(defaultRoot(xdg, 0, () => true)).toBe("/run/user/7/cloche");
});

test("the state root is /run/cloche for a session of root's in a container with a user namespace", () => {
  expect(defaultRoot({ ...xdg, USER: "root" }, 0, () => true)).toBe("/run/cloche");
});

test("an empty XDG_RUNTIME_DIR counts as unset", () => {
  expect(defaultRoot({ XDG_RUNTIME_DIR: "" }, 0, () => true)).toBe("/run/cloche");
});
