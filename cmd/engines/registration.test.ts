import { describe, expect, test } from "bun:test";
import { containerd } from "./containerd.ts";
import { docker } from "./docker.ts";
import type { Engine, Files } from "./engine.ts";
import { podman } from "./podman.ts";
import { type InstallRecord, type Planned, planInstall, planUninstall } from "./registration.ts";

const ENTRY = { name: "cloche", path: "/usr/local/bin/cloche" };
const CRI = 'plugins."io.containerd.grpc.v1.cri".containerd';

function filesOf(files: Readonly<Record<string, string | undefined>>): Files {
  return {
    read: (path) => files[path],
    list: (directory, ending) =>
      Object.keys(files).filter((path) => path.startsWith(`${directory}/`) && path.endsWith(ending)),
  };
}

const changeOf = (planned: Planned) => {
  if ("reason" in planned) throw new Error(planned.reason);
  return planned.change;
};

/** The text with the runtime in it, and the record of that. */
async function installed(engine: Engine, text: string | undefined, entry = ENTRY, record?: InstallRecord) {
  const change = changeOf(await planInstall(engine, entry, record, filesOf({ [engine.file(entry.name)]: text })));
  return { text: change.after ?? "", record: change.record };
}

async function uninstalled(engine: Engine, text: string, record: InstallRecord | undefined, entry = ENTRY) {
  return changeOf(await planUninstall(engine, entry, record, filesOf({ [engine.file(entry.name)]: text }))).after;
}

describe("daemon.json", () => {
  const cases: [name: string, before: string | undefined, after: string][] = [
    ["no file", undefined, '{\n  "runtimes": {\n    "cloche": { "path": "/usr/local/bin/cloche" }\n  }\n}\n'],
    ["an empty object", "{}", '{\n  "runtimes": {\n    "cloche": { "path": "/usr/local/bin/cloche" }\n  }\n}'],
    [
      "other keys, indented by tabs",
      '{\n\t"debug": true\n}\n',
      '{\n\t"debug": true,\n\t"runtimes": {\n\t\t"cloche": { "path": "/usr/local/bin/cloche" }\n\t}\n}\n',
    ],
    [
      "all on one line",
      '{"debug":true}',
      '{"debug":true, "runtimes": { "cloche": { "path": "/usr/local/bin/cloche" } }}',
    ],
    [
      "other runtimes",
      '{\n  "runtimes": {\n    "a": {"path": "/a"},\n    "b": {"path": "/b"}\n  },\n  "debug": true\n}\n',
      '{\n  "runtimes": {\n    "a": {"path": "/a"},\n    "b": {"path": "/b"},\n    "cloche": { "path": "/usr/local/bin/cloche" }\n  },\n  "debug": true\n}\n',
    ],
    [
      "an empty table of runtimes",
      '{\r\n  "runtimes": {}\r\n}\r\n',
      '{\r\n  "runtimes": {\r\n    "cloche": { "path": "/usr/local/bin/cloche" }\r\n  }\r\n}\r\n',
    ],
  ];
  for (const [name, before, after] of cases) {
    test(`${name}: is laid out as what is there, and undone`, async () => {
      const { text, record } = await installed(docker, before);
      expect(text).toBe(after);
      expect(await uninstalled(docker, text, record)).toBe(before);
    });
  }

  test("keeps integers, and what others changed before, after and within", async () => {
    const before = '{ "x": 12345678901234567890, "runtimes": { "a": {"path": "/a"} } }';
    const { text, record } = await installed(docker, before);
    const changed = text.replace('"x"', '"debug": true, "x"').replace(/ \} \}$/, ', "z": {"path": "/z"} } }');
    expect(await uninstalled(docker, changed, record)).toBe(
      '{ "debug": true, "x": 12345678901234567890, "runtimes": { "a": {"path": "/a"}, "z": {"path": "/z"} } }',
    );
  });

  test("takes out a runtime that was changed since, and nothing else", async () => {
    const { text, record } = await installed(docker, '{\n  "debug": true\n}');
    const changed = text.replace('/cloche" }', '/cloche", "runtimeArgs": ["--debug"] }, "z": {"path": "/z"}');
    expect(JSON.parse((await uninstalled(docker, changed, record)) ?? "")).toEqual({
      debug: true,
      runtimes: { z: { path: "/z" } },
    });
  });

  test("follows an executable that moved", async () => {
    const first = await installed(docker, "{}");
    const second = await installed(docker, first.text, { name: "cloche", path: "/opt/cloche" }, first.record);
    expect(second.text).toBe(first.text.replace("/usr/local/bin", "/opt"));
    expect(await uninstalled(docker, second.text, second.record)).toBe("{}");
  });

  test("says that it is there already, and that it is not", async () => {
    const { text, record } = await installed(docker, "{}");
    const files = filesOf({ "/etc/docker/daemon.json": text });
    expect(await planInstall(docker, ENTRY, record, files)).toEqual({
      reason: "/etc/docker/daemon.json has runtime cloche already",
    });
    expect(await planInstall(docker, ENTRY, undefined, files)).toHaveProperty("reason");
    expect(await planUninstall(docker, ENTRY, undefined, filesOf({}))).toEqual({
      reason: "/etc/docker/daemon.json has no runtime cloche",
    });
  });

  test("two names come and go in any order", async () => {
    const other = { name: "cloche-debug", path: "/opt/cloche" };
    const before = '{ "debug": true }';
    for (const isFirstFirst of [true, false]) {
      const one = await installed(docker, before);
      const two = await installed(docker, one.text, other);
      const rest = isFirstFirst
        ? await uninstalled(docker, (await uninstalled(docker, two.text, one.record)) ?? "", two.record, other)
        : await uninstalled(docker, (await uninstalled(docker, two.text, two.record, other)) ?? "", one.record);
      if (isFirstFirst) expect(JSON.parse(rest ?? "")).toEqual({ debug: true, runtimes: {} });
      else expect(rest).toBe(before);
    }
  });

  const refused: [string, string, string][] = [
    ["malformed", '{ "debug": tru }', "line 1, column 12"],
    ["a comment, which docker refuses", "{} // no", "line 1, column 4"],
    ["a name twice", '{ "a": 1, "a": 2 }', '"a"'],
    ["no object", "[]", "must be an object"],
    ["runtimes that are no object", '{ "runtimes": [] }', "runtimes: must be an object"],
    ["another runtime of that name", '{ "runtimes": { "cloche": { "path": "/x" } } }', "--name"],
  ];
  for (const [name, text, message] of refused) {
    test(`refuses ${name}`, () => {
      expect(installed(docker, text)).rejects.toThrow(message);
      expect(installed(docker, text)).rejects.toThrow('cannot change "/etc/docker/daemon.json": ');
    });
  }

  test("refuses docker's own name", () => {
    expect(installed(docker, "{}", { name: "runc", path: "/x" })).rejects.toThrow("--name");
  });

  test("does not take the default runtime away", async () => {
    const { text, record } = await installed(docker, "{}");
    const changed = text.replace("{", '{ "default-runtime": "cloche",');
    expect(uninstalled(docker, changed, record)).rejects.toThrow("choose another default first");
  });

  test("without a record takes out what has our path, and leaves others' alone", async () => {
    const text = '{ "runtimes": { "cloche": { "path": "/usr/local/bin/cloche" }, "b": {} } }';
    expect(await uninstalled(docker, text, undefined)).toBe('{ "runtimes": { "b": {} } }');
    const files = filesOf({ "/etc/docker/daemon.json": text.replace("local", "opt") });
    expect(await planUninstall(docker, ENTRY, undefined, files)).toHaveProperty("reason");
  });
});

describe("config.toml", () => {
  const DEBIAN = `version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni" # ours
`;

  test("a stanza at the end, with runc, which would be forgotten otherwise; undone", async () => {
    const { text, record } = await installed(containerd, DEBIAN);
    expect(text.startsWith(DEBIAN)).toBe(true);
    expect(text).toContain(`[${CRI}.runtimes.cloche.options]\n  BinaryName = "/usr/local/bin/cloche"\n`);
    expect(text).toContain(`[${CRI}.runtimes.runc]\n`);
    expect(await uninstalled(containerd, text, record)).toBe(DEBIAN);
  });

  test("where runtimes are named, only ours is added; its cgroups are made as runc's", async () => {
    const runc = `[${CRI}.runtimes.runc.options]\nSystemdCgroup = true\n`;
    const { text } = await installed(containerd, DEBIAN + runc);
    expect(text.match(/runtimes\.runc/g)).toHaveLength(1);
    expect(text).toEndWith('  BinaryName = "/usr/local/bin/cloche"\n  SystemdCgroup = true\n');
  });

  test("a new file, and the other versions", async () => {
    const { text, record } = await installed(containerd, undefined);
    expect(text).toStartWith(`version = 2\n\n[${CRI}.runtimes.cloche]\n`);
    expect(await uninstalled(containerd, text, record)).toBeUndefined();
    expect((await installed(containerd, 'root = "/x"\n')).text).toContain("[plugins.cri.containerd.runtimes.cloche]");
    expect((await installed(containerd, "version = 3")).text).toContain(
      '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.cloche]',
    );
  });

  test("comments alone are an empty file", async () => {
    const { text, record } = await installed(containerd, "# nothing here");
    expect(text).toStartWith("# nothing here\n\nversion = 2\n");
    expect(await uninstalled(containerd, text, record)).toBe("# nothing here");
  });

  test("takes out what was changed since, and keeps what was added", async () => {
    const { text, record } = await installed(containerd, DEBIAN);
    const changed = `${text.replace("BinaryName", "SystemdCgroup = true\n  BinaryName")}[debug]\n  level = "info"\n`;
    const rest = (await uninstalled(containerd, changed, record)) ?? "";
    expect(rest).not.toContain("cloche");
    expect(await containerd.parse(rest)).toMatchObject({ debug: { level: "info" }, version: 2 });
  });

  test("runc stays as long as another runtime is there", async () => {
    const one = await installed(containerd, DEBIAN);
    const two = await installed(containerd, one.text, { name: "other", path: "/x" });
    const rest = (await uninstalled(containerd, two.text, one.record)) ?? "";
    expect(rest).toContain(`[${CRI}.runtimes.runc]`);
    expect(rest).toContain(`[${CRI}.runtimes.other]`);
    expect(rest).not.toContain("runtimes.cloche");
  });

  const refused: [string, string, string][] = [
    ["malformed", "version = ", "line 1"],
    ["runtimes written inline", `version = 2\n${CRI} = { runtimes = {} }\n`, "write them as tables"],
    ["an unknown version", "version = 4", "version: got 4, want 1, 2 or 3"],
  ];
  for (const [name, text, message] of refused) {
    test(`refuses ${name}`, () => {
      expect(installed(containerd, text)).rejects.toThrow(message);
    });
  }

  test("warns of imports that hide the stanza, and of a plugin that is off", async () => {
    const text = `version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\ndisabled_plugins = ["cri"]\n`;
    const files = filesOf({ "/etc/containerd/conf.d/a.toml": `[${CRI}]\n`, "/etc/containerd/conf.d/b.toml": "" });
    const warnings = await containerd.warnings(await containerd.parse(text), "cloche", files);
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toContain("/etc/containerd/conf.d/a.toml");
  });
});

describe("containers.conf.d", () => {
  test("a file of our own, that keeps the lists as they are elsewhere; undone", async () => {
    const files = {
      "/usr/share/containers/containers.conf": '[engine]\nruntime_supports_json = ["crun"]\n',
      "/etc/containers/containers.conf.d/10-kata.conf":
        '[engine]\nruntime_supports_json = ["kata", {append = true}]\n[engine.runtimes]\nkata = ["/k"]\n',
    };
    const change = changeOf(await planInstall(podman, ENTRY, undefined, filesOf(files)));
    expect(change.file).toBe("/etc/containers/containers.conf.d/99-cloche.conf");
    expect(await podman.parse(change.after ?? "")).toEqual({
      engine: {
        runtime_supports_json: ["crun", "kata", "cloche"],
        runtime_supports_nocgroup: ["crun", "krun", "cloche"],
        runtimes: { cloche: ["/usr/local/bin/cloche"] },
      },
    });
    expect(await uninstalled(podman, change.after ?? "", change.record)).toBeUndefined();
  });

  test("keeps what was added to the file since", async () => {
    const { text, record } = await installed(podman, undefined);
    const rest = await uninstalled(podman, `${text}other = ["/x"]\n`, record);
    expect(await podman.parse(rest ?? "")).toMatchObject({ engine: { runtimes: { other: ["/x"] } } });
    expect(rest).not.toContain('"cloche"');
  });

  test("refuses a file of that name that is not ours, and a broken one among the others", async () => {
    expect(installed(podman, "[engine]\n")).rejects.toThrow("--name");
    const broken = filesOf({ "/etc/containers/containers.conf": "[engine" });
    expect(planInstall(podman, ENTRY, undefined, broken)).rejects.toThrow("/etc/containers/containers.conf: line 1");
  });

  test("warns of a file that comes later and has its own list", async () => {
    const files = filesOf({ "/etc/containers/containers.conf.d/zz.conf": "[engine]\nruntime_supports_json = []\n" });
    expect(await podman.warnings({}, "cloche", files)).toHaveLength(1);
  });
});
