import { expect } from "bun:test";
import { closeSync, existsSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { Seccomp } from "../../specutils/spec.ts";
import { NR, poll, receiveMessage, sys, throwErrno } from "../../specutils/syscall.ts";
import { listenAt, SOCK } from "../../specutils/unix-socket.ts";
import { dockerSeccomp } from "../helpers/docker-seccomp.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const docker = requires("root", "busybox", "go");
const POLLIN = 1;
const SOCK_CLOEXEC = 0o2000000;

const denyMkdir: Seccomp = {
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
};

/** Runs a shell command in a container with that profile. */
function runUnder(runtime: Runtime, seccomp: Seccomp, command: string, noNewPrivileges = true) {
  const bundle = runtime.bundle((spec) => {
    spec.linux.seccomp = seccomp;
    spec.process.noNewPrivileges = noNewPrivileges;
    spec.process.args = ["sh", "-c", command];
  });
  return runtime.run(["run", "--bundle", bundle, runtime.id()]);
}

for (const noNewPrivileges of [true, false]) {
  it(`seccomp: a refused call fails with the profile's errno, its neighbour works [noNewPrivileges ${noNewPrivileges}]`, () =>
    withRuntime((runtime) => {
      const command = "mkdir /tmp/refused; touch /tmp/allowed && ls /tmp";
      const result = runUnder(runtime, denyMkdir, command, noNewPrivileges);
      expect(result.stderr).toContain("No space left on device");
      expect(result).toMatchObject({ exitCode: 0, stdout: "allowed\n" });
    }));
}

itOci("seccomp: without a profile nothing is filtered, with one it is seen in /proc/self/status", () =>
  withRuntime((runtime) => {
    expect(runUnder(runtime, denyMkdir, "grep ^Seccomp: /proc/self/status").stdout).toBe("Seccomp:\t2\n");
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["grep", "^Seccomp:", "/proc/self/status"];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("Seccomp:\t0\n");
  }),
);

it("seccomp: exec'd processes are filtered, too", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.linux.seccomp = denyMkdir;
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const refused = runtime.run(["exec", id, "mkdir", "/tmp/refused"]);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("No space left on device");
    expect(runtime.ok(["exec", id, "sh", "-c", "touch /tmp/allowed; ls /tmp"])).toBe("allowed\n");
  }));

it("seccomp: SCMP_ACT_KILL_PROCESS ends a process that makes the call, and not the container", () =>
  withRuntime((runtime) => {
    const deadly = { ...denyMkdir, syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_KILL_PROCESS" }] };
    // SIGSYS is signal 31.
    expect(runUnder(runtime, deadly, "mkdir /tmp/refused; echo $?").stdout).toBe("159\n");
  }));

it("seccomp: a profile that refuses every call, and the way out, fails the start at once", () =>
  withRuntime((runtime) => {
    const result = runUnder(runtime, { defaultAction: "SCMP_ACT_ERRNO" }, "true");
    expect([result.exitCode, result.stderr]).not.toEqual([0, ""]);
    expect(runtime.leftovers()).toEqual([]);
  }));

docker("seccomp: docker's default profile lets a shell work and refuses a new user namespace", () =>
  withRuntime((runtime) => {
    const profile = dockerSeccomp();
    if (profile === undefined) throw new Error("cannot get docker's profile");
    const result = runUnder(runtime, profile, "ls -d /proc; unshare -U true || echo refused");
    expect(result.stdout).toBe("/proc\nrefused\n");
    expect(result.stderr).toContain("Operation not permitted");
  }),
);

it("config-linux.md#the-container-process-state: the listener is sent to listenerPath with the container's state", () =>
  withRuntime((runtime) => {
    const listenerPath = path.join(runtime.directory, "agent");
    const listener = listenAt(listenerPath, SOCK.STREAM);
    const id = runtime.create((spec) => {
      const syscalls = [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }];
      spec.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", listenerPath, listenerMetadata: "meta", syscalls };
      spec.process.args = ["mkdir", "/tmp/refused"];
      spec.annotations = { "com.example.key": "value" };
    });
    // runc sends the listener from create, cloche from start: nothing that is filtered runs before.
    runtime.ok(["start", id]);
    expect(poll([{ fd: listener, events: POLLIN }], 10_000)).toEqual([POLLIN]);
    const connection = throwErrno("accept4", "agent", sys(NR.accept4, listener, null, null, SOCK_CLOEXEC));
    const { data, fds } = receiveMessage(connection, 65536);
    const { pid, bundle } = runtime.state(id);
    expect(JSON.parse(Buffer.from(data).toString())).toMatchObject({
      ociVersion: expect.any(String),
      fds: ["seccompFd"],
      pid,
      metadata: "meta",
      state: { id, pid, bundle, status: expect.stringMatching(/^creat/), annotations: { "com.example.key": "value" } },
    });
    expect(fds.map((fd) => readlinkSync(`/proc/self/fd/${fd}`))).toEqual(["anon_inode:seccomp notify"]);
    expect(receiveMessage(connection, 1).data).toHaveLength(0);
    // With its listener gone a notified call fails with ENOSYS (seccomp_unotify(2)), so nothing waits for ever.
    for (const fd of [...fds, connection, listener]) closeSync(fd);
  }));

it("create: fails without a trace if the listener's socket is not there", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      const syscalls = [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }];
      const listenerPath = path.join(runtime.directory, "nobody");
      spec.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", listenerPath, syscalls };
    });
    const { exitCode, stderr } = runtime.run(["create", "--bundle", bundle, runtime.id()]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("no such file or directory");
    expect(runtime.leftovers()).toEqual([]);
  }));

for (const [name, seccomp] of Object.entries({
  "an unknown action": { ...denyMkdir, defaultAction: "SCMP_ACT_NONE" },
  "an unknown architecture": { ...denyMkdir, architectures: ["SCMP_ARCH_Z80"] },
  "an unknown flag": { ...denyMkdir, flags: ["SECCOMP_FILTER_FLAG_NONE"] },
})) {
  it(`create: refuses a seccomp profile with ${name}, without a trace`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.linux.seccomp = seccomp;
      });
      const pidFile = path.join(runtime.directory, "pid");
      expect(runtime.run(["create", "--bundle", bundle, "--pid-file", pidFile, runtime.id()]).exitCode).not.toBe(0);
      expect(existsSync(pidFile)).toBe(false);
      expect(runtime.leftovers()).toEqual([]);
    }));
}
