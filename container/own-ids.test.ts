import { describe, expect, test } from "bun:test";
import { type IdsHost, idsWarnings, needsIds, whyNoIds, whyNoSandbox, whyNotServed } from "./own-ids.ts";

const HOST: IdsHost = { isHostRoot: true, hasUserNamespaces: true, kernel: [6, 12], hasFuse: true };

describe("ids of a sandbox's own", () => {
  test("are there for root with the host's ids", () => {
    expect(whyNoIds(HOST)).toBeUndefined();
  });

  test("are not there for others, nor without user namespaces", () => {
    expect(whyNoIds({ ...HOST, isHostRoot: false })).toBe("cloche is not root with the host's ids");
    expect(whyNoIds({ ...HOST, hasUserNamespaces: false })).toBe("user.max_user_namespaces is 0");
  });

  test("are not there where files would have to be served and the kernel cannot shift them", () => {
    const served = { root: "serve", parts: [] } as const;
    const old = "before Linux 6.12 the ids of its file system cannot be shifted";
    expect(whyNotServed(served, HOST)).toBeUndefined();
    expect(whyNotServed(served, { ...HOST, kernel: [7, 0] })).toBeUndefined();
    expect(whyNotServed(served, { ...HOST, kernel: [6, 11] })).toBe(`root.path: ${old}`);
    expect(
      whyNotServed(
        { root: "map", parts: [{ of: 3, below: "", source: "/data", ids: "serve", field: "mounts[3]" }] },
        { ...HOST, kernel: [5, 19] },
      ),
    ).toBe(`mounts[3]: ${old}`);
    expect(whyNotServed(served, { ...HOST, hasFuse: false })).toContain("without /dev/fuse");
    expect(whyNotServed({ root: "map-tree", parts: [] }, { ...HOST, kernel: [5, 12], hasFuse: false })).toBeUndefined();
  });

  test("are of no use on a kernel that cannot close a tree of mounts", () => {
    expect(whyNoSandbox([5, 12])).toBeUndefined();
    expect(whyNoSandbox([6, 0])).toBeUndefined();
    expect(whyNoSandbox([5, 11])).toBe("before Linux 5.12 a tree of mounts cannot be made nosuid and nodev");
  });

  test("are refused with the remedy where somebody chose them", () => {
    expect(needsIds("reason").message).toBe(
      'isolation level "sandboxed" needs ids of its own: reason: use --isolation oci',
    );
  });

  test("are missed aloud where root of the container is root of the host, and only there", () => {
    expect(idsWarnings("reason", HOST)[0]).toStartWith("isolation: root of the container is root of the host: reason;");
    expect(idsWarnings("reason", { ...HOST, isHostRoot: false })).toEqual([]);
  });
});
