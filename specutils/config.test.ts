import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkConfig, parseConfig, readConfig, readResources } from "./config.ts";
import { SpecError, UnsupportedError } from "./errors.ts";
import { type Json, parseJson } from "./json.ts";
import { readProcess } from "./process-file.ts";

const FULL_CONFIG = readFileSync(join(import.meta.dir, "testdata/full-config.json"), "utf8");

/** The full config with one field (`a.0.b`) set to a value written in JSON, or removed. */
function changed(path: string, value: string | undefined): string {
  const config = parseJson(FULL_CONFIG);
  const steps = path.split(".");
  const last = steps.pop() ?? "";
  let holder = config as Record<string, Json>;
  for (const step of steps) holder = holder[step] as Record<string, Json>;
  if (value === undefined) delete holder[last];
  else holder[last] = "\u0001";
  return stringify(config).replace('"\\u0001"', () => value ?? "");
}

/** JSON.stringify, for values with bigints. */
function stringify(value: Json): string {
  const text = JSON.stringify(value, (_, member) => (typeof member === "bigint" ? `\u0001${member}` : member));
  return text.replaceAll(/"\\u0001(-?\d+)"/g, "$1");
}

function problemOf(text: string): string {
  try {
    checkConfig(parseConfig(text));
  } catch (error) {
    if (error instanceof SpecError || error instanceof UnsupportedError) return error.message;
    throw error;
  }
  return "accepted";
}

test("a config with every field of the spec is read, with 64-bit integers exact", () => {
  const spec = parseConfig(FULL_CONFIG);
  expect(checkConfig(spec)).toEqual([]);
  expect(spec.process?.rlimits?.[1]?.hard).toBe(18446744073709551615n);
  expect(spec.linux?.timeOffsets?.["boottime"]?.secs).toBe(9223372036854775807n);
  expect(spec.linux?.resources?.memory?.swap).toBe(-1n);
  expect(spec.process?.user).toEqual({ uid: 1000, gid: 1000, umask: 18, additionalGids: [5, 6] });
});

test("changed() itself changes nothing else", () => {
  expect(parseConfig(changed("hostname", '"box"'))).toEqual(parseConfig(FULL_CONFIG));
});

describe("ociVersion", () => {
  test.each(["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0", "1.3.7", "1.1.0-rc.2", "1.0.0-rc5"])(
    "%s is accepted",
    (version) => {
      expect(problemOf(changed("ociVersion", JSON.stringify(version)))).toBe("accepted");
    },
  );

  test.each(["9.9.9", "0.5.0-dev", "1.4.0", "2.0.0", "1.10.0"])("%s is refused", (version) => {
    expect(problemOf(changed("ociVersion", JSON.stringify(version)))).toBe(
      `invalid config.json: ociVersion: got "${version}", want 1.0.0 to 1.3.0`,
    );
  });

  test.each(["", "1", "1.0", "v1.0.0", "1.0.0 ", "01.0.0"])("%j is no version", (version) => {
    expect(problemOf(changed("ociVersion", JSON.stringify(version)))).toContain("want a version such as 1.3.0");
  });
});

describe("a wrong field is refused by name", () => {
  test.each([
    ["root", undefined, "root: is required (config.md#root)"],
    ["root.path", '""', "root.path: must not be empty"],
    ["root.path", '"a\\u0000b"', "root.path: must not contain a NUL byte"],
    ["process.cwd", '"root"', 'process.cwd: got "root", want an absolute path (config.md#process)'],
    ["process.cwd", undefined, "process.cwd: is required (config.md#process)"],
    ["process.args", undefined, "process.args: must have at least one entry (config.md#process)"],
    ["process.args", "[]", "process.args: must have at least one entry (config.md#process)"],
    ["process.args.1", '"a\\u0000b"', "process.args[1]: must not contain a NUL byte"],
    ["process.env.0", '"PATH"', 'process.env[0]: got "PATH", want NAME=value (config.md#process)'],
    ["process.env.0", '"=x"', 'process.env[0]: got "=x", want NAME=value (config.md#process)'],
    ["process.user.uid", "-1", "process.user.uid: got -1, want an integer from 0 to 4294967294"],
    ["process.user.uid", "4294967295", "process.user.uid: got 4294967295, want an integer from 0 to 4294967294"],
    ["process.user.gid", undefined, "process.user.gid: is required (config.md#posix-platform-user)"],
    ["process.user.umask", "512", "process.user.umask: got 512, want an integer from 0 to 511"],
    ["process.consoleSize.width", "65536", "process.consoleSize: got 25 by 65536, want at most 65535"],
    ["process.rlimits.0.type", '"NOFILE"', 'process.rlimits[0].type: got "NOFILE", want one of RLIMIT_CPU'],
    ["process.rlimits.0.type", '"RLIMIT_CORE"', "process.rlimits[1].type: RLIMIT_CORE appears twice"],
    ["process.rlimits.0.soft", "4097", "process.rlimits[0].soft: got 4097, want at most the hard limit 4096"],
    ["process.rlimits.0.hard", "18446744073709551616", "process.rlimits[0].hard: got 18446744073709551616, want"],
    ["process.oomScoreAdj", "1001", "process.oomScoreAdj: got 1001, want an integer from -1000 to 1000"],
    ["process.scheduler.policy", '"SCHED_ISO"', "process.scheduler.policy: SCHED_ISO is not implemented by Linux"],
    ["process.scheduler.policy", '"FIFO"', 'process.scheduler.policy: got "FIFO", want one of SCHED_OTHER'],
    ["process.scheduler.policy", '"SCHED_RR"', "process.scheduler.priority: got 0, want 1 to 99 for SCHED_RR"],
    ["process.scheduler.policy", '"SCHED_OTHER"', "process.scheduler.runtime: is not possible with SCHED_OTHER"],
    ["process.scheduler.priority", "5", "process.scheduler.priority: is not possible with SCHED_DEADLINE"],
    ["process.scheduler", '{"policy":"SCHED_BATCH","nice":20}', "process.scheduler.nice: got 20, want -20 to 19"],
    ["process.scheduler.flags.0", '"X"', 'process.scheduler.flags[0]: got "X", want one of SCHED_FLAG_RESET_ON_FORK'],
    ["process.ioPriority.class", '"BE"', 'process.ioPriority.class: got "BE", want one of IOPRIO_CLASS_RT'],
    ["process.ioPriority.priority", "8", "process.ioPriority.priority: got 8, want an integer from 0 to 7"],
    ["process.execCPUAffinity.initial", '"3-1"', 'process.execCPUAffinity.initial: got "3-1", want a list of CPUs'],
    ["hostname", JSON.stringify("x".repeat(65)), "hostname: got 65 bytes, want at most 64 (config.md#hostname)"],
    ["domainname", JSON.stringify("é".repeat(33)), "domainname: got 66 bytes, want at most 64 (config.md#domainname)"],
    ["mounts.0.destination", undefined, "mounts[0].destination: is required (config.md#mounts)"],
    ["mounts.0.type", undefined, "mounts[0].type: is required unless the mount is a bind mount"],
    ["mounts.2.source", undefined, "mounts[2].source: is required for a bind mount (config.md#mounts)"],
    ["mounts.2.gidMappings", undefined, "mounts[2]: must have both uidMappings and gidMappings, or neither"],
    ["mounts.2.uidMappings.0.size", "0", "mounts[2].uidMappings[0].size: got 0, want an integer from 1 to 4294967295"],
    ["hooks.prestart.0.path", '"hook"', 'hooks.prestart[0].path: got "hook", want an absolute path'],
    ["hooks.poststop.0.path", undefined, "hooks.poststop[0].path: is required (config.md#posix-platform-hooks)"],
    ["hooks.prestart.0.timeout", "0", "hooks.prestart[0].timeout: got 0, want an integer from 1 to 2147483647"],
    ["annotations", '{"":"x"}', 'annotations[""]: must not be empty'],
    ["annotations", '{"a.b":1}', 'annotations["a.b"]: got 1, want a string'],
    ["linux.namespaces.0.type", '"net"', 'linux.namespaces[0].type: got "net", want one of cgroup, ipc, mount'],
    ["linux.namespaces.0.type", '"mount"', 'linux.namespaces[2].type: "mount" appears twice'],
    [
      "linux.namespaces.0.path",
      '"proc/1/ns/pid"',
      'linux.namespaces[0].path: got "proc/1/ns/pid", want an absolute path',
    ],
    ["linux.namespaces.4", '{"type":"uts"},{"type":"x"}', 'linux.namespaces[5].type: got "x", want one of'],
    ["linux.namespaces", '[{"type":"mount"}]', 'hostname: needs a namespace of type "uts"'],
    ["linux.uidMappings", undefined, "linux.uidMappings: is required for a new user namespace"],
    ["linux.gidMappings", "[]", "linux.gidMappings: is required for a new user namespace"],
    ["linux.uidMappings.0.size", "4294967295", "linux.uidMappings[0].size: reaches beyond the last hostID, 4294967294"],
    ["linux.uidMappings.0.containerID", "4294967295", "linux.uidMappings[0].containerID: got 4294967295, want"],
    [
      "linux.timeOffsets",
      '{"realtime":{"secs":1}}',
      'linux.timeOffsets.realtime: got "realtime", want one of boottime',
    ],
    ["linux.timeOffsets.monotonic.nanosecs", "1000000000", "linux.timeOffsets.monotonic.nanosecs: got 1000000000"],
    ["linux.namespaces.7.path", '"/proc/1/ns/time"', "linux.timeOffsets: is not possible for a time namespace that is"],
    ["linux.sysctl", '{"vm.swappiness":"1"}', 'linux.sysctl["vm.swappiness"]: is not kept per namespace'],
    ["linux.devices.0.type", '"a"', 'linux.devices[0].type: got "a", want one of c, b, u, p'],
    ["linux.devices.0.path", '"fuse"', 'linux.devices[0].path: got "fuse", want an absolute path'],
    ["linux.devices.0.minor", undefined, 'linux.devices[0].minor: is required for type "c"'],
    ["linux.devices.0.major", "4096", "linux.devices[0].major: got 4096, want an integer from 0 to 4095"],
    ["linux.resources.devices.0.allow", undefined, "linux.resources.devices[0].allow: is required"],
    ["linux.resources.devices.0.access", '"rx"', 'linux.resources.devices[0].access: got "rx", want a composition'],
    ["linux.resources.devices.0.major", "-2", "linux.resources.devices[0].major: got -2, want an integer from -1"],
    ["linux.resources.memory.limit", "-2", "linux.resources.memory.limit: got -2, want an integer from -1"],
    ["linux.resources.memory.swappiness", "101", "linux.resources.memory.swappiness: got 101, want 0 to 100"],
    ["linux.resources.cpu.burst", "100001", "linux.resources.cpu.burst: got 100001, want at most the quota 100000"],
    ["linux.resources.cpu.idle", "2", "linux.resources.cpu.idle: got 2, want an integer from 0 to 1"],
    ["linux.resources.blockIO.weightDevice.0.weight", undefined, "blockIO.weightDevice[0]: must have a weight or a"],
    ["linux.resources.hugepageLimits.0.pageSize", '"64kB"', 'hugepageLimits[0].pageSize: got "64kB", want a size'],
    ["linux.resources.rdma.mlx5_1", "{}", "linux.resources.rdma.mlx5_1: must have hcaHandles or hcaObjects"],
    ["linux.resources.unified", '{"../x":"1"}', 'linux.resources.unified["../x"]: got "../x", want the name of a file'],
    ["linux.resources.unified", '{"..":"1"}', 'linux.resources.unified[".."]: got "..", want the name of a file'],
    ["linux.netDevices", '{"a/b":{}}', 'linux.netDevices["a/b"]: got "a/b", want the name of a network interface'],
    ["linux.netDevices", '{"eth0":{"name":"sixteen-letters-"}}', "linux.netDevices.eth0.name: got"],
    ["linux.seccomp.defaultAction", '"ALLOW"', 'linux.seccomp.defaultAction: got "ALLOW", want one of SCMP_ACT_ALLOW'],
    [
      "linux.seccomp.defaultAction",
      '"SCMP_ACT_KILL"',
      "linux.seccomp.defaultErrnoRet: is not possible with SCMP_ACT_KILL",
    ],
    ["linux.seccomp.architectures.0", '"x86"', 'linux.seccomp.architectures[0]: got "x86", want one of'],
    ["linux.seccomp.flags.0", '"LOG"', 'linux.seccomp.flags[0]: got "LOG", want one of SECCOMP_FILTER_FLAG_LOG'],
    ["linux.seccomp.listenerPath", undefined, "linux.seccomp.listenerPath: is required for SCMP_ACT_NOTIFY"],
    ["linux.seccomp.syscalls.0.names", "[]", "linux.seccomp.syscalls[0].names: must have at least one entry"],
    [
      "linux.seccomp.syscalls.0.errnoRet",
      "1",
      "linux.seccomp.syscalls[0].errnoRet: is not possible with SCMP_ACT_ALLOW",
    ],
    ["linux.seccomp.syscalls.2.args.0.index", "6", "syscalls[2].args[0].index: got 6, want an integer from 0 to 5"],
    ["linux.seccomp.syscalls.2.args.0.op", '"=="', 'syscalls[2].args[0].op: got "==", want one of SCMP_CMP_EQ'],
    ["linux.seccomp.syscalls", "[]", "accepted"],
    ["linux.rootfsPropagation", '"shard"', 'linux.rootfsPropagation: got "shard", want one of private'],
    ["linux.maskedPaths.0", '"proc"', 'linux.maskedPaths[0]: got "proc", want an absolute path'],
    ["linux.readonlyPaths.0", '""', 'linux.readonlyPaths[0]: got "", want an absolute path'],
    ["linux.intelRdt.closID", '"a/b"', 'linux.intelRdt.closID: got "a/b", want the name of a directory, or "/"'],
    ["linux.intelRdt.closID", '".."', 'linux.intelRdt.closID: got "..", want the name of a directory, or "/"'],
    ["linux.intelRdt.memBwSchema", '"L3:0"', 'linux.intelRdt.memBwSchema: got "L3:0", want a single line that begins'],
    ["linux.intelRdt.schemata.0", '"a\\nb"', 'linux.intelRdt.schemata[0]: got "a\\nb", want a single line'],
    ["linux.memoryPolicy.mode", '"MPOL_X"', 'linux.memoryPolicy.mode: got "MPOL_X", want one of MPOL_DEFAULT'],
    ["linux.memoryPolicy.mode", '"MPOL_LOCAL"', "linux.memoryPolicy.nodes: must be empty for MPOL_LOCAL"],
    ["linux.memoryPolicy.nodes", '""', "linux.memoryPolicy.nodes: is required for MPOL_INTERLEAVE"],
    ["linux.memoryPolicy.flags.1", '"MPOL_F_RELATIVE_NODES"', "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and"],
    ["linux.personality.domain", '"BSD"', 'linux.personality.domain: got "BSD", want one of LINUX, LINUX32'],
    ["linux.personality.flags", '["X"]', 'linux.personality.flags[0]: got "X", but there are no flags'],
  ])("%s = %s", (path, value, message) => {
    expect(problemOf(changed(path, value))).toContain(message);
  });
});

describe("the neighbour of a wrong field is accepted", () => {
  test.each([
    ["process", undefined],
    ["process.user", undefined],
    ["process.user.uid", "4294967294"],
    ["process.consoleSize.width", "65535"],
    ["process.capabilities.bounding", "null"],
    ["hostname", '""'],
    ["hostname", JSON.stringify("x".repeat(64))],
    ["mounts.2.options.3", '"rprivate"'],
    ["mounts.2.type", '"bind"'],
    ["linux.namespaces.5.path", '"/proc/1/ns/user"'],
    ["linux.namespaces.1.path", '""'],
    ["linux.uidMappings.0.hostID", "4294901759"],
    ["linux.intelRdt.closID", '"/"'],
    ["linux.resources.devices.1.major", "-1"],
    ["linux.seccomp.listenerMetadata", undefined],
    ["linux.somethingNew", '{"a":[1.5]}'],
  ])("%s = %s", (path, value) => {
    expect(problemOf(changed(path, value))).toBe("accepted");
  });
});

describe("namespaces and what needs them", () => {
  const without = (type: string): string =>
    changed(
      "linux.namespaces",
      JSON.stringify(JSON.parse(FULL_CONFIG).linux.namespaces.filter((entry: { type: string }) => entry.type !== type)),
    );
  test.each([
    ["uts", 'hostname: needs a namespace of type "uts" (config-linux.md#namespaces)'],
    ["user", 'linux.uidMappings: needs a namespace of type "user" (config-linux.md#user-namespace-mappings)'],
    ["time", 'linux.timeOffsets: needs a namespace of type "time" (config-linux.md#namespaces)'],
    ["mount", 'linux.maskedPaths: needs a namespace of type "mount" (config-linux.md#namespaces)'],
    ["ipc", 'linux.sysctl["kernel.shmmax"]: needs a namespace of type "ipc", or it would change the host'],
    ["network", 'linux.sysctl["net.ipv4.ip_forward"]: needs a namespace of type "network"'],
    ["pid", "accepted"],
  ])("without %s", (type, message) => {
    expect(problemOf(without(type))).toContain(message);
  });

  test("idmap without mappings needs a user namespace", () => {
    const mounts = '[{"destination":"/a","source":"/a","options":["bind","idmap"]}]';
    expect(problemOf(changed("mounts", mounts))).toBe("accepted");
    expect(problemOf(`{"ociVersion":"1.0.0","root":{"path":"r"},"mounts":${mounts}}`)).toContain(
      'mounts[0].options: "idmap" needs uidMappings and gidMappings, or a user namespace',
    );
  });

  test("overlapping mappings are refused, adjacent ones are not", () => {
    const mappings = (secondHost: number) =>
      `[{"containerID":5,"hostID":100,"size":10},{"containerID":0,"hostID":${secondHost},"size":5}]`;
    expect(problemOf(changed("linux.uidMappings", mappings(110)))).toBe("accepted");
    expect(problemOf(changed("linux.uidMappings", mappings(95)))).toBe("accepted");
    expect(problemOf(changed("linux.uidMappings", mappings(109)))).toContain(
      "linux.uidMappings[1].hostID: overlaps another entry",
    );
  });
});

describe("what cloche does not do", () => {
  test.each([["vm", '{"kernel":{"path":"/x"}}', "vm is not supported: "]])(
    "%s is refused by name",
    (path, value, message) => {
      expect(problemOf(changed(path, value))).toStartWith(message);
    },
  );

  test("sections of other platforms are ignored with a warning", () => {
    expect(checkConfig(parseConfig(changed("zos", "{}")))).toEqual(["zos: is for another platform and ignored"]);
  });

  test("fields of other platforms are ignored with a warning", () => {
    expect(checkConfig(parseConfig(changed("process.commandLine", '"cmd /c"')))).toEqual([
      "process.commandLine: is for another platform and ignored",
    ]);
    expect(checkConfig(parseConfig(changed("process.user.username", '"Administrator"')))).toEqual([
      "process.user.username: is for another platform and ignored",
    ]);
  });

  test("unknown capabilities and relative destinations are warned about", () => {
    expect(checkConfig(parseConfig(changed("process.capabilities.bounding.0", '"CAP_FLY"')))).toEqual([
      'process.capabilities: ignoring unknown capability "CAP_FLY"',
    ]);
    expect(checkConfig(parseConfig(changed("mounts.0.destination", '"proc"')))).toEqual([
      'mounts[0].destination: relative path "proc" is taken from "/" (config.md#mounts)',
    ]);
  });
});

describe("reading files", () => {
  function withFile<T>(name: string, content: string | Uint8Array, use: (directory: string) => T): T {
    const directory = mkdtempSync(join(tmpdir(), "cloche-config-"));
    try {
      writeFileSync(join(directory, name), content);
      return use(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  test("readConfig reads a bundle", () => {
    withFile("config.json", FULL_CONFIG, (bundle) => {
      const config = readConfig(bundle);
      expect(config.configPath).toBe(join(bundle, "config.json"));
      expect(config.warnings).toEqual([]);
      expect(config.spec.hostname).toBe("box");
    });
  });

  test("readConfig says where a config is not JSON", () => {
    withFile("config.json", '{"ociVersion":"1.0.0"', (bundle) => {
      expect(() => readConfig(bundle)).toThrow(
        'invalid config.json: line 1, column 22: unexpected end of file, want "," or "}"',
      );
    });
  });

  test("readConfig refuses what is not UTF-8", () => {
    withFile("config.json", Uint8Array.of(0x22, 0xff, 0x22), (bundle) => {
      expect(() => readConfig(bundle)).toThrow("invalid config.json: is not UTF-8");
    });
  });

  test("readConfig refuses a missing file and a directory", () => {
    expect(() => readConfig("/nonexistent")).toThrow(
      'cannot read config.json "/nonexistent/config.json": no such file or directory',
    );
    withFile("x", "", (bundle) => {
      mkdirSync(join(bundle, "config.json"));
      expect(() => readConfig(bundle)).toThrow("not a regular file");
    });
  });

  test("readProcess names the fields of a process file without a prefix", () => {
    withFile("process", '{"cwd":"/","args":["sh"],"rlimits":[]}', (directory) => {
      expect(readProcess(join(directory, "process"))).toEqual({
        args: ["sh"],
        cwd: "/",
        rlimits: [],
        user: { uid: 0, gid: 0 },
      });
    });
    withFile("process", '{"cwd":"/"}', (directory) => {
      expect(() => readProcess(join(directory, "process"))).toThrow(
        "invalid process file: args: must have at least one entry (config.md#process)",
      );
    });
  });
});

describe("readResources", () => {
  test("reads what docker sends, zeros for what is not set", () => {
    const text =
      '{"memory":{"limit":67108864,"swap":67108864,"kernel":0},"cpu":{"shares":0,"cpus":""},"blockIO":{"weight":0}}';
    expect(readResources(text)).toEqual({
      memory: { limit: 67108864n, swap: 67108864n, kernel: 0n },
      cpu: { shares: 0n },
      blockIO: { weight: 0 },
    });
  });

  test.each([
    ["", "invalid resources: line 1, column 1: unexpected end of file"],
    ['{"memory":{"limit":"1"}}', 'invalid resources: memory.limit: got "1", want an integer from -1'],
    ['{"memory":{"swappiness":101}}', "invalid resources: memory.swappiness: got 101, want 0 to 100"],
    ["null", "invalid resources: got null, want an object"],
  ])("refuses %s", (text, message) => {
    expect(() => readResources(text)).toThrow(message);
  });
});
