import { describe, expect, test } from "bun:test";
import { cgroupfsPath, slicePath, systemdUnitName } from "./path.ts";

describe("cgroupfsPath", () => {
  test("takes absolute and relative paths from the root of the hierarchy", () => {
    expect(cgroupfsPath("c1", "/docker/abc")).toBe("/docker/abc");
    expect(cgroupfsPath("c1", "docker//./abc/")).toBe("/docker/abc");
  });

  test("names the cgroup after the container when there is no path", () => {
    expect(cgroupfsPath("c1", undefined)).toBe("/cloche-c1");
    expect(cgroupfsPath("c1", "")).toBe("/cloche-c1");
  });

  test.each(["/", ".", "a/../..", "/a/../b", "a\nb", "system.slice:docker:abc"])("refuses %j", (path) => {
    expect(() => cgroupfsPath("c1", path)).toThrow("invalid linux.cgroupsPath");
  });

  test("accepts colons that are not the form for systemd", () => {
    expect(cgroupfsPath("c1", "/a:b:c")).toBe("/a:b:c");
  });
});

describe("systemdUnitName", () => {
  test("reads slice:prefix:name", () => {
    expect(systemdUnitName("c1", "system.slice:docker:abc")).toEqual({
      slice: "system.slice",
      name: "docker-abc.scope",
    });
    expect(systemdUnitName("c1", "::abc")).toEqual({ slice: "system.slice", name: "abc.scope" });
  });

  test("escapes what systemd does not allow in a name", () => {
    expect(systemdUnitName("a+b", undefined).name).toBe("cloche-a\\x2bb.scope");
  });

  test.each(["/docker/abc", "abc", "a:b:", "a:b:c.slice", "a/b:c:d"])("refuses %j", (path) => {
    expect(() => systemdUnitName("c1", path)).toThrow("invalid linux.cgroupsPath");
  });
});

describe("slicePath", () => {
  test("nests a slice in its parents", () => {
    expect(slicePath("a-b-c.slice")).toBe("/a.slice/a-b.slice/a-b-c.slice");
    expect(slicePath("system.slice")).toBe("/system.slice");
    expect(slicePath("-.slice")).toBe("");
  });

  test.each([".slice", "a--b.slice", "-a.slice", "a/b.slice", "system"])("refuses %j", (slice) => {
    expect(() => slicePath(slice)).toThrow("is not the name of a slice");
  });
});
