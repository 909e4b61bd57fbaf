import { expect, test } from "bun:test";
import * as names from "../../specutils/kernel-names.ts";
import * as seccomp from "./constants.ts";

test("the seccomp names are those that the filter compiler has numbers for", () => {
  expect([...names.SECCOMP_ACTIONS].sort()).toEqual(Object.keys(seccomp.actions).sort() as never);
  expect([...names.SECCOMP_FLAGS].sort()).toEqual(Object.keys(seccomp.filterFlags).sort() as never);
});
