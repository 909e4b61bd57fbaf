/** What the host sees of a container's process, created and running: exactly what config.json says, and nothing of ours. */
import { expect } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import { listenForConsole } from "../helpers/console.ts";
import { isOpenToItsUser, type NamespaceFile, programName, viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itCloche = requires("root", "busybox", "cloche");
const itClocheOci = requires("root", "busybox", "cloche", "oci");

/** CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE: those of the default bundle. */
const DEFAULT_CAPABILITIES = (1n << 5n) | (1n << 10n) | (1n << 29n);

function own(type: NamespaceFile): string {
  return readlinkSync(`/proc/self/ns/${type}`);
}

async function runningPid(runtime: Runtime, id: string): Promise<number> {
  const { pid } = runtime.state(id);
  // `start` returns when execve has been begun; the name tells that it is over.
  await waitFor("the program runs", () => programName(pid) === "sleep");
  return pid;
}

const SECCOMP = {
  defaultAction: "SCMP_ACT_ALLOW" as const,
  syscalls: [{ names: ["swapon"], action: "SCMP_ACT_ERRNO" as const }],
};

itOci("running: ids, groups, capabilities, no_new_privs, seccomp, oom_score_adj as config.json says", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
      spec.process.user = { uid: 1001, gid: 1002, additionalGids: [7, 8] };
      spec.process.oomScoreAdj = 321;
      spec.process.capabilities = {
        bounding: ["CAP_KILL", "CAP_CHOWN"],
        permitted: ["CAP_KILL"],
        effective: ["CAP_KILL"],
      };
      spec.linux.seccomp = SECCOMP;
    });
    runtime.ok(["start", id]);
    const view = viewProcess(await runningPid(runtime, id));
    expect(view).toMatchObject({
      uids: [1001, 1001, 1001, 1001],
      gids: [1002, 1002, 1002, 1002],
      groups: [7, 8],
      noNewPrivs: true,
      seccomp: 2,
      seccompFilters: 1,
      threads: 1,
      oomScoreAdj: 321,
      arguments: ["sleep", "60"],
      cwd: "/",
      terminal: 0,
      // A user other than root keeps no capability over execve (capabilities(7)).
      capabilities: { inheritable: 0n, permitted: 0n, effective: 0n, bounding: 0x21n, ambient: 0n },
    });
    expect(view.session).toBe(view.pid);
  }),
);

it("running: root of the container has the capabilities that it was given and no others", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
      // Without no_new_privs the helper needs CAP_SYS_ADMIN for the filter, which must be gone when the program runs.
      spec.process.noNewPrivileges = false;
      spec.linux.seccomp = SECCOMP;
    });
    runtime.ok(["start", id]);
    expect(viewProcess(await runningPid(runtime, id))).toMatchObject({
      noNewPrivs: false,
      seccomp: 2,
      capabilities: {
        inheritable: 0n,
        permitted: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        bounding: DEFAULT_CAPABILITIES,
        ambient: 0n,
      },
    });
  }));

it("running: nothing but the three standard streams is open", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    expect(Object.keys(viewProcess(await runningPid(runtime, id)).fds)).toEqual(["0", "1", "2"]);
  }));

it("running: the environment is config.json's and HOME, nothing of the caller's", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create(
      (spec) => {
        spec.process.args = ["sleep", "60"];
        spec.process.env = ["ONE=1", "PATH=/bin"];
      },
      {
        env: { SECRET: "of the caller", NODE_OPTIONS: "", BUN_CONFIG_VERBOSE_FETCH: "0", LD_LIBRARY_PATH: "/nowhere" },
      },
    );
    runtime.ok(["start", id]);
    expect(viewProcess(await runningPid(runtime, id)).environment).toEqual(["ONE=1", "PATH=/bin", "HOME=/root"]);
  }));

itOci("running: each namespace that was asked for is new, all others are the caller's", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
      spec.linux.namespaces = [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "cgroup" }];
      delete spec.hostname;
    });
    runtime.ok(["start", id]);
    const { namespaces } = viewProcess(await runningPid(runtime, id));
    for (const type of ["pid", "mnt", "ipc", "cgroup"] as const) expect(namespaces[type]).not.toBe(own(type));
    for (const type of ["net", "uts", "user", "time"] as const) expect(namespaces[type]).toBe(own(type));
  }),
);

itOci("running: the mount table is the container's alone: its root on top, nothing of the host's root left", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const pid = await runningPid(runtime, id);
    const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8").trim().split("\n");
    const fields = mounts.map((line) => line.split(" "));
    const wanted = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    const targets = fields.map(([, , , , target]) => target ?? "");
    expect(targets.slice(0, wanted.length)).toEqual(wanted);
    // The rest are masks and read-only paths, each below /proc or /sys, and read-only.
    for (const [, , , , target, options] of fields.slice(wanted.length)) {
      expect(target).toMatch(/^\/(proc|sys)\//);
      expect(options).toMatch(/^ro,/);
    }
    // No mount of the container's belongs to a peer group of the host's: "shared:N" would.
    expect(mounts.filter((line) => line.includes(" shared:"))).toEqual([]);
    expect(fields[0]?.[3]).toEndWith("/rootfs");
  }),
);

it("running: in its cgroups from its first moment on", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    const created = viewProcess(runtime.state(id).pid).cgroups;
    expect(created.filter((line) => line.includes(runtime.word)).length).toBeGreaterThan(0);
    runtime.ok(["start", id]);
    expect(viewProcess(await runningPid(runtime, id)).cgroups).toEqual(created);
  }));

itClocheOci(
  "created: inside already, as its user, closed to its user, with sockets and the signal descriptor only",
  () =>
    withRuntime((runtime) => {
      const id = runtime.create((spec) => {
        spec.process.args = ["sleep", "60"];
        spec.process.user = { uid: 1001, gid: 1002 };
        spec.linux.sysctl = { "net.ipv4.ip_forward": "0" };
      });
      const { pid } = runtime.state(id);
      const view = viewProcess(pid);
      expect(view).toMatchObject({
        name: "cloche-init",
        environment: [],
        uids: [1001, 1001, 1001, 1001],
        threads: 1,
        terminal: 0,
      });
      for (const type of ["pid", "mnt", "net", "ipc", "uts"] as const)
        expect(view.namespaces[type]).not.toBe(own(type));
      const beyondStdio = Object.entries(view.fds).filter(([fd]) => Number(fd) > 2);
      // No directory among them: one would be a way out of the root.
      for (const [, link] of beyondStdio) expect(link).toMatch(/^(socket:\[\d+\]|anon_inode:\[signalfd\])$/);
      expect(isOpenToItsUser(pid)).toBe(false);
      expect(readlinkSync(`/proc/${pid}/exe`)).not.toContain(runtime.word);
    }),
);

itClocheOci("created: root of a container is closed to root of the container too", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    expect(isOpenToItsUser(runtime.state(id).pid)).toBe(false);
    runtime.ok(["start", id]);
    expect(isOpenToItsUser(await runningPid(runtime, id))).toBe(true);
  }),
);

itCloche(
  "created: waiting for start, it has the capabilities of the program and at most CAP_SYS_ADMIN for the filter",
  () =>
    withRuntime((runtime) => {
      const id = runtime.create((spec) => {
        spec.process.noNewPrivileges = false;
        spec.linux.seccomp = SECCOMP;
      });
      const { effective, bounding } = viewProcess(runtime.state(id).pid).capabilities;
      expect(effective).toBe(DEFAULT_CAPABILITIES | (1n << 21n));
      expect(bounding).toBe(DEFAULT_CAPABILITIES);
    }),
);

itCloche("a terminal is the session's controlling one, from the container's own devpts, and the only thing open", () =>
  withRuntime(async (runtime) => {
    const socket = listenForConsole(path.join(runtime.directory, "console"));
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.args = ["sleep", "60"];
    });
    const id = runtime.id();
    runtime.ok(["create", "--bundle", bundle, "--console-socket", socket.path, id]);
    socket.receiveTerminal();
    socket.close();
    runtime.ok(["start", id]);
    const view = viewProcess(await runningPid(runtime, id));
    expect(view.fds).toEqual({ "0": "/dev/pts/0", "1": "/dev/pts/0", "2": "/dev/pts/0" });
    expect(view.terminal).not.toBe(0);
  }),
);

it("exec: the same confinement as the container's program", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
      spec.linux.seccomp = SECCOMP;
    });
    runtime.ok(["start", id]);
    const main = viewProcess(await runningPid(runtime, id));
    const pidFile = path.join(runtime.directory, "pid");
    runtime.ok(["exec", "--detach", "--pid-file", pidFile, id, "sleep", "59"], { env: { SECRET: "of the caller" } });
    const pid = Number(readFileSync(pidFile, "utf8"));
    await waitFor("the program runs", () => programName(pid) === "sleep");
    const view = viewProcess(pid);
    const { capabilities, cgroups, environment, gids, namespaces, noNewPrivs, seccomp, uids } = main;
    expect(view).toMatchObject({ capabilities, cgroups, environment, gids, namespaces, noNewPrivs, seccomp, uids });
    expect(Object.keys(view.fds)).toEqual(["0", "1", "2"]);
    expect(view.session).toBe(pid);
    process.kill(pid, "SIGKILL");
  }));

const STATUS = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/self/status; ls /proc/self/fd; ulimit -n";

for (const noNewPrivileges of [true, false]) {
  itCloche(
    `a startContainer hook, whose file is the container's, is confined like the program (noNewPrivileges ${noNewPrivileges})`,
    () =>
      withRuntime((runtime) => {
        const bundle = runtime.bundle((spec) => {
          spec.process.args = ["sh", "-c", STATUS];
          spec.process.noNewPrivileges = noNewPrivileges;
          spec.linux.seccomp = SECCOMP;
          spec.hooks = { startContainer: [{ path: "/bin/sh", args: ["sh", "-c", `(${STATUS}) > /hook`] }] };
        });
        const program = runtime.ok(["run", "--bundle", bundle, runtime.id()]);
        expect(program).toContain("Seccomp:\t2\n");
        expect(readFileSync(path.join(bundle, "rootfs/hook"), "utf8")).toBe(program);
      }),
  );
}

itClocheOci("a createContainer hook, whose file is the host's, is not: it has the rights to set things up", () =>
  withRuntime((runtime) => {
    const out = path.join(runtime.directory, "hook");
    const bundle = runtime.bundle((spec) => {
      spec.linux.seccomp = SECCOMP;
      spec.hooks = { createContainer: [{ path: "/bin/sh", args: ["sh", "-c", `(${STATUS}) > ${out}`] }] };
    });
    runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    expect(readFileSync(out, "utf8")).toContain("Seccomp:\t0\n");
  }),
);
