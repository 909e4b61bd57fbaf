/** Who may say how the files of a mount get into a sandbox, and what holds where several do. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DEFAULT_ISOLATION, type IsolationSettings } from "./isolation-level.ts";
import { mountPolicies } from "./mount-policies.ts";

const directory = mkdtempSync(path.join(tmpdir(), "cloche-policies-"));
afterAll(() => rmSync(directory, { recursive: true }));

function policy(text: string): string {
  const file = path.join(directory, "policy.toml");
  writeFileSync(file, text);
  return file;
}

function policies(settings: Partial<IsolationSettings>, annotations: Record<string, string> = {}) {
  return mountPolicies({ ...DEFAULT_ISOLATION, ...settings }, { ociVersion: "1.0.2", annotations });
}

const DATA = '[mounts."*"]\nhidden = ["x"]\nmax-files = 1\n[mounts."/data"]\nhidden = ["y"]\nmax-files = 2\n';

describe("mountPolicies", () => {
  test("without policy: the setting holds", async () => {
    const { isSet, access } = await policies({ fileAccess: "donated" });
    expect(isSet).toBe(false);
    expect(access("/data")).toEqual({ access: "donated", policy: undefined });
  });

  test("globs of `*` and of the mount add up, numbers are the mount's, and both mean serving", async () => {
    const { isSet, access, goferOptions } = await policies({ goferPolicy: policy(DATA), fileAccess: "donated" });
    expect(isSet).toBe(true);
    expect(access("/")).toEqual({ access: "served", policy: "any" });
    expect(access("data/")).toEqual({ access: "served", policy: "named" });
    expect(goferOptions("/data")).toMatchObject({ hidden: ["x", "y"], quotaFiles: 2, mount: "/data" });
    expect(goferOptions("/other")).toMatchObject({ hidden: ["x"], quotaFiles: 1, mount: "/other" });
  });

  test("file-access of a mount alone serves or donates that one", async () => {
    const text = "[mounts.'/a']\nfile-access = 'served'\n[mounts.'/b']\nfile-access = 'donated'\n";
    const { isSet, access } = await policies({ goferPolicy: policy(text) });
    expect(isSet).toBe(false);
    expect(["/a", "/b", "/c"].map((name) => access(name).access)).toEqual(["served", "donated", "auto"]);
    expect(access("/a").policy).toBeUndefined();
  });

  test("an audit stream without a policy is one of every mount", async () => {
    const { isSet, access, audit } = await policies({ goferAudit: "/log" });
    expect([isSet, access("/").policy, audit]).toEqual([true, "any", "/log"]);
  });

  test("logged globs without an audit stream are refused", async () => {
    const goferPolicy = policy("[mounts.'/a']\nlogged = ['**']\n");
    await expect(policies({ goferPolicy })).rejects.toThrow(
      `${JSON.stringify(goferPolicy)}: mounts."/a".logged: there`,
    );
    expect((await policies({ goferPolicy, goferAudit: "/log" })).audit).toBe("/log");
  });
});

describe("annotation dev.cloche.file-access", () => {
  const asking = (value: string) => ({ "dev.cloche.file-access": value });

  test("is for all mounts, or for those that it names", async () => {
    const all = await policies({}, asking("served"));
    expect(all.access("/x").access).toBe("served");
    const { access } = await policies({}, asking("donated,/data=served,/=auto"));
    expect(["/", "/data", "/x"].map((name) => access(name).access)).toEqual(["auto", "served", "donated"]);
  });

  test("takes away no serving that an administrator has set, unless allowed", async () => {
    const { access } = await policies({ fileAccess: "served" }, asking("/data=donated"));
    expect(access("/x").access).toBe("served");
    expect(() => access("/data")).toThrow(
      'annotations["dev.cloche.file-access"]: "/data" is to be served, and not "donated": an administrator may allow it',
    );
    const allowed = await policies({ fileAccess: "served", allowAnnotation: true }, asking("/data=donated"));
    expect(allowed.access("/data").access).toBe("donated");
  });

  test("never takes away a policy", async () => {
    const settings = { goferPolicy: policy(DATA), allowAnnotation: true };
    const { access } = await policies(settings, asking("donated"));
    expect(() => access("/data")).toThrow('"/data" is to be served, and not "donated": it has a gofer policy');
  });

  test.each(["", "mine", "/data", "data=served", "/data=", "served,"])("refuses %p", async (value) => {
    await expect(policies({}, asking(value))).rejects.toThrow('annotations["dev.cloche.file-access"]: got ');
  });
});

describe("annotation dev.cloche.gofer-policy", () => {
  const annotations = () => ({ "dev.cloche.gofer-policy": policy(DATA) });

  test("is refused unless the administrator allows it", async () => {
    await expect(policies({}, annotations())).rejects.toThrow(
      'annotations["dev.cloche.gofer-policy"]: an administrator',
    );
    expect((await policies({ allowAnnotation: true }, annotations())).isSet).toBe(true);
  });

  test("is an absolute path", async () => {
    const relative = { "dev.cloche.gofer-policy": "policy.toml" };
    await expect(policies({ allowAnnotation: true }, relative)).rejects.toThrow("want the absolute path of a file");
  });
});
