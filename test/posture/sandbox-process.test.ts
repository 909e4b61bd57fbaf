/** The sandbox process as the host sees it: the one process of ours that stays, and the least that a process can be. */
import { expect } from "bun:test";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import path from "node:path";
import { mapIds } from "../helpers/container.ts";
import { childrenOf, isOpenToItsUser, type ProcessView, viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");
const itOci = requires("root", "busybox", "cloche", "oci");
const itTraced = requires("root", "busybox", "cloche", "strace");

/** Pid of the sandbox process, from the container's record. */
function sandboxPid(runtime: Runtime, id: string): number {
  return JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8")).sandbox.pid;
}

function sandboxOf(runtime: Runtime, id: string): ProcessView {
  return viewProcess(sandboxPid(runtime, id));
}

function start(runtime: Runtime, options: { userNamespace?: boolean; env?: Record<string, string> } = {}): string {
  const id = runtime.create(
    (spec) => {
      spec.process.args = ["sleep", "60"];
      if (options.userNamespace === true) mapIds(spec);
    },
    options.env === undefined ? {} : { env: options.env },
  );
  runtime.ok(["start", id]);
  return id;
}

for (const userNamespace of [false, true]) {
  const where = userNamespace ? "in a user namespace" : "without a user namespace";
  // At level `sandboxed` there is always one, of which the tests of that level tell.
  const itHere = userNamespace ? it : itOci;
  itHere(`${where}: nobody, without capabilities or groups, no_new_privs, one filter, closed to everybody`, () =>
    withRuntime((runtime) => {
      const view = sandboxOf(runtime, start(runtime, { userNamespace }));
      const nobody = userNamespace ? 165534 : 65534;
      expect(view).toMatchObject({
        name: "cloche-sandbox",
        uids: Array(4).fill(nobody),
        gids: Array(4).fill(nobody),
        groups: [],
        noNewPrivs: true,
        seccomp: 2,
        seccompFilters: 1,
        threads: 1,
      });
      expect(view.capabilities).toMatchObject({ inheritable: 0n, permitted: 0n, effective: 0n, ambient: 0n });
      expect(isOpenToItsUser(view.pid)).toBe(false);
    }),
  );
}

it("has two descriptors open: the exit record, which it can only append to, and the container's pidfd", () =>
  withRuntime((runtime) => {
    const id = start(runtime);
    const { fds, pid } = sandboxOf(runtime, id);
    const byLink = Object.entries(fds).map(([fd, link]) => [link, fd] as const);
    expect(byLink.map(([link]) => link).toSorted()).toEqual(
      ["anon_inode:[pidfd]", path.join(runtime.root, `${id}_${id}.exit`)].toSorted(),
    );
    const recordFd = byLink.find(([link]) => link.endsWith(".exit"))?.[1];
    const flags = Number.parseInt(
      /^flags:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${recordFd}`, "utf8"))?.[1] ?? "",
      8,
    );
    // O_WRONLY, O_APPEND
    expect(flags & 0o2003).toBe(0o2001);
    expect(statSync(path.join(runtime.root, `${id}_${id}.exit`)).mode & 0o777).toBe(0o600);
  }));

it("holds nothing of the caller's: no stdio, terminal, session, environment, working directory", () =>
  withRuntime((runtime) => {
    const view = sandboxOf(
      runtime,
      start(runtime, { env: { SECRET: "of the caller", BUN_CONFIG_VERBOSE_FETCH: "0" } }),
    );
    expect(view.environment).toEqual([]);
    expect(view.terminal).toBe(0);
    expect(view.session).toBe(view.pid);
    expect(Object.keys(view.fds)).not.toContain("1");
  }));

it("has no file system: its root is an empty directory of /proc that goes away with it", () =>
  withRuntime((runtime) => {
    const { pid, root, cwd } = sandboxOf(runtime, start(runtime));
    expect([root, cwd]).toEqual([`/proc/${pid}/fdinfo`, `/proc/${pid}/fdinfo`]);
    // What is there are its own two descriptors' numbers, to read about.
    expect(readdirSync(`/proc/${pid}/root/`)).toHaveLength(2);
  }));

it("is not in the container's cgroup, so that limits and the freezer of the container leave it alone", () =>
  withRuntime((runtime) => {
    const id = start(runtime);
    const view = sandboxOf(runtime, id);
    expect(view.cgroups.filter((line) => line.includes(runtime.word))).toEqual([]);
  }));

it("is PID 1 of a pid namespace of its own, in which the container's is nested", () =>
  withRuntime((runtime) => {
    const id = start(runtime);
    const view = sandboxOf(runtime, id);
    const container = viewProcess(runtime.state(id).pid);
    expect(view.namespaces.pid).not.toBe(readlinkSync("/proc/self/ns/pid"));
    expect(view.namespaces.pid).not.toBe(container.namespaces.pid);
    const inSandbox = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${container.pid}/status`, "utf8"))?.[1]?.split("\t");
    expect(inSandbox).toEqual([String(container.pid), expect.stringMatching(/^\d+$/), "1"]);
    // It shares no mount namespace with the container, and cannot be seen from inside.
    expect(view.namespaces.mnt).not.toBe(container.namespaces.mnt);
    expect(runtime.ok(["exec", id, "ps", "-o", "comm"])).not.toContain("cloche");
  }));

it("has no child but what the container left to it, and is itself a child of the caller's monitor", () =>
  withRuntime((runtime) => {
    const id = start(runtime);
    const view = sandboxOf(runtime, id);
    expect(childrenOf(view.pid)).toEqual([]);
    expect(view.parent).toBe(viewProcess(runtime.state(id).pid).parent);
  }));

it("survives being stopped and continued under its filter, and still records how the container ended", () =>
  withRuntime(async (runtime) => {
    const id = start(runtime);
    const pid = sandboxPid(runtime, id);
    for (let round = 0; round < 3; round++) {
      process.kill(pid, "SIGSTOP");
      await waitFor("it is stopped", () => /^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
      process.kill(pid, "SIGCONT");
      await waitFor("it waits again", () => /^State:\tS/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
    }
    runtime.ok(["kill", id, "KILL"]);
    const record = path.join(runtime.root, `${id}_${id}.exit`);
    await waitFor("the end is written down", () => readFileSync(record, "utf8").trim() !== "");
    expect(readFileSync(record, "utf8")).toMatch(/^\n(signaled 9|ended 0) \d+\n$/);
  }));

itTraced("makes no system call, while the container runs and at its end, beyond those of its filter", () =>
  withRuntime(async (runtime) => {
    const id = start(runtime);
    const pid = sandboxPid(runtime, id);
    const trace = path.join(runtime.directory, "trace");
    const tracer = spawn("strace", ["-f", "-qq", "-o", trace, "-p", String(pid)], { stdio: "ignore" });
    const ended = new Promise((resolve) => tracer.once("exit", resolve));
    await waitFor("it is traced", () => /^TracerPid:\t[1-9]/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
    runtime.ok(["kill", id, "KILL"]);
    await ended;
    const calls = new Set(
      readFileSync(trace, "utf8")
        .split("\n")
        .flatMap((line) => /^\d+\s+(\w+)\(/.exec(line)?.[1] ?? []),
    );
    for (const call of calls)
      expect(["poll", "ppoll", "restart_syscall", "ioctl", "clock_gettime", "write", "exit_group"]).toContain(call);
    expect(calls.has("write")).toBe(true);
  }),
);

it("killing it ends the container: nothing of a sandbox survives its PID 1", () =>
  withRuntime(async (runtime) => {
    const id = start(runtime);
    process.kill(sandboxPid(runtime, id), "SIGKILL");
    await runtime.reaches(id, "stopped");
  }));
