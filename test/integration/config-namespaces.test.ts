/** config-linux.md#namespaces, #user-namespace-mappings, #offset-for-time-namespace: which namespaces a container is in. */
import { expect } from "bun:test";
import { spawn } from "node:child_process";
import { chownSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { NamespaceType } from "../../specutils/spec.ts";
import { grant, lines, mapIds, refusal, sh } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itIsOurs = requires("root", "busybox", "cloche");
const itIsOursOci = requires("root", "busybox", "cloche", "oci");

const FILES: Record<NamespaceType, string> = {
  cgroup: "cgroup",
  ipc: "ipc",
  mount: "mnt",
  network: "net",
  pid: "pid",
  time: "time",
  user: "user",
  uts: "uts",
};

function namespaceOf(pid: number | "self", type: NamespaceType): string {
  return readlinkSync(`/proc/${pid}/ns/${FILES[type]}`);
}

/** A process's mounts, without those of whoever else is busy on this machine. */
function mountsOf(pid: number | "self", word: string): string[] {
  const isOthers = (line: string) => /^\S+ \S+ \S+ \S+ \/(tmp|run|var)\//.test(line) && !line.includes(word);
  return lines(readFileSync(`/proc/${pid}/mountinfo`, "utf8")).filter((line) => !isOthers(line));
}

/** A container that sleeps, started. */
function sleeper(runtime: Runtime, change: Parameters<Runtime["create"]>[0]): { id: string; pid: number } {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "60"];
    change?.(spec);
  });
  runtime.ok(["start", id]);
  return { id, pid: runtime.state(id).pid };
}

for (const type of ["pid", "network", "ipc", "uts", "cgroup"] as const) {
  it(`linux.namespaces: ${type} is new, or the host's when it is not listed`, () =>
    withRuntime((runtime) => {
      const fresh = sleeper(runtime, (spec) => {
        if (type === "cgroup") spec.linux.namespaces.push({ type });
      });
      expect(namespaceOf(fresh.pid, type)).not.toBe(namespaceOf("self", type));
      const inherited = sleeper(runtime, (spec) => {
        spec.linux.namespaces = spec.linux.namespaces.filter((namespace) => namespace.type !== type);
        if (type === "uts") Reflect.deleteProperty(spec, "hostname");
        // Neither may be mounted anew by who does not own the namespace that it shows.
        if (type === "ipc") spec.mounts = spec.mounts.filter((mount) => mount.type !== "mqueue");
      });
      expect(namespaceOf(inherited.pid, type)).toBe(namespaceOf("self", type));
      for (const { id } of [fresh, inherited]) runtime.ok(["delete", "--force", id]);
    }));

  it(`linux.namespaces: ${type} of another container, by path`, () =>
    withRuntime((runtime) => {
      const other = sleeper(runtime, (spec) => {
        if (type === "cgroup") spec.linux.namespaces.push({ type });
      });
      const joined = sleeper(runtime, (spec) => {
        const file = `/proc/${other.pid}/ns/${FILES[type]}`;
        spec.linux.namespaces = spec.linux.namespaces.filter((namespace) => namespace.type !== type);
        spec.linux.namespaces.push({ type, path: file });
        if (type === "uts") Reflect.deleteProperty(spec, "hostname");
      });
      expect(namespaceOf(joined.pid, type)).toBe(namespaceOf(other.pid, type));
      runtime.ok(["delete", "--force", joined.id]);
      expect(runtime.state(other.id).status).toBe("running");
      runtime.ok(["delete", "--force", other.id]);
    }));
}

itIsOurs("linux.namespaces: time is new or by path, with offsets", () =>
  withRuntime((runtime) => {
    const uptime = () => Number(readFileSync("/proc/uptime", "utf8").split(".")[0]);
    const { id, pid } = sleeper(runtime, (spec) => {
      spec.linux.namespaces.push({ type: "time" });
      spec.linux.timeOffsets = { boottime: { secs: 1_000_000n, nanosecs: 500 }, monotonic: { secs: 3600n } };
    });
    expect(namespaceOf(pid, "time")).not.toBe(namespaceOf("self", "time"));
    expect(readFileSync(`/proc/${pid}/timens_offsets`, "utf8").split(/\s+/)).toEqual(
      expect.arrayContaining(["monotonic", "3600", "boottime", "1000000", "500"]),
    );
    const inside = Number(runtime.ok(["exec", id, "cat", "/proc/uptime"]).split(".")[0]);
    expect(inside - uptime()).toBeGreaterThan(999_000);
    const joined = sleeper(runtime, (spec) => {
      spec.linux.namespaces.push({ type: "time", path: `/proc/${pid}/ns/time` });
    });
    expect(namespaceOf(joined.pid, "time")).toBe(namespaceOf(pid, "time"));
    for (const one of [joined.id, id]) runtime.ok(["delete", "--force", one]);
  }),
);

it("linux.namespaces: a path of another type is an error that names the path", () =>
  withRuntime((runtime) => {
    const reason = refusal(runtime, (spec) => {
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "network");
      spec.linux.namespaces.push({ type: "network", path: "/proc/self/ns/uts" });
    });
    expect(reason).toMatch(/\/proc\/self\/ns\/uts|namespace/);
  }));

it("linux.namespaces: pid of the host; what the container leaves running ends with it", () =>
  withRuntime(async (runtime) => {
    const { id, pid } = sleeper(runtime, (spec) => {
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
      spec.process.args = ["sh", "-c", `sleep 987 & echo $$ > /tmp/pid; wait`];
    });
    await waitFor("the child is there", () => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
      return children !== "";
    });
    const child = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    runtime.ok(["delete", "--force", id]);
    await waitFor("the child is gone", () => !readdirSync("/proc").includes(child));
  }));

itIsOursOci("linux.namespaces: mount of the host leaves the host's mounts alone", () =>
  withRuntime((runtime) => {
    const before = mountsOf("self", runtime.word);
    const directory = path.join(runtime.directory, "inside-only");
    const { id, pid } = sleeper(runtime, (spec) => {
      spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "mount");
      spec.linux.maskedPaths = [];
      spec.linux.readonlyPaths = [];
      spec.mounts.push({ destination: "/data", type: "tmpfs", source: runtime.word });
      spec.mounts.push({ destination: "/etc", type: "bind", source: "/etc", options: ["rbind", "ro"] });
    });
    expect(namespaceOf(pid, "mount")).toBe(namespaceOf("self", "mount"));
    expect(mountsOf("self", runtime.word)).toEqual(before);
    const inside = runtime.ok([
      "exec",
      id,
      "sh",
      "-c",
      `mount | wc -l; ls /; touch /data/f; ls /data; ls ${directory}; touch /etc/f 2>&1; readlink /proc/1/root; pwd`,
    ]);
    expect(inside).toContain("\ntouch: /etc/f: Read-only file system\n/\n/\n");
    runtime.ok(["delete", "--force", id]);
    expect(mountsOf("self", runtime.word)).toEqual(before);
  }),
);

itIsOursOci("linux.namespaces: mount of another process, by path, whose mounts stay as they are", () =>
  withRuntime(async (runtime) => {
    const holder = spawn("unshare", ["--mount", "sleep", "61"], { stdio: "ignore" });
    const pid = holder.pid ?? 0;
    await waitFor("it has a namespace of its own", () => readFileSync(`/proc/${pid}/comm`, "utf8") === "sleep\n");
    try {
      const before = mountsOf(pid, runtime.word);
      const container = sleeper(runtime, (spec) => {
        const mount = spec.linux.namespaces.find(({ type }) => type === "mount");
        if (mount !== undefined) mount.path = `/proc/${pid}/ns/mnt`;
        spec.root.readonly = true;
      });
      expect(namespaceOf(container.pid, "mount")).toBe(namespaceOf(pid, "mount"));
      expect(mountsOf(pid, runtime.word)).toEqual(before);
      const output = runtime.ok([
        "exec",
        container.id,
        "sh",
        "-c",
        "ls /proc/kcore; wc -c < /proc/kcore; touch /f 2>&1; pwd; cat /etc/passwd",
      ]);
      expect(output).toContain("touch: /f: Read-only file system\n/\nroot:x:0:0:root:/root:/bin/sh\n");
      runtime.ok(["delete", "--force", container.id]);
    } finally {
      holder.kill("SIGKILL");
    }
  }),
);

itIsOurs("namespaces [user new, ipc new]: message queues are root's inside", () =>
  withRuntime((runtime) => {
    expect(sh(runtime, "stat -c '%u %g' /dev/mqueue", (spec) => mapIds(spec))).toBe("0 0\n");
  }),
);

it("linux.uidMappings and gidMappings: root inside is nobody outside", () =>
  withRuntime((runtime) => {
    const { id, pid } = sleeper(runtime, (spec) => mapIds(spec));
    expect(readFileSync(`/proc/${pid}/uid_map`, "utf8").trim().split(/\s+/)).toEqual(["0", "100000", "65536"]);
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(/^Uid:\t100000\t100000\t100000\t100000$/m);
    expect(namespaceOf(pid, "user")).not.toBe(namespaceOf("self", "user"));
    expect(runtime.ok(["exec", id, "sh", "-c", "id -u; cat /proc/self/uid_map | wc -l; echo x > /dev/null"])).toBe(
      "0\n1\n",
    );
    runtime.ok(["delete", "--force", id]);
  }));

itIsOurs("linux.uidMappings: without a root inside", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.linux.namespaces.push({ type: "user" });
      spec.linux.uidMappings = [{ containerID: 1000, hostID: 101_000, size: 10 }];
      spec.linux.gidMappings = [{ containerID: 2000, hostID: 102_000, size: 10 }];
      spec.process.user = { uid: 1001, gid: 2002 };
      spec.process.args = ["sleep", "60"];
      spec.mounts = spec.mounts.map((mount) => ({
        ...mount,
        options: (mount.options ?? []).filter((option) => option !== "gid=5"),
      }));
    });
    const id = runtime.id();
    chownSync(path.join(bundle, "rootfs/tmp"), 101_001, 102_002);
    runtime.ok(["create", "--bundle", bundle, id]);
    runtime.ok(["start", id]);
    expect(readFileSync(`/proc/${runtime.state(id).pid}/status`, "utf8")).toMatch(/^Uid:\t101001\t/m);
    expect(runtime.ok(["exec", id, "sh", "-c", "id -u; id -g; touch /tmp/f && stat -c %u:%g /tmp/f"])).toBe(
      "1001\n2002\n1001:2002\n",
    );
    runtime.ok(["delete", "--force", id]);
  }),
);

itIsOurs("linux.namespaces: user by path, whose mappings must be those of the config if it has any", () =>
  withRuntime((runtime) => {
    const other = sleeper(runtime, (spec) => mapIds(spec));
    const join = (spec: Parameters<NonNullable<Parameters<typeof sleeper>[1]>>[0]) => {
      spec.linux.namespaces.push({ type: "user", path: `/proc/${other.pid}/ns/user` });
    };
    const same = sleeper(runtime, (spec) => {
      mapIds(spec);
      spec.linux.namespaces.pop();
      join(spec);
    });
    expect(namespaceOf(same.pid, "user")).toBe(namespaceOf(other.pid, "user"));
    const silent = sleeper(runtime, join);
    expect(readFileSync(`/proc/${silent.pid}/status`, "utf8")).toMatch(/^Uid:\t100000\t/m);
    const different = runtime.bundle((spec) => {
      mapIds(spec, 200_000);
      spec.linux.namespaces.pop();
      join(spec);
    });
    const refused = runtime.run(["create", "--bundle", different, runtime.id()]);
    for (const { id } of [silent, same, other]) runtime.ok(["delete", "--force", id]);
    expect(refused.stderr).toContain(
      "linux.uidMappings: got 0 200000 65536, but the user namespace that is joined has 0 100000 65536",
    );
  }),
);

it("linux.namespaces: all those of a pod, by path", () =>
  withRuntime((runtime) => {
    const pod = sleeper(runtime, (spec) => {
      spec.hostname = "pod";
    });
    const member = sleeper(runtime, (spec) => {
      Reflect.deleteProperty(spec, "hostname");
      spec.linux.namespaces = [{ type: "mount" }];
      for (const type of ["pid", "network", "ipc", "uts"] as const) {
        spec.linux.namespaces.push({ type, path: `/proc/${pod.pid}/ns/${FILES[type]}` });
      }
    });
    const seen = lines(runtime.ok(["exec", member.id, "sh", "-c", "hostname; ps -o pid,args | grep -c '[s]leep 60'"]));
    expect(seen).toEqual(["pod", "2"]);
    runtime.ok(["delete", "--force", member.id]);
    expect(runtime.ok(["exec", pod.id, "hostname"])).toBe("pod\n");
    runtime.ok(["delete", "--force", pod.id]);
  }));

it("hostname and domainname", () =>
  withRuntime((runtime) => {
    const before = readFileSync("/proc/sys/kernel/hostname", "utf8");
    const output = sh(runtime, "cat /proc/sys/kernel/hostname", (spec) => {
      spec.hostname = "inside.example";
    });
    expect(output).toBe("inside.example\n");
    expect(readFileSync("/proc/sys/kernel/hostname", "utf8")).toBe(before);
  }));

itIsOurs("domainname", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "cat /proc/sys/kernel/domainname", (spec) => {
      spec.domainname = "example.org";
    });
    expect(output).toBe("example.org\n");
  }),
);

it("linux.namespaces: a new network namespace has lo, and it is up", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "ip -o addr show; ping -c 1 -W 1 127.0.0.1 > /dev/null && echo reached", (spec) =>
      grant(spec, "CAP_NET_RAW"),
    );
    expect(output).toMatch(/^1: lo +inet 127\.0\.0\.1\/8/m);
    expect(output).toEndWith("reached\n");
  }));

itIsOurs("linux.sysctl: of the network, ipc and uts namespaces, and of no other", () =>
  withRuntime((runtime) => {
    const host = readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8");
    const names = [
      "net/ipv4/ip_forward",
      "kernel/msgmax",
      "fs/mqueue/msg_max",
      "kernel/domainname",
      "net/ipv4/conf/lo/forwarding",
    ];
    const output = sh(runtime, names.map((name) => `cat /proc/sys/${name}`).join(";"), (spec) => {
      spec.linux.sysctl = {
        "net.ipv4.ip_forward": host === "1\n" ? "0" : "1",
        "kernel.msgmax": "4096",
        "fs.mqueue.msg_max": "17",
        "kernel.domainname": "from-sysctl",
        "net/ipv4/conf/lo/forwarding": "1",
      };
    });
    expect(lines(output)).toEqual([host === "1\n" ? "0" : "1", "4096", "17", "from-sysctl", "1"]);
    expect(readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8")).toBe(host);
    const reason = refusal(runtime, (spec) => {
      spec.linux.sysctl = { "vm.swappiness": "1" };
    });
    expect(reason).toContain('linux.sysctl["vm.swappiness"]: is not kept per namespace');
  }),
);
