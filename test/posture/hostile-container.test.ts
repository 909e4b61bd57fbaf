/**
 * A running container that does its worst to whoever execs into it, looks at it or deletes it: each command ends in time, with
 * at most one line that says why, and without touching the host.
 */
import { expect } from "bun:test";
import { closeSync, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";
import { listenForConsole } from "../helpers/console.ts";
import { grant } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { type Result, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");
const itCgroup1 = requires("root", "busybox", "cloche", "cgroup1");
const itCgroup1Oci = requires("root", "busybox", "cloche", "cgroup1", "oci");

const TIMEOUT_MS = 10_000;

/** Starts a container that carries out a script, with `/ready` as its sign, and then waits. */
async function hostile(
  runtime: Runtime,
  script: string,
  change: (spec: BundleSpec) => void = () => {},
): Promise<string> {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sh", "-c", `${script}\n: > /ready\nsleep 60`];
    change(spec);
  });
  const id = runtime.id();
  runtime.ok(["run", "--detach", "--bundle", bundle, id]);
  await waitFor("the container is ready", () => existsSync(path.join(bundle, "rootfs/ready")));
  return id;
}

function run(runtime: Runtime, ...args: string[]): Result {
  return runtime.run(args, { timeoutMs: TIMEOUT_MS });
}

/** Expects success, or one line of reasons. */
function expectOneLine({ exitCode, stderr }: Result): void {
  if (exitCode !== 0) expect(stderr.trim().split("\n")).toEqual([expect.stringMatching(/\w/)]);
}

const PASSWDS: Record<string, string> = {
  "a FIFO": "rm /etc/passwd; mkfifo /etc/passwd",
  "a link to itself": "rm /etc/passwd; ln -s passwd /etc/passwd",
  "a link out of the root": "rm /etc/passwd; ln -s ../../../../../../../etc/passwd /etc/passwd",
  "a link to an open file of whoever reads it": "rm /etc/passwd; ln -s /proc/self/fd/0 /etc/passwd",
  "a directory": "rm /etc/passwd; mkdir /etc/passwd",
  "a terabyte of nothing": "truncate -s 1T /etc/passwd",
  "a device": "rm /etc/passwd; mknod /etc/passwd c 1 5",
  "without line breaks": "head -c 3000000 /dev/zero | tr '\\0' x > /etc/passwd",
  "with a NUL in root's home": "printf 'root:x:0:0::/a\\0LD_PRELOAD=/evil.so:/bin/sh\\n' > /etc/passwd",
  "with a line break in root's home": "printf 'root:x:0:0::/a\\nLD_PRELOAD=/evil.so:/bin/sh\\n' > /etc/passwd",
};

for (const [name, script] of Object.entries(PASSWDS)) {
  it(`exec: /etc/passwd that is ${name} neither hinders it nor gets into its environment`, () =>
    withRuntime(async (runtime) => {
      const id = await hostile(runtime, script, (spec) => {
        grant(spec, "CAP_MKNOD");
        spec.linux.resources = { devices: [{ allow: true, access: "rwm" }] };
      });
      const { exitCode, stdout, stderr } = run(runtime, "exec", id, "env");
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      expect(stdout.split("\n").filter((line) => !/^(PATH|HOME)=/.test(line))).toEqual([""]);
    }));
}

const PROGRAMS: Record<string, string> = {
  "a FIFO": "mkfifo /bin/victim; chmod 755 /bin/victim",
  "a directory": "mkdir /bin/victim",
  "a link to itself": "ln -s victim /bin/victim",
  "a link to a descriptor": "ln -s /proc/self/fd/5 /bin/victim",
  "a script that interprets itself": "printf '#!/bin/victim\\n' > /bin/victim; chmod 755 /bin/victim",
  "an empty file": ": > /bin/victim; chmod 755 /bin/victim",
  "not executable": ": > /bin/victim; chmod 644 /bin/victim",
  "a character device": "mknod /bin/victim c 1 3; chmod 755 /bin/victim",
};

for (const [name, script] of Object.entries(PROGRAMS)) {
  it(`exec: a program that is ${name} is refused at once, in one line`, () =>
    withRuntime(async (runtime) => {
      const id = await hostile(runtime, script, (spec) => grant(spec, "CAP_MKNOD"));
      const result = run(runtime, "exec", id, "victim");
      expect(result.exitCode).not.toBe(0);
      expectOneLine(result);
    }));
}

it("exec: PATH finds only what is in the container, relative entries from its working directory", () =>
  withRuntime(async (runtime) => {
    const id = await hostile(
      runtime,
      "mkdir /here; printf '#!/bin/sh\\necho inside\\n' > /here/only; chmod 755 /here/only",
    );
    for (const value of ["", ".", ":", "../../../../../../here", "here::/nowhere", "/proc/self/cwd"]) {
      const cwd = value.startsWith("here") ? "/" : "/here";
      const { stdout } = run(runtime, "exec", "--cwd", cwd, "--env", `PATH=${value}`, id, "only");
      expect([value, ["inside\n", ""].includes(stdout)]).toEqual([value, true]);
      // What only the host has is not found.
      const entry = `PATH=${value}:/usr/sbin:/usr/bin`;
      const onHost = run(runtime, "exec", "--cwd", cwd, "--env", entry, id, "dpkg", "--version");
      expect([onHost.exitCode === 0, onHost.stdout]).toEqual([false, ""]);
    }
  }));

const WORKING_DIRECTORIES: Record<string, string> = {
  "a link out of the root": "rm -rf /work; ln -s ../../../../.. /work",
  "a link to a descriptor": "rm -rf /work; ln -s /proc/self/fd/4 /work",
  "a link to another process's root": "rm -rf /work; ln -s /proc/1/root/proc/1/cwd /work",
  "a FIFO": "rm -rf /work; mkfifo /work",
  removed: "rm -rf /work",
};

for (const [name, script] of Object.entries(WORKING_DIRECTORIES)) {
  it(`exec: a working directory that is ${name} leads nowhere but into the container`, () =>
    withRuntime(async (runtime) => {
      const id = await hostile(runtime, `mkdir -p /work; ${script}`);
      const result = run(runtime, "exec", "--cwd", "/work", id, "sh", "-c", "pwd -P; ls -d bin/busybox");
      expectOneLine(result);
      if (result.exitCode === 0) expect(result.stdout).toBe("/\nbin/busybox\n");
      expect(result.stdout).not.toContain("work");
    }));
}

const TERMINALS: Record<string, string> = {
  "/dev/pts is unmounted": "umount /dev/pts",
  "/dev/pts is a link": "umount /dev/pts; rmdir /dev/pts; mkdir /fake; mkfifo /fake/ptmx; ln -s /fake /dev/pts",
  "/dev/pts holds a FIFO named ptmx": "umount /dev/pts; mkfifo /dev/pts/ptmx",
  "/dev/pts/ptmx is covered by a FIFO": "mkfifo /fifo; mount --bind /fifo /dev/pts/ptmx",
  "/dev/pts/ptmx is covered by /dev/zero": "mount --bind /dev/zero /dev/pts/ptmx",
  "/dev/ptmx is a FIFO": "rm /dev/ptmx; mkfifo /dev/ptmx",
  "/dev/pts is another devpts": "mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts",
};

for (const [name, script] of Object.entries(TERMINALS)) {
  it(`exec --tty: where ${name}, it ends in time, with a true terminal or one line`, () =>
    withRuntime(async (runtime) => {
      const id = await hostile(runtime, script, (spec) => grant(spec, "CAP_SYS_ADMIN"));
      const socket = listenForConsole(path.join(runtime.directory, "console"));
      try {
        const result = run(runtime, "exec", "--tty", "--detach", "--console-socket", socket.path, id, "sleep", "1");
        expectOneLine(result);
        if (result.exitCode === 0) closeSync(socket.receiveTerminal());
      } finally {
        socket.close();
      }
    }));
}

for (const [name, script] of Object.entries({
  "a tmpfs": "mount -t tmpfs tmpfs /proc",
  "a fake of what runtimes write to":
    "mkdir -p /fake/self/attr/apparmor /fake/self/fd /fake/sys; : > /fake/self/attr/exec; : > /fake/self/oom_score_adj; mount --bind /fake /proc",
  nothing: "umount -l /proc",
})) {
  it(`exec: with /proc covered by ${name} it works, and its settings are true ones`, () =>
    withRuntime(async (runtime) => {
      const id = await hostile(runtime, script, (spec) => {
        grant(spec, "CAP_SYS_ADMIN");
        spec.process.oomScoreAdj = 300;
      });
      const pidFile = path.join(runtime.directory, "pid");
      const result = run(runtime, "exec", "--detach", "--pid-file", pidFile, id, "sleep", "60");
      expect(result).toMatchObject({ exitCode: 0, stderr: "" });
      const pid = Number(readFileSync(pidFile, "utf8"));
      expect(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8")).toBe("300\n");
      process.kill(pid, "SIGKILL");
    }));
}

/** A container that can write to its own cgroups, as systemd and nested engines are given. */
function ownCgroups(spec: BundleSpec): void {
  grant(spec, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE");
  spec.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["rw"] });
}

itCgroup1Oci("a container that freezes itself: exec is refused in time, kill and delete --force work", () =>
  withRuntime(async (runtime) => {
    const id = await hostile(runtime, ": > /ready; echo FROZEN > /sys/fs/cgroup/freezer/freezer.state", ownCgroups);
    const { pid } = runtime.state(id);
    const cgroup = /freezer:(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1];
    const state = `/sys/fs/cgroup/freezer${cgroup}/freezer.state`;
    await waitFor("it is frozen", () => /FR/.test(readFileSync(state, "utf8")));
    const result = run(runtime, "exec", id, "true");
    expect(result.exitCode).not.toBe(0);
    expectOneLine(result);
    expect(run(runtime, "state", id).exitCode).toBe(0);
    expect(run(runtime, "delete", "--force", id)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(runtime.leftovers()).toEqual([]);
  }),
);

itCgroup1("a container that builds a deep tree of cgroups, some with processes: delete --force removes all of it", () =>
  withRuntime(async (runtime) => {
    const script = `
      cd /sys/fs/cgroup/pids; for i in $(seq 60); do mkdir d$i && cd d$i || break; done
      sleep 100 & echo $! > cgroup.procs
      mkdir '/sys/fs/cgroup/memory/a b' /sys/fs/cgroup/memory/-rf '/sys/fs/cgroup/memory/$(x)'`;
    const id = await hostile(runtime, script, ownCgroups);
    expect(run(runtime, "exec", id, "true")).toMatchObject({ exitCode: 0, stderr: "" });
    expectOneLine(run(runtime, "ps", id));
    expect(run(runtime, "delete", "--force", id)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(runtime.leftovers()).toEqual([]);
  }),
);

it("a container that uses up its pids: exec says so in time, delete --force works", () =>
  withRuntime(async (runtime) => {
    const id = await hostile(runtime, "for i in 1 2 3 4 5 6; do sleep 60 & done 2> /dev/null", (spec) => {
      spec.linux.resources = { ...spec.linux.resources, pids: { limit: 8n } };
    });
    // The seven, and the one that is waited in: exec's own makes it nine.
    const result = run(runtime, "exec", id, "true");
    expectOneLine(result);
    expect(run(runtime, "delete", "--force", id)).toMatchObject({ exitCode: 0, stderr: "" });
  }));

it("a container that stops, blocks and ignores every signal it can: kill KILL and delete --force end it", () =>
  withRuntime(async (runtime) => {
    const traps = "for s in HUP INT QUIT TERM USR1 USR2 CHLD TSTP; do trap '' $s; done; sleep 60 & kill -STOP $!";
    const id = await hostile(runtime, traps);
    expect(run(runtime, "kill", id, "STOP").exitCode).toBe(0);
    expect(run(runtime, "kill", id, "TERM").exitCode).toBe(0);
    expect(run(runtime, "delete", "--force", id)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(runtime.leftovers()).toEqual([]);
  }));

it("names of processes with line breaks, escapes and parentheses do not forge what ps and state say", () =>
  withRuntime(async (runtime) => {
    const script = `cp /bin/busybox "/$(printf 'a) S 1 1\\nb\\033[2J')"; "/$(printf 'a) S 1 1\\nb\\033[2J')" sh -c 'sleep 60' & sleep 0.2; true`;
    const id = await hostile(runtime, script);
    expect(runtime.state(id).status).toBe("running");
    const pids = JSON.parse(run(runtime, "ps", "--format", "json", id).stdout) as number[];
    for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(true);
  }));

it("neighbour: exec into a container that means no harm", () =>
  withRuntime(async (runtime) => {
    const id = await hostile(runtime, "mkdir /work; printf 'root:x:0:0::/work:/bin/sh\\n' > /etc/passwd");
    expect(run(runtime, "exec", "--cwd", "/work", id, "sh", "-c", "pwd; echo $HOME")).toMatchObject({
      exitCode: 0,
      stdout: "/work\n/work\n",
      stderr: "",
    });
  }));
