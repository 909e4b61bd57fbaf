import { expect, test } from "bun:test";
import { planCgroup } from "./plan.ts";
import { withoutCgroupRights } from "./unprivileged.ts";

/** /dev/null/x cannot be written to by anybody; /tmp can be. */
const plan = (mount: string, resources = {}, cgroupsPath?: string) =>
  planCgroup({
    id: "c1",
    cgroupsPath,
    resources,
    systemd: false,
    annotations: {},
    host: { version: "v1", hierarchies: [{ mount, controllers: ["pids"] }] },
  });

test("withoutCgroupRights: no cgroup where none can be made", () => {
  const { driver, hierarchies } = withoutCgroupRights(plan("/dev/null/x"));
  expect({ driver, hierarchies }).toEqual({
    driver: "disabled",
    hierarchies: [{ mount: "/dev/null/x", controllers: ["pids"] }],
  });
});

test("withoutCgroupRights: a limit that could not be kept is refused", () => {
  const limited = plan("/dev/null/x", { pids: { limit: 5n } });
  expect(() => withoutCgroupRights(limited)).toThrow("cannot set linux.resources.pids.limit");
});

test("withoutCgroupRights: a path that config.json names, or a tree that can be written to, is used", () => {
  for (const usable of [plan("/dev/null/x", {}, "/given"), plan("/tmp")]) {
    expect(withoutCgroupRights(usable)).toEqual({ ...usable, devices: undefined });
  }
});
