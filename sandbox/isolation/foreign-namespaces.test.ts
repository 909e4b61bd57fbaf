import { expect, test } from "bun:test";
import type { Spec } from "../../specutils/spec.ts";
import { checkForeign } from "./foreign-namespaces.ts";
import type { HostView } from "./spec.ts";

const HOST: HostView = {
  kernel: [6, 12],
  look: () => undefined,
  openNode: () => undefined,
  isOwnNamespace: (path) => path.startsWith("/proc/self/"),
  mountsBelow: () => [],
};

const PROC = [{ destination: "/proc", type: "proc", source: "proc" }];

function check(
  path: Partial<Record<"mount" | "pid" | "uts" | "ipc" | "network", string>>,
  rest: Partial<Spec> = {},
): void {
  const namespaces = [
    { type: "mount" as const },
    ...Object.entries(path).map(([type, at]) => ({ type: type as "pid", path: at })),
  ].filter(({ type }, index, all) => all.findLastIndex((other) => other.type === type) === index);
  checkForeign({ ociVersion: "1.0.2", ...rest, linux: { namespaces } }, HOST);
}

test("namespaces in which a sandbox needs no rights may be anybody's", () => {
  check({ ipc: "/proc/7/ns/ipc", network: "/run/netns/x" }, { mounts: PROC, hostname: "h" });
  check({ pid: "/proc/7/ns/pid", uts: "/proc/7/ns/uts" });
});

test("the host's own pid namespace is had with the host's /proc", () => {
  check({ pid: "/proc/self/ns/pid" }, { mounts: PROC });
});

test("what cannot be done in somebody else's namespace is refused with the remedy", () => {
  const remedy = "use --isolation oci";
  expect(() => check({ mount: "/proc/7/ns/mnt" })).toThrow(remedy);
  expect(() => check({ pid: "/proc/7/ns/pid" }, { mounts: PROC })).toThrow(
    `linux.namespaces: the pid namespace "/proc/7/ns/pid" is not the sandbox's, and its /proc cannot be mounted: ${remedy}`,
  );
  expect(() => check({ uts: "/proc/7/ns/uts" }, { hostname: "h" })).toThrow(remedy);
  expect(() => check({ uts: "/proc/7/ns/uts" }, { domainname: "d" })).toThrow(remedy);
  expect(() => checkForeign({ ociVersion: "1.0.2", linux: { namespaces: [] } }, HOST)).toThrow(remedy);
});
