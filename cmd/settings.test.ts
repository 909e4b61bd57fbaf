import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_ISOLATION, type IsolationSettings } from "../container/isolation-level.ts";
import { parseFlags } from "./flags.ts";
import { globalFlags, readSettings } from "./settings.ts";

const directory = mkdtempSync(join(tmpdir(), "cloche-settings-"));
afterAll(() => rmSync(directory, { recursive: true }));
let count = 0;

function configFile(text: string): string {
  count += 1;
  const path = join(directory, `${count}.toml`);
  writeFileSync(path, text);
  return path;
}

const emptyFile = configFile("");

/** Settings for root with these flags, environment and configuration file. */
function read(args: string[], env: Record<string, string> = {}, config = emptyFile, uid = 0) {
  const { flags } = parseFlags(globalFlags, ["--config", config, ...args], "leading");
  return readSettings(flags, env, uid);
}

describe("readSettings", () => {
  test("has defaults", async () => {
    expect(await read([])).toEqual({
      root: "/run/cloche",
      systemdCgroup: false,
      isolation: DEFAULT_ISOLATION,
      log: { file: undefined, format: "text", isDebug: false },
    });
  });

  test("puts flags above environment above configuration file, each setting by itself", async () => {
    const config = configFile('root = "/file"\nlog = "/file.log"\ndebug = true\nsystemd-cgroup = true\n');
    const env = { CLOCHE_ROOT: "/env", CLOCHE_LOG: "/env.log", CLOCHE_SYSTEMD_CGROUP: "false" };
    expect(await read(["--root", "/flag", "--debug=false"], env, config)).toEqual({
      root: "/flag",
      systemdCgroup: false,
      isolation: DEFAULT_ISOLATION,
      log: { file: "/env.log", format: "text", isDebug: false },
    });
  });

  test("takes the configuration file from the environment, and from the flag before that", async () => {
    const { flags } = parseFlags(globalFlags, [], "leading");
    const CLOCHE_CONFIG = configFile('root = "/named"');
    expect((await readSettings(flags, { CLOCHE_CONFIG }, 0)).root).toBe("/named");
    expect((await read([], { CLOCHE_CONFIG }, emptyFile)).root).toBe("/run/cloche");
  });

  test("counts an empty variable as unset", async () => {
    const config = configFile('root = "/file"');
    expect((await read([], { CLOCHE_ROOT: "", CLOCHE_DEBUG: "" }, config)).root).toBe("/file");
    expect((await read([], { XDG_RUNTIME_DIR: "" }, emptyFile, 1000)).root).toBe("/run/cloche");
  });

  test("uses XDG_RUNTIME_DIR for other users than root", async () => {
    expect((await read([], { XDG_RUNTIME_DIR: "/run/user/7" }, emptyFile, 7)).root).toBe("/run/user/7/cloche");
    expect((await read([], { XDG_RUNTIME_DIR: "/run/user/0" }, emptyFile, 0)).root).toBe("/run/cloche");
  });

  test("takes the isolation level from everywhere, what the administrator allows from the configuration file only", async () => {
    const config = configFile(
      'isolation = "sandboxed"\nisolation-annotation = true\nbaseline-allow = ["bpf"]\nfile-access = "served"\ngofer-policy = "/p.toml"\ngofer-audit = "/a.jsonl"\nrootfs-overlay = "memory"\nids-user = "x"\n',
    );
    const all = {
      level: "sandboxed",
      allowAnnotation: true,
      isChosen: true,
      fileAccess: "served",
      goferPolicy: "/p.toml",
      goferAudit: "/a.jsonl",
      rootfsOverlay: "memory",
      baselineAllow: ["bpf"],
      idsUser: "x",
    };
    expect((await read([], {}, config)).isolation).toEqual(all as IsolationSettings);
    expect((await read([], { CLOCHE_ISOLATION: "oci" }, config)).isolation.level).toBe("oci");
    expect((await read(["--isolation", "sandboxed"], { CLOCHE_ISOLATION: "oci" })).isolation.level).toBe("sandboxed");
    expect((await read([], { CLOCHE_ISOLATION_ANNOTATION: "true" })).isolation.allowAnnotation).toBe(false);
    expect((await read(["--gofer-policy", "p"], { CLOCHE_GOFER_AUDIT: "/b" }, config)).isolation).toMatchObject({
      goferPolicy: join(process.cwd(), "p"),
      goferAudit: "/b",
    });
    expect((await read(["--gofer-policy", ""], {}, config)).isolation.goferPolicy).toBeUndefined();
    await expect(read([], { CLOCHE_ISOLATION: "none" })).rejects.toThrow('invalid isolation "none"');
    await expect(read(["--rootfs-overlay", "disk"])).rejects.toThrow('invalid rootfs-overlay "disk"');
  });

  test("makes the state root absolute", async () => {
    expect((await read(["--root", "state"])).root).toBe(join(process.cwd(), "state"));
  });

  test("logs to stderr when /dev/stderr is the file", async () => {
    expect((await read(["--log", "/dev/stderr", "--log-format", "json"])).log).toEqual({
      file: undefined,
      format: "json",
      isDebug: false,
    });
  });

  test.each([
    [
      "rot = '/x'",
      "rot: unknown key, known are root, log, log-format, debug, systemd-cgroup, cgroup-manager, isolation, file-access, ",
    ],
    [
      "__proto__ = 1",
      "__proto__: unknown key, known are root, log, log-format, debug, systemd-cgroup, cgroup-manager, isolation, file-access, ",
    ],
    ["root = 1", "root: must be a string"],
    ["debug = 'yes'", "debug: must be a boolean"],
    ["baseline-allow = 'bpf'", "baseline-allow: must be a list of strings"],
    ["baseline-allow = [1]", "baseline-allow: must be a list of strings"],
    ["debug = true\nroot = ", "line 2, column 8"],
    ["debug = true\ndebug = true", "line 2, column 1"],
  ])("refuses the configuration file %p", async (text, reason) => {
    const config = configFile(text);
    const failure = await read([], {}, config).catch((error) => error);
    expect(failure.message).toStartWith(`invalid config file ${JSON.stringify(config)}: ${reason}`);
    expect(failure.message).not.toContain("\n");
  });

  test("refuses a value that a setting cannot have, from wherever it comes", async () => {
    await expect(read([], {}, configFile("log-format = 'xml'"))).rejects.toThrow('invalid log-format "xml"');
    await expect(read([], { CLOCHE_LOG_FORMAT: "xml" })).rejects.toThrow('invalid log-format "xml"');
    await expect(read([], { CLOCHE_DEBUG: "maybe" })).rejects.toThrow(
      'invalid boolean value "maybe" for -CLOCHE_DEBUG',
    );
    await expect(read(["--root", ""])).rejects.toThrow('invalid value "" for root');
  });

  test("refuses a named configuration file that is missing or unreadable", async () => {
    await expect(read([], {}, "/nope/x.toml")).rejects.toThrow(
      'cannot read config file "/nope/x.toml": no such file or directory',
    );
    await expect(read([], {}, directory)).rejects.toThrow(`cannot read config file "${directory}": `);
  });
});
