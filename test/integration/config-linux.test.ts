/** config-linux.md: masked and read-only paths, cgroup mounts, personality, memory policy, resctrl, network devices. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { lines, mapIds, refusal, sh } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itIsOurs = requires("root", "busybox", "cloche");
const itHasV1 = requires("root", "busybox", "cgroup1");

it("linux.maskedPaths: files are empty, directories too; what is not there is no error", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.linux.maskedPaths.push("/secret/file", "/secret/dir", "/not/there", "/link");
      spec.process.args = [
        "sh",
        "-c",
        "wc -c < /secret/file; ls /secret/dir | wc -l; touch /secret/dir/new 2>&1; wc -c < /proc/keys; echo x > /secret/file; wc -c < /target; ls /sys/firmware | wc -l",
      ];
    });
    const rootfs = path.join(bundle, "rootfs");
    mkdirSync(path.join(rootfs, "secret/dir"), { recursive: true });
    writeFileSync(path.join(rootfs, "secret/dir/below"), "hidden");
    writeFileSync(path.join(rootfs, "secret/file"), "hidden");
    writeFileSync(path.join(rootfs, "target"), "hidden");
    symlinkSync("/target", path.join(rootfs, "link"));
    const output = runtime.run(["run", "--bundle", bundle, runtime.id()]).stdout;
    expect(lines(output)).toEqual(["0", "0", "touch: /secret/dir/new: Read-only file system", "0", "0", "0"]);
    expect(readFileSync(path.join(rootfs, "secret/file"), "utf8")).toBe("hidden");
  }));

// runc leaves mounts below writable.
itIsOurs(
  "linux.readonlyPaths: files and directories with all that is mounted below; what is not there is no error",
  () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.mounts.push({ destination: "/kept/below", type: "tmpfs", source: "tmpfs" });
        spec.linux.readonlyPaths.push("/kept", "/etc/group", "/not/there");
        spec.process.args = [
          "sh",
          "-c",
          "touch /kept/f /kept/below/f /etc/group /proc/sys/kernel/hostname 2>&1; touch /etc/other && echo other",
        ];
      });
      mkdirSync(path.join(bundle, "rootfs/kept"));
      const output = runtime.run(["run", "--bundle", bundle, runtime.id()]).stdout;
      expect(output.match(/Read-only file system/g)).toHaveLength(4);
      expect(output).toEndWith("other\n");
    }),
);

it("linux.maskedPaths and readonlyPaths hold for exec, too", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    expect(runtime.ok(["exec", id, "sh", "-c", "wc -c < /proc/keys; touch /proc/sys/kernel/hostname 2>&1; :"])).toBe(
      "0\ntouch: /proc/sys/kernel/hostname: Read-only file system\n",
    );
    runtime.ok(["delete", "--force", id]);
  }));

for (const hasNamespace of [false, true]) {
  const itHolds = hasNamespace ? requires("root", "busybox", "cgroup1", "cloche") : itHasV1;
  itHolds(
    `mounts: type cgroup on v1, ${hasNamespace ? "in" : "without"} a cgroup namespace, shows the container's own cgroup`,
    () =>
      withRuntime((runtime) => {
        const script =
          "cd /sys/fs/cgroup; ls -d memory cpu pids; cat memory/memory.limit_in_bytes; grep -c . pids/cgroup.procs; touch x 2>&1; echo 1 2>/dev/null > memory/memory.limit_in_bytes; cat memory/memory.limit_in_bytes";
        const output = sh(runtime, script, (spec) => {
          if (hasNamespace) spec.linux.namespaces.push({ type: "cgroup" });
          spec.mounts.push({
            destination: "/sys/fs/cgroup",
            type: "cgroup",
            source: "cgroup",
            options: ["ro", "nosuid", "nodev", "noexec"],
          });
          spec.linux.resources.memory = { limit: 67_108_864n };
        });
        const [cpu, memory, pids, limit, processes, touched, after] = lines(output);
        expect([cpu, memory, pids]).toEqual(["cpu", "memory", "pids"]);
        expect([limit, after]).toEqual(["67108864", "67108864"]);
        expect(Number(processes)).toBeGreaterThan(0);
        expect(touched).toMatch(/Read-only file system|Permission denied/);
      }),
  );
}

itIsOurs("linux.personality: LINUX32", () =>
  withRuntime((runtime) => {
    const read = (domain: string) =>
      sh(runtime, "uname -m", (spec) => {
        spec.linux.personality = { domain };
      });
    expect(read("LINUX")).toBe(`${process.arch === "x64" ? "x86_64" : "aarch64"}\n`);
    expect(read("LINUX32")).toBe(`${process.arch === "x64" ? "i686" : "armv8l"}\n`);
  }),
);

itIsOurs("linux.memoryPolicy: is that of the program's memory", () =>
  withRuntime((runtime) => {
    const read = (mode: string, nodes?: string, flags?: string[]) =>
      sh(runtime, "cut -d' ' -f2 /proc/self/numa_maps | sort | uniq -c | sort -rn | head -n 1", (spec) => {
        spec.linux.memoryPolicy = {
          mode,
          ...(nodes !== undefined && { nodes }),
          ...(flags !== undefined && { flags }),
        };
      })
        .trim()
        .split(" ")
        .at(-1);
    expect(read("MPOL_BIND", "0")).toBe("bind:0");
    expect(read("MPOL_INTERLEAVE", "0", ["MPOL_F_STATIC_NODES"])).toBe("interleave=static:0");
    expect(read("MPOL_PREFERRED", "0")).toMatch(/^prefer(\(many\))?:0$/);
    expect(read("MPOL_LOCAL")).toBe("local");
    expect(read("MPOL_DEFAULT")).toBe("default");
    expect(
      refusal(runtime, (spec) => {
        spec.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "63" };
      }),
    ).toContain("linux.memoryPolicy: invalid argument");
  }),
);

if (!existsSync("/sys/fs/resctrl/schemata")) {
  itIsOurs("linux.intelRdt: is an error where resctrl is not mounted", () =>
    withRuntime((runtime) => {
      const reason = refusal(runtime, (spec) => {
        spec.linux.intelRdt = { closID: "group" };
      });
      expect(reason).toContain("linux.intelRdt: no resctrl file system is mounted");
    }),
  );
}

/** Runs ip(8) on the host. */
function ip(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** A pair of devices on the host; what is left of it goes with the test. */
async function withPair(runtime: Runtime, body: (one: string, other: string) => unknown): Promise<void> {
  const one = `${runtime.word.slice(0, 9)}a`;
  const other = `${runtime.word.slice(0, 9)}b`;
  ip("link", "add", one, "type", "veth", "peer", "name", other);
  try {
    await body(one, other);
  } finally {
    spawnSync("ip", ["link", "del", other]);
  }
}

itIsOurs("linux.netDevices: move with their addresses, come up, and get their new name", () =>
  withRuntime((runtime) =>
    withPair(runtime, (one, other) => {
      ip("address", "add", "192.0.2.5/24", "dev", one, "label", `${one}:x`);
      ip("address", "add", "2001:db8::5/64", "dev", one, "nodad");
      ip("link", "set", one, "mtu", "1400", "address", "02:00:5e:00:53:01");
      const id = runtime.create((spec) => {
        spec.linux.netDevices = { [one]: { name: "eth7" } };
        spec.process.args = ["sleep", "60"];
      });
      runtime.ok(["start", id]);
      expect(spawnSync("ip", ["link", "show", one]).status).not.toBe(0);
      const link = runtime.ok(["exec", id, "ip", "link", "show", "eth7"]);
      expect(link).toMatch(/eth7@?\w*: <[^>]*\bUP\b/);
      expect(link).toContain("mtu 1400");
      expect(link).toContain("02:00:5e:00:53:01");
      const addresses = runtime.ok(["exec", id, "ip", "-o", "address", "show", "eth7"]);
      expect(addresses).toContain("192.0.2.5/24");
      expect(addresses).toContain("2001:db8::5/64");
      ip("link", "show", other);
      runtime.ok(["delete", "--force", id]);
    }),
  ),
);

itIsOurs("linux.netDevices: without a new name, and with a template for one", () =>
  withRuntime((runtime) =>
    withPair(runtime, (one, other) => {
      const output = sh(runtime, "ls /sys/class/net", (spec) => {
        spec.linux.netDevices = { [one]: {}, [other]: { name: "net%d" } };
      });
      expect(lines(output).filter((name) => !/^(tunl|sit|gre|erspan|ip6?_?vti|ip6)/.test(name))).toEqual(
        ["lo", "net0", one].toSorted(),
      );
    }),
  ),
);

itIsOurs("linux.netDevices: into a user namespace, and into a network namespace given by path", () =>
  withRuntime((runtime) =>
    withPair(runtime, (one, other) => {
      const pod = runtime.create((spec) => {
        mapIds(spec);
        spec.linux.netDevices = { [one]: { name: "first" } };
      });
      const { pid } = runtime.state(pod);
      const member = runtime.create((spec) => {
        mapIds(spec);
        spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "network" && type !== "user");
        spec.linux.namespaces.push({ type: "network", path: `/proc/${pid}/ns/net` });
        spec.linux.namespaces.push({ type: "user", path: `/proc/${pid}/ns/user` });
        spec.linux.netDevices = { [other]: { name: "second" } };
      });
      const names = runtime.ok(["exec", member, "ls", "/sys/class/net"]).split("\n");
      expect(names).toEqual(expect.arrayContaining(["first", "second"]));
      for (const id of [member, pod]) runtime.ok(["delete", "--force", id]);
    }),
  ),
);

itIsOurs(
  "linux.netDevices: one that is not there, or whose name is taken, is an error, and all are back on the host",
  () =>
    withRuntime((runtime) =>
      withPair(runtime, (one, other) => {
        ip("address", "add", "192.0.2.6/24", "dev", one);
        ip("link", "set", one, "up");
        const taken = refusal(runtime, (spec) => {
          spec.linux.netDevices = { [one]: { name: "first" }, [other]: { name: "lo" } };
        });
        expect(taken).toContain(`linux.netDevices["${other}"].name: the container has a network device "lo" already`);
        const missing = refusal(runtime, (spec) => {
          spec.linux.netDevices = { [one]: { name: "first" }, "no-such-device": {} };
        });
        expect(missing).toContain('linux.netDevices["no-such-device"]: there is no network device of that name');
        const later = refusal(runtime, (spec) => {
          spec.linux.netDevices = { [one]: { name: "first" } };
          spec.process.args = ["no-such-program"];
        });
        expect(later).toContain("no-such-program");
        expect(ip("-o", "address", "show", one)).toContain("192.0.2.6/24");
        expect(ip("link", "show", one)).toMatch(/<[^>]*\bUP\b/);
      }),
    ),
);

itIsOurs("linux.personality and memoryPolicy hold for exec, too", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.linux.personality = { domain: "LINUX32" };
      spec.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "0" };
    });
    const output = runtime.ok(["exec", id, "sh", "-c", "uname -m; grep -c ' bind:0 ' /proc/self/numa_maps"]);
    const [machine, regions] = lines(output);
    expect(machine).toBe(process.arch === "x64" ? "i686" : "armv8l");
    expect(Number(regions)).toBeGreaterThan(0);
    runtime.ok(["delete", "--force", id]);
  }),
);
