import { expect, test } from "bun:test";
import * as seccomp from "../sandbox/seccomp/constants.ts";
import * as names from "./kernel-names.ts";

test("the seccomp names are those that the filter compiler has numbers for", () => {
  expect([...names.SECCOMP_ACTIONS].sort()).toEqual(Object.keys(seccomp.actions).sort() as never);
  expect([...names.SECCOMP_FLAGS].sort()).toEqual(Object.keys(seccomp.filterFlags).sort() as never);
});
