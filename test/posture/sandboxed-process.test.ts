/** Isolation level `sandboxed`, seen from outside: whose the processes and files are, and what is in reach. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { probeCgroupHost } from "../../sandbox/cgroups/probe.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { claimsOf } from "../helpers/claims.ts";
import { installFixture } from "../helpers/fixture-program.ts";
import { programName, viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { killAfter, type Result, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox", "cloche");

const itBuilds = requires("root", "busybox", "cloche", "gcc");

const SANDBOXED = { env: { CLOCHE_ISOLATION: "sandboxed" } };
const SIZE = 65536;
/** geteuid(2) */
const GETEUID = process.arch === "x64" ? "107" : "175";

function run(runtime: Runtime, change: (spec: BundleSpec) => void): Result {
  return runtime.run(["run", "--bundle", runtime.bundle(change), runtime.id()], SANDBOXED);
}

/** What a shell prints in a sandbox. */
function sh(runtime: Runtime, script: string, change: (spec: BundleSpec) => void = () => {}): string {
  const { stdout, stderr, exitCode } = run(runtime, (spec) => {
    spec.process.args = ["sh", "-c", script];
    change(spec);
  });
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${stdout}${stderr}`);
  return stdout;
}

async function sleeper(
  runtime: Runtime,
  change: (spec: BundleSpec) => void = () => {},
): Promise<{ id: string; pid: number }> {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "60"];
    change(spec);
  }, SANDBOXED);
  runtime.ok(["start", id]);
  const { pid } = runtime.state(id);
  await waitFor("the program runs", () => programName(pid) === "sleep");
  return { id, pid };
}

/** The first host ids of a process's user namespace. */
function mapOf(pid: number): { uid: number; gid: number; size: number } {
  const read = (name: string) => readFileSync(`/proc/${pid}/${name}`, "utf8").trim().split(/\s+/).map(Number);
  const [uids, gids] = [read("uid_map"), read("gid_map")];
  expect([uids[0], gids[0], uids.length, gids.length, uids[2]]).toEqual([0, 0, 3, 3, gids[2] as number]);
  return { uid: uids[1] ?? 0, gid: gids[1] ?? 0, size: uids[2] ?? 0 };
}

it("sandboxed: root of the container is nobody on the host, in a user namespace of 65536 ids of its own", () =>
  withRuntime(async (runtime) => {
    const { pid } = await sleeper(runtime);
    const { uid, gid, size } = mapOf(pid);
    expect(size).toBe(SIZE);
    expect(uid).toBeGreaterThan(SIZE);
    const view = viewProcess(pid);
    expect(view.uids).toEqual([uid, uid, uid, uid]);
    expect(view.gids).toEqual([gid, gid, gid, gid]);
    expect(view.namespaces.user).not.toBe(readlinkSync("/proc/self/ns/user"));
    expect(view).toMatchObject({ noNewPrivs: true, seccomp: 2, seccompFilters: 1 });
    expect(Object.keys(view.fds)).toEqual(["0", "1", "2"]);
  }));

it("sandboxed: every process of the sandbox is in that range, that of the sandbox itself too", () =>
  withRuntime(async (runtime) => {
    const { pid, id } = await sleeper(runtime);
    const { uid } = mapOf(pid);
    const state = readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8");
    const sandbox = viewProcess(JSON.parse(state).sandbox.pid);
    expect(sandbox.uids.every((own) => own >= uid && own < uid + SIZE)).toBe(true);
    expect(sandbox.capabilities.effective).toBe(0n);
    expect(sandbox.namespaces.user).toBe(viewProcess(pid).namespaces.user);
  }));

it("sandboxed: an exec has the same ids, filters and no_new_privs", () =>
  withRuntime(async (runtime) => {
    const { pid, id } = await sleeper(runtime);
    const status = runtime.ok(["exec", id, "cat", "/proc/self/status"]);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp_filters:\t1$/m);
    runtime.ok(["exec", "--detach", id, "sleep", "50"]);
    const { namespaces } = viewProcess(pid);
    const execs = readdirSync("/proc").filter((name) => isIn(name, namespaces.user) && Number(name) !== pid);
    expect(execs.length).toBeGreaterThan(0);
    for (const name of execs) expect(ownerOf(name)).toBeGreaterThanOrEqual(mapOf(pid).uid);
  }));

it("sandboxed: the container process and an exec are in its cgroup, in every hierarchy, and the sandbox process is not", () =>
  withRuntime(async (runtime) => {
    const { pid, id } = await sleeper(runtime);
    runtime.ok(["exec", "--detach", id, "sleep", "50"]);
    const cgroupsOf = (name: number | string) => readFileSync(`/proc/${name}/cgroup`, "utf8");
    const own = cgroupsOf(pid);
    const ours = own.split("\n").filter((line) => line.includes(runtime.word));
    expect(ours.length).toBe(probeCgroupHost().hierarchies.length);
    const { namespaces } = viewProcess(pid);
    const all = readdirSync("/proc").filter((name) => isIn(name, namespaces.user));
    const commands = all.map((name) => [readFileSync(`/proc/${name}/comm`, "utf8").trim(), cgroupsOf(name) === own]);
    expect(commands.toSorted()).toEqual([
      ["cloche-sandbox", false],
      ["sleep", true],
      ["sleep", true],
    ]);
  }));

it("sandboxed: config.json's filter is stacked on the baseline", () =>
  withRuntime(async (runtime) => {
    const seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
    };
    const { pid, id } = await sleeper(runtime, (spec) => {
      spec.linux.seccomp = seccomp;
    });
    expect(viewProcess(pid)).toMatchObject({ seccomp: 2, seccompFilters: 2 });
    expect(runtime.ok(["exec", id, "grep", "Seccomp_filters", "/proc/self/status"])).toBe("Seccomp_filters:\t2\n");
    expect(runtime.run(["exec", id, "mkdir", "/tmp/x"]).stderr).toContain("No space left");
  }));

it("sandboxed: no_new_privs is left out only where config.json says false, and the filters hold all the same", () =>
  withRuntime(async (runtime) => {
    const read = (change: (spec: BundleSpec) => void) =>
      sh(runtime, "grep -E 'NoNewPrivs|Seccomp_filters|CapEff' /proc/self/status", change).replaceAll(/\s+/g, " ");
    expect(read((spec) => delete spec.process.noNewPrivileges)).toContain("NoNewPrivs: 1 Seccomp_filters: 1");
    const without = read((spec) => {
      spec.process.noNewPrivileges = false;
    });
    expect(without).toContain("NoNewPrivs: 0 Seccomp_filters: 1");
    const annotated = read((spec) => {
      delete spec.process.noNewPrivileges;
      spec.annotations = { "dev.cloche.no-new-privileges": "false" };
    });
    expect(annotated).toContain("NoNewPrivs: 0 Seccomp_filters: 1");
    expect(without).toContain("CapEff: 0000000020000420");
  }));

it("sandboxed: files of the image and of bind mounts are root's inside, and what root makes there is root's outside", () =>
  withRuntime((runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(path.join(data, "secret"), "of root", { mode: 0o600 });
    writeFileSync(path.join(data, "users"), "", { mode: 0o600 });
    chownSync(path.join(data, "users"), 1000, 1000);
    const script =
      "cat /data/secret; stat -c ' %u:%g %n' /data /data/secret /data/users /bin/busybox; echo x > /data/new; chown 5:6 /data/new; mkdir /made";
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", script];
      const capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"];
      spec.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["rbind"] });
    });
    const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], SANDBOXED);
    expect(stderr).toBe("");
    expect(stdout).toBe("of root 0:0 /data\n 0:0 /data/secret\n 1000:1000 /data/users\n 0:0 /bin/busybox\n");
    expect(statSync(path.join(data, "new"))).toMatchObject({ uid: 5, gid: 6 });
    expect(statSync(path.join(bundle, "rootfs/made"))).toMatchObject({ uid: 0, gid: 0 });
  }));

it("sandboxed: a file of the host that was not given cannot be read with the container's ids", () =>
  withRuntime(async (runtime) => {
    const secret = path.join(runtime.directory, "secret");
    writeFileSync(secret, "of root", { mode: 0o600 });
    const { pid } = await sleeper(runtime);
    const { uid, gid } = mapOf(pid);
    const cat = spawnSync("setpriv", [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "cat", secret]);
    expect(String(cat.stderr)).toContain("Permission denied");
    chmodSync(secret, 0o644);
    const open = spawnSync("setpriv", [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "cat", secret]);
    expect(String(open.stdout)).toBe("of root");
  }));

it("sandboxed: the mount table is what was given, nosuid and nodev but for the devices, and id-mapped", () =>
  withRuntime(async (runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data);
    const { pid } = await sleeper(runtime, (spec) => {
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["rbind", "suid", "dev"] });
    });
    const rows = readFileSync(`/proc/${pid}/mountinfo`, "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split(" "));
    const optionsAt = new Map(rows.map(([, , , , target = "", options = ""]) => [target, options.split(",")]));
    const devices = ["null", "zero", "full", "random", "urandom", "tty"].map((name) => `/dev/${name}`);
    const given = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/data"];
    for (const target of optionsAt.keys()) {
      if (!given.includes(target) && !devices.includes(target)) expect(target).toMatch(/^\/(proc|sys)\//);
    }
    for (const target of given) {
      expect([target, optionsAt.get(target)]).toEqual([target, expect.arrayContaining(["nosuid"])]);
      if (target !== "/dev/pts")
        expect([target, optionsAt.get(target)]).toEqual([target, expect.arrayContaining(["nodev"])]);
    }
    for (const target of ["/", "/data"]) expect(optionsAt.get(target)).toContain("idmapped");
    expect(rows.filter((row) => row.some((word) => word.startsWith("shared:")))).toEqual([]);
  }));

it("sandboxed: nodev, nosuid and read-only cannot be taken off, even with CAP_SYS_ADMIN", () =>
  withRuntime((runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data);
    spawnSync("mknod", ["-m", "666", path.join(data, "node"), "c", "1", "5"]);
    const admin = (spec: BundleSpec) => {
      const capabilities = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD"];
      spec.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["rbind", "ro"] });
      spec.linux.resources = { devices: [{ allow: true, access: "rwm" }] };
    };
    const tries = [
      "mount -o remount,bind,rw,dev,suid /data",
      "mount -o remount,rw,dev /data",
      "mkdir /tmp/b; mount -o bind,rw /data /tmp/b; touch /tmp/b/x",
      "head -c1 /data/node",
      "mknod /tmp/null c 1 3",
      "touch /data/x",
    ];
    for (const script of tries) {
      const { exitCode, stderr } = run(runtime, (spec) => {
        spec.process.args = ["sh", "-c", script];
        admin(spec);
      });
      expect([script, exitCode]).not.toEqual([script, 0]);
      expect(stderr).toMatch(/denied|not permitted|Read-only|Invalid argument/);
    }
    expect(readdirSync(data)).toEqual(["node"]);
    // What it mounts itself is its own affair.
    expect(
      sh(runtime, "mount -t tmpfs x /tmp && touch /tmp/y && mount -o remount,size=1m x /tmp && ls /tmp", admin),
    ).toBe("y\n");
  }));

itBuilds("sandboxed: a set-user-ID file on a bind mount gives nobody anything inside", () =>
  withRuntime((runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data);
    installFixture("call", data);
    chmodSync(path.join(data, "call"), 0o4755);
    const whose = (noNewPrivileges: boolean) =>
      sh(runtime, `/data/call result ${GETEUID}; /call result ${GETEUID}`, (spec) => {
        spec.process.user = { uid: 1000, gid: 1000 };
        spec.process.noNewPrivileges = noNewPrivileges;
        spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["bind"] });
        spec.mounts.push({
          destination: "/call",
          type: "bind",
          source: path.join(data, "call"),
          options: ["bind", "suid"],
        });
      });
    expect(whose(true)).toBe("1000\n1000\n");
    expect(whose(false)).toBe("1000\n1000\n");
  }),
);

itBuilds("sandboxed: a set-user-ID program of the image makes root of the container, where config.json allows it", () =>
  withRuntime((runtime) => {
    const whose = (noNewPrivileges: boolean) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["/call", "result", GETEUID];
        spec.process.user = { uid: 1000, gid: 1000 };
        spec.process.noNewPrivileges = noNewPrivileges;
      });
      installFixture("call", path.join(bundle, "rootfs"));
      chmodSync(path.join(bundle, "rootfs/call"), 0o4755);
      return runtime.ok(["run", "--bundle", bundle, runtime.id()], SANDBOXED);
    };
    expect(whose(false)).toBe("0\n");
    expect(whose(true)).toBe("1000\n");
  }),
);

it("sandboxed: standard output that is a pipe can be opened anew, as servers do to log", () =>
  withRuntime((runtime) => {
    for (const uid of [0, 1000]) {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"];
        spec.process.user = { uid, gid: uid };
      });
      const child = spawnSync("sh", [
        "-c",
        '"$@" 2>&1 | cat',
        "sh",
        runtimePath(),
        "--root",
        runtime.root,
        "--isolation",
        "sandboxed",
        "run",
        "--bundle",
        bundle,
        runtime.id(),
      ]);
      expect(String(child.stdout)).toBe("out\nerr\n");
    }
  }));

it("sandboxed: ids that the sandbox does not have are refused by name", () =>
  withRuntime((runtime) => {
    const { stderr, exitCode } = run(runtime, (spec) => {
      spec.process.user = { uid: 65536, gid: 0 };
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("process.user.uid: got 65536, but a sandbox has the ids 0 to 65535");
    expect(
      sh(runtime, "id -u", (spec) => {
        spec.process.user = { uid: 65535, gid: 65535 };
      }),
    ).toBe("65535\n");
    const { id } = {
      id: runtime.create((spec) => {
        spec.process.args = ["sleep", "60"];
      }, SANDBOXED),
    };
    runtime.ok(["start", id]);
    expect(runtime.run(["exec", "--user", "70000", id, "true"]).stderr).toContain("a sandbox has the ids 0 to 65535");
  }));

it("sandboxed: a file system that takes a device is refused with the remedy", () =>
  withRuntime((runtime) => {
    const { stderr, exitCode } = run(runtime, (spec) => {
      spec.mounts.push({ destination: "/data", type: "ext4", source: "/dev/vda" });
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('mounts[6].type: "ext4" cannot be mounted in a sandbox: mount it on the host and bind it');
    expect(stderr.trim().split("\n")).toHaveLength(1);
  }));

it("sandboxed: with a user namespace of config.json's own the mappings are its, and filter and no_new_privs hold", () =>
  withRuntime(async (runtime) => {
    const { pid } = await sleeper(runtime, (spec) => {
      spec.linux.namespaces.push({ type: "user" });
      spec.linux.uidMappings = [{ containerID: 0, hostID: 0, size: 1000 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 0, size: 1000 }];
      delete spec.process.noNewPrivileges;
    });
    expect(mapOf(pid)).toEqual({ uid: 0, gid: 0, size: 1000 });
    expect(viewProcess(pid)).toMatchObject({ noNewPrivs: true, seccompFilters: 1 });
    expect(claimsOf(runtime)).toEqual([]);
  }));

it("sandboxed: mappings of a mount's own are to ids of the sandbox, with option idmap and without", () =>
  withRuntime((runtime) => {
    const source = path.join(runtime.directory, "data");
    mkdirSync(source);
    chownSync(source, 1000, 2000);
    const { stdout, stderr } = run(runtime, (spec) => {
      spec.process.args = ["stat", "-c", "%u:%g", "/option", "/silent"];
      const uidMappings = [{ containerID: 1000, hostID: 5000, size: 1 }];
      const gidMappings = [{ containerID: 2000, hostID: 6000, size: 1 }];
      for (const [destination, options] of [
        ["/option", ["bind", "idmap"]],
        ["/silent", ["bind"]],
      ] as const) {
        spec.mounts.push({ destination, type: "bind", source, options: [...options], uidMappings, gidMappings });
      }
    });
    expect(stderr).toBe("");
    expect(stdout).toBe("5000:6000\n5000:6000\n");
  }));

it("sandboxed: host network, pid, ipc, uts and cgroup namespaces work, and give no rights over them", () =>
  withRuntime((runtime) => {
    const all = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"];
    const result = run(runtime, (spec) => {
      spec.process.args = [
        "sh",
        "-c",
        "ls -d /proc/1 /sys/class/net/lo; ip link set lo mtu 1400; kill -0 1; cat /proc/1/environ; hostname x; nc -l -p 1 -w 1; ping -c1 127.0.0.1; echo 1 > /proc/sys/kernel/panic; touch /sys/x",
      ];
      spec.process.capabilities = { bounding: all, effective: all, permitted: all };
      // As an engine names the host's: without an entry, or by a path.
      spec.linux.namespaces = [{ type: "mount" }, { type: "pid", path: `/proc/${process.pid}/ns/pid` }];
      spec.linux.readonlyPaths = [];
      delete spec.hostname;
    });
    expect(result.stdout).toStartWith("/proc/1\n/sys/class/net/lo\n");
    const refusals = result.stderr.split("\n").filter((line) => /denied|not permitted|Read-only|bind/.test(line));
    expect(refusals).toHaveLength(8);
    expect(result.stderr).toContain("in the host's network the container has no rights");
    expect(result.stderr).toContain("sees the host's processes and can neither signal nor trace them");
  }));

it("sandboxed: of the host's devices those open to everybody are there, and one line says which are not", () =>
  withRuntime((runtime) => {
    const { stdout, stderr } = run(runtime, (spec) => {
      spec.process.args = [
        "sh",
        "-c",
        "ls -ln /dev/zero2 /dev/full; ls /dev | grep -c vda; head -c2 /dev/sub/mine | wc -c",
      ];
      spec.linux.devices = [
        { type: "b", path: "/dev/vda", major: 254, minor: 0 },
        { type: "c", path: "/dev/full", major: 1, minor: 7 },
        { type: "c", path: "/dev/ptmx", major: 5, minor: 2 },
        { type: "c", path: "/dev/sub/mine", major: 1, minor: 5 },
        { type: "p", path: "/dev/zero2" },
      ];
    });
    expect(stdout).toContain("/dev/zero2");
    expect(stdout).toContain("\n0\n2\n");
    expect(stderr.replaceAll("\\", "")).toContain(
      'linux.devices: left out "/dev/vda": only root of the host may open them',
    );
  }));

it("sandboxed: who asks for a namespace of another sandbox gets its ids and user namespace with it", () =>
  withRuntime(async (runtime) => {
    const { pid } = await sleeper(runtime);
    const other = await sleeper(runtime, (spec) => {
      spec.linux.namespaces = (["pid", "network", "ipc"] as const).map((type) => {
        return { type, path: `/proc/${pid}/ns/${type === "network" ? "net" : type}` };
      });
      spec.linux.namespaces.push({ type: "mount" });
      delete spec.hostname;
    });
    expect(mapOf(other.pid)).toEqual(mapOf(pid));
    const [theirs, ours] = [viewProcess(pid).namespaces, viewProcess(other.pid).namespaces];
    for (const type of ["user", "pid", "net", "ipc"] as const) expect(ours[type]).toBe(theirs[type]);
    expect(ours.mnt).not.toBe(theirs.mnt);
    expect(claimsOf(runtime)).toHaveLength(2);
    runtime.ok(["delete", "--force", other.id]);
    expect(claimsOf(runtime)).toHaveLength(1);
  }));

it("sandboxed: a sandbox that outlives the one whose ids it shares keeps them from others", () =>
  withRuntime(async (runtime) => {
    const owner = await sleeper(runtime);
    const other = await sleeper(runtime, (spec) => {
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "network");
      spec.linux.namespaces.push({ type: "network", path: `/proc/${owner.pid}/ns/net` });
    });
    expect(mapOf(other.pid)).toEqual(mapOf(owner.pid));
    runtime.ok(["delete", "--force", owner.id]);
    expect(runtime.state(other.id).status).toBe("running");
    const stranger = await sleeper(runtime);
    expect(mapOf(stranger.pid).uid).not.toBe(mapOf(other.pid).uid);
    for (const { id } of [other, stranger]) runtime.ok(["delete", "--force", id]);
    expect(claimsOf(runtime)).toEqual([]);
  }));

it("sandboxed: in a network that the engine made, /sys shows that network, sysctls are set and low ports are open", () =>
  withRuntime(async (runtime) => {
    const network = path.join(runtime.directory, "network");
    writeFileSync(network, "");
    spawnSync("unshare", [`--net=${network}`, "ip", "link", "add", "seen", "type", "veth"]);
    try {
      const { stdout } = run(runtime, (spec) => {
        spec.process.args = [
          "sh",
          "-c",
          "ls /sys/class/net; cat /proc/sys/net/ipv4/ip_forward; timeout 1 nc -l -p 80; echo $?",
        ];
        spec.linux.namespaces = [{ type: "mount" }, { type: "pid" }, { type: "network", path: network }];
        spec.linux.sysctl = { "net.ipv4.ip_forward": "1" };
        delete spec.hostname;
      });
      expect(stdout).toMatch(/^lo\nseen\nveth0\n1\n(124|143)\n$/);
    } finally {
      spawnSync("umount", [network]);
    }
  }));

it("sandboxed: the sysctls that docker sets, of groups that may ping and of the domain's name, are set", () =>
  withRuntime((runtime) => {
    const change = (spec: BundleSpec) => {
      spec.linux.sysctl = { "kernel.domainname": "example.org", "net.ipv4.ping_group_range": "0 2147483647" };
    };
    const files = "/proc/sys/kernel/domainname /proc/sys/net/ipv4/ping_group_range";
    expect(sh(runtime, `cat ${files}`, change)).toBe("example.org\n0\t65535\n");
  }));

it(
  "sandboxed: fifty at once have ranges of their own, which are free again when they are deleted",
  () =>
    withRuntime(async (runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sleep", "60"];
      });
      const ids = Array.from({ length: 50 }, () => runtime.id());
      const children = ids.map((id) => runtime.spawn(["create", "--bundle", bundle, id], SANDBOXED));
      await Promise.all(
        children.map((child) => {
          // Whoever inherits these keeps them open, and so the child's end must not wait for them.
          child.stdout?.destroy();
          child.stderr?.destroy();
          return new Promise((resolve) => child.once("exit", resolve));
        }),
      );
      const starts = ids.map((id) => mapOf(runtime.state(id).pid).uid).toSorted((a, b) => a - b);
      starts.forEach((start, index) => {
        if (index > 0) expect(start - (starts[index - 1] ?? 0)).toBeGreaterThanOrEqual(SIZE);
      });
      const claimed = () => claimsOf(runtime);
      expect(claimed()).toHaveLength(50);
      for (const id of ids) runtime.ok(["delete", "--force", id]);
      expect(claimed()).toEqual([]);
    }),
  60_000,
);

it(
  "sandboxed: a range stays with its container when cloche is killed, and comes back with delete",
  () =>
    withRuntime(async (runtime) => {
      const bundle = runtime.bundle();
      for (let attempt = 0; attempt < 10; attempt++) {
        const id = runtime.id();
        await killAfter(runtime.spawn(["create", "--bundle", bundle, id], SANDBOXED), 6 + attempt * 4);
        runtime.run(["delete", "--force", id], SANDBOXED);
      }
      expect(claimsOf(runtime)).toEqual([]);
      // One that would have been refused, and takes a range before it finds out.
      const id = runtime.create(undefined, SANDBOXED);
      let most = 0;
      for (let attempt = 0; attempt < 500 && most < 2; attempt++) {
        await killAfter(runtime.spawn(["create", "--bundle", bundle, id], SANDBOXED), 5 + (attempt % 100) / 2);
        most = Math.max(most, claimsOf(runtime).length);
      }
      expect(most).toBeGreaterThan(1);
      runtime.ok(["delete", "--force", id], SANDBOXED);
      expect(claimsOf(runtime)).toEqual([]);
    }),
  60_000,
);

it("sandboxed: a create that fails keeps no range", () =>
  withRuntime((runtime) => {
    const { exitCode } = run(runtime, (spec) => {
      spec.process.args = ["/does-not-exist"];
    });
    expect(exitCode).not.toBe(0);
    const id = runtime.create(undefined, SANDBOXED);
    expect(runtime.run(["create", "--bundle", runtime.bundle(), id], SANDBOXED).stderr).toContain("already exists");
    expect(claimsOf(runtime)).toHaveLength(1);
  }));

it("dev.cloche.isolation: asks for more without ado, for less only where the administrator allows it", () =>
  withRuntime((runtime) => {
    const level = (annotation: string, args: string[]) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["grep", "-c", " 0 ", "/proc/self/uid_map"];
        spec.process.args = ["sh", "-c", "read a b c < /proc/self/uid_map; echo $c"];
        spec.annotations = { "dev.cloche.isolation": annotation };
      });
      const { stdout, stderr } = runtime.run([...args, "run", "--bundle", bundle, runtime.id()]);
      return stdout + stderr;
    };
    const config = path.join(runtime.directory, "config.toml");
    writeFileSync(config, 'isolation = "sandboxed"\nisolation-annotation = true\n');
    expect(level("sandboxed", [])).toBe("65536\n");
    expect(level("oci", ["--config", config])).toBe("4294967295\n");
    expect(level("oci", ["--isolation", "sandboxed"])).toContain('"oci" isolates less than "sandboxed"');
    expect(level("none", [])).toContain('got "none", want one of oci, sandboxed');
  }));

/** Whether a process is in a user namespace, and has not ended. */
function isIn(name: string, userNamespace: string): boolean {
  try {
    if (!/^\d+$/.test(name) || readlinkSync(`/proc/${name}/ns/user`) !== userNamespace) return false;
    return !/^State:\tZ/m.test(readFileSync(`/proc/${name}/status`, "utf8"));
  } catch {
    return false; // it has ended
  }
}

/** The real uid of a process, which need not be the owner of its directory in /proc. */
function ownerOf(pid: string): number {
  return Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
