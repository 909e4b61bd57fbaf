/** containerd, driven by ctr: every command that takes a container through its life. */
import { expect } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { byDesign, confinement, isSandbox, ownInSandbox } from "./by-design.ts";
import { containerdSuite } from "./containerd.ts";
import type { Ctr } from "./ctr.ts";

const { same } = containerdSuite();

same("run: gives the program's exit code, 128 and the signal when a signal ended it", async (ctr) => {
  const scripts = ["exit 0", "exit 1", "exit 42", "exit 255", "exec tail -f /dev/null & kill -9 $!; wait $!"];
  const codes = await Promise.all(scripts.map(async (script) => (await ctr.run([], ["sh", "-c", script])).exitCode));
  expect(codes).toEqual([0, 1, 42, 255, 137]);
});

same("run: a program that is not there, or may not be executed, is refused with the reason", async (ctr) => {
  const absent = await ctr.run([], ["/nope"]);
  expect(absent.stderr).toMatch(/OCI runtime create failed: .*exec: "\/nope": .*no such file or directory/);
  const unnamed = await ctr.run([], ["nope"]);
  expect(unnamed.stderr).toMatch(/OCI runtime create failed: .*exec: "nope": executable file not found in \$PATH/);
  const refused = await ctr.run([], ["/etc/passwd"]);
  expect(refused.stderr).toMatch(/OCI runtime create failed: .*exec: "\/etc\/passwd": permission denied/);
  return [absent.exitCode, unnamed.exitCode, refused.exitCode];
});

same("run: stdin, stdout and stderr are the caller's", async (ctr) => {
  // ctr run does not tell a container that its input has ended.
  const script = "head -n 1; echo error >&2; exit 3";
  const { exitCode, stdout, stderr } = await ctr.run([], ["sh", "-c", script], { input: "in\n" });
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 3, stdout: "in\n", stderr: "error\n" });
});

same("run --tty: has a terminal of the caller's size, which interrupts the program", async (ctr) => {
  // ctr sets the size a moment after the start.
  const script = `tty; trap 'echo interrupted; exit 9' INT
    until [ "$(stty size 2> /dev/null)" = "33 77" ]; do sleep 0.1; done
    echo sized; while :; do sleep 0.1; done`;
  const { exitCode, output } = await onTerminal(ctr, ctr.runArgs(["--rm", "--tty"], ctr.id(), ["sh", "-c", script]));
  expect(output).toMatch(/^\/dev\/pts\/0\nsized\n(\^C)?interrupted\n/);
  expect(exitCode).toBe(9);
});

/** Runs ctr on a terminal of 33 by 77, and types ^C when it has said "sized". */
async function onTerminal(ctr: Ctr, args: string[]): Promise<{ exitCode: number | null; output: string }> {
  const { nest } = ctr.containerd;
  const file = nest.path(`typescript-${ctr.side.name}`);
  writeFileSync(file, "");
  const words = ctr.containerd.command(args).map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  // script(1) gives ctr a terminal, reads what is typed from its standard input, and ends with ctr's exit code.
  const feed = `(until grep -q sized "$1"; do sleep 0.1; done; printf '\\003'
      for i in $(seq 200); do grep -q interrupted "$1" && break; sleep 0.1; done; sleep 1) |
    script --quiet --flush --return --command "stty rows 33 cols 77; $0" /dev/null > "$1"`;
  const { exitCode } = await nest.run(["sh", "-c", feed, words.join(" "), file]);
  return { exitCode, output: readFileSync(file, "utf8").replaceAll("\r", "") };
}

// Not --uidmap: with it ctr loses --runc-binary, and runs runc.
same("run: what the flags ask for is what the container has", async (ctr) => {
  const inside = async (script: string, ...flags: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await ctr.run(flags, ["sh", "-c", script]);
    return exitCode === 0 ? stdout : `${script}: exit code ${exitCode}: ${stdout}${stderr}`;
  };
  const own = ctr.containerd.nest.path();
  const seen = await Promise.all([
    inside("grep -E 'Cap|NoNewPrivs' /proc/self/status; id"),
    inside("grep CapEff /proc/self/status", "--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_KILL"),
    inside("touch /x || echo refused; touch /dev/shm/x && echo shm", "--read-only"),
    inside("grep Seccomp: /proc/self/status; unshare -m true || echo refused", "--seccomp"),
    inside("pwd; echo $A", "--cwd", "/tmp", "--env", "A=b"),
    inside(
      "ls /mnt/config.toml; touch /mnt/x || echo refused",
      "--mount",
      `type=bind,src=${own},dst=/mnt,options=rbind:ro`,
    ),
    inside("readlink /proc/self/ns/net; ip -o link | wc -l", "--net-host"),
    inside("cat /proc/self/status | grep NoNewPrivs", "--allow-new-privs"),
    inside("ip -o link | wc -l; set -- /proc/[0-9]*; echo $#"),
  ]);
  expect(seen.filter((text) => text.includes(": exit code"))).toEqual([]);
  const privileged = await inside("grep Cap /proc/self/status; ls /dev; mount | grep ' ro,' || true", "--privileged");
  const all = ownInSandbox(ctr.side.name, privileged, () => {
    expect(privileged).toMatch(/CapEff:\t(\w+)\nCapBnd:\t\1\n/);
    // Of the machine's devices those that everybody may open.
    expect(privileged).toContain("\nnull\n");
    expect(privileged).not.toMatch(/^(mem|kvm|loop0|vda|sda)$/m);
  });
  const device = await inside("ls -l /dev/full /dev/fuse; head -c 0 /dev/fuse && echo opened", "--device", "/dev/fuse");
  // In a sandbox it is there if everybody may open it.
  const isOpen = (statSync("/dev/fuse").mode & 0o006) !== 0;
  if (isOpen || !isSandbox(ctr.side.name)) expect(device).toEndWith("opened\n");
  const bound = ownInSandbox(ctr.side.name, device, () => {
    expect(device).toMatch(/^(.*exit code 1: )?crw-rw-rw- +1 nobody +nobody +1, +7 .*\/dev\/full\n/);
    if (!isOpen) expect(device).toContain("ls: /dev/fuse: No such file or directory");
  });
  const withoutNames = [...seen, all, bound].map((text = "") =>
    text.replaceAll(ctr.side.name, "SIDE").replaceAll(/\b[A-Z][a-z]{2} +\d+ \d\d:\d\d\b/g, ""),
  );
  // That new privileges are allowed is not in config.json, where nothing says that they are not.
  const index = seen.findIndex((text) => text.startsWith("NoNewPrivs"));
  return withoutNames.map((text, at) => (at === index ? byDesign(ctr.side.name, text, confinement) : text));
});

same("run: limits are in the container's cgroup", async (ctr) => {
  const flags = ["--memory-limit", "67108864", "--cpu-quota", "20000", "--cpu-period", "100000", "--cpu-shares", "512"];
  const id = await ctr.start(flags);
  const at = (controller: string, file: string) =>
    readFileSync(`/sys/fs/cgroup/${controller}${ctr.containerd.nest.cgroupParent}/${id}/${file}`, "utf8").trim();
  expect([
    at("memory", "memory.limit_in_bytes"),
    at("cpu", "cpu.cfs_quota_us"),
    at("cpu", "cpu.cfs_period_us"),
    at("cpu", "cpu.shares"),
  ]).toEqual(["67108864", "20000", "100000", "512"]);
});

same("run --with-ns: joins the namespaces of another task", async (ctr) => {
  const id = await ctr.start();
  const pid = /\bRUNNING\b/.test(await ctr.okTask("list")) ? await taskPid(ctr, id) : 0;
  const kinds = ["pid", "network", "ipc", "uts"];
  const flags = kinds.flatMap((kind) => ["--with-ns", `${kind}:/proc/${pid}/ns/${kind === "network" ? "net" : kind}`]);
  const script = "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done";
  expect(await ctr.sh(script, ...flags)).toBe((await ctr.exec(id, ["sh", "-c", script])).stdout);
});

/** Pid of a task as containerd sees it. */
async function taskPid(ctr: Ctr, id: string): Promise<string> {
  const lines = (await ctr.okTask("list")).split("\n").map((line) => line.split(/\s+/));
  return lines.find(([name]) => name === id)?.[1] ?? "";
}

same("run --detach, tasks list, kill, delete: the life of a task", async (ctr) => {
  const id = await ctr.start();
  expect(await ctr.status(id)).toBe("RUNNING");
  const early = await ctr.task(["delete", id]);
  expect(early.stderr).toContain("task must be stopped before deletion: running");
  await ctr.okTask("kill", "--signal", "SIGKILL", id);
  await ctr.until(id, "STOPPED");
  const late = await ctr.task(["kill", "--signal", "SIGKILL", id]);
  expect(late.stderr).toContain("process already finished: not found");
  const deleted = await ctr.task(["delete", id]);
  expect(deleted.stderr).toContain("exit with non-zero exit code 137");
  const twice = await ctr.task(["delete", id]);
  expect(twice.stderr).toContain("not found");
  return [early.exitCode, late.exitCode, deleted.exitCode, twice.exitCode];
});

same("run: the same id can be used again at once", async (ctr) => {
  const id = ctr.id();
  for (const code of [1, 2, 3]) {
    const { exitCode } = await ctr.containerd.ctr(ctr.runArgs(["--rm"], id, ["sh", "-c", `exit ${code}`]));
    expect(exitCode).toBe(code);
  }
});

same("kill: a signal that the program handles, by name and number, and one for all processes", async (ctr) => {
  const script = "trap 'exit 21' TERM; trap 'exit 22' USR1; trap 'exit 23' HUP; while :; do sleep 0.1; done";
  const codes = [];
  for (const args of [[], ["--signal", "USR1"], ["--signal", "1"], ["--all", "--signal", "KILL"]]) {
    const id = await ctr.start([], ["sh", "-c", script]);
    await ready(ctr, id);
    await ctr.okTask("kill", ...args, id);
    await ctr.until(id, "STOPPED");
    codes.push(/exit code (\d+)/.exec((await ctr.task(["delete", id])).stderr)?.[1]);
  }
  expect(codes).toEqual(["21", "22", "23", "137"]);
});

/** Waits until the container's first process has a handler for SIGTERM. */
async function ready(ctr: Ctr, id: string): Promise<void> {
  const script = "until grep -q '^SigCgt:.*[4567cdef]...$' /proc/1/status; do sleep 0.05; done";
  expect((await ctr.exec(id, ["sh", "-c", script])).exitCode).toBe(0);
}

same("exec: exit codes, streams, user and directory", async (ctr) => {
  const id = await ctr.start();
  expect((await ctr.exec(id, ["sh", "-c", "exit 7"])).exitCode).toBe(7);
  expect((await ctr.exec(id, ["sh", "-c", "kill -9 $$"])).exitCode).toBe(137);
  const cat = await ctr.exec(id, ["sh", "-c", "cat; echo error >&2"], [], { input: "in\n" });
  expect([cat.stdout, cat.stderr]).toEqual(["in\n", "error\n"]);
  const user = await ctr.exec(id, ["sh", "-c", "pwd; id -u; id -g"], ["--cwd", "/tmp", "--user", "nobody"]);
  expect(user.stdout).toBe("/tmp\n65534\n65534\n");
  const absent = await ctr.exec(id, ["/nope"]);
  expect(absent.stderr).toMatch(/OCI runtime exec failed: .*exec: "\/nope": .*no such file or directory/);
  const refused = await ctr.exec(id, ["/etc/passwd"]);
  expect(refused.stderr).toMatch(/OCI runtime exec failed: .*exec: "\/etc\/passwd": permission denied/);
  return [absent.exitCode, refused.exitCode];
});

same("exec --tty: has a terminal of the caller's size, which interrupts the program", async (ctr) => {
  const id = await ctr.start();
  const script = `tty; trap 'echo interrupted; exit 5' INT
    until [ "$(stty size 2> /dev/null)" = "33 77" ]; do sleep 0.1; done
    echo sized; while :; do sleep 0.1; done`;
  const args = ["tasks", "exec", "--tty", "--exec-id", "terminal", id, "sh", "-c", script];
  const { exitCode, output } = await onTerminal(ctr, args);
  expect(output).toMatch(/^\/dev\/pts\/0\nsized\n(\^C)?interrupted\n/);
  expect(exitCode).toBe(5);
});

same("exec: ten at the same time, and one in the background that kill ends", async (ctr) => {
  const id = await ctr.start();
  const codes = await Promise.all(
    Array.from({ length: 10 }, async (_, code) => (await ctr.exec(id, ["sh", "-c", `exit ${code}`])).exitCode),
  );
  expect(codes).toEqual(Array.from({ length: 10 }, (_, code) => code));
  expect((await ctr.task(["exec", "--detach", "--exec-id", "bg", id, "sleep", "900"])).exitCode).toBe(0);
  const count = async () => (await ctr.okTask("ps", id)).trim().split("\n").length - 1;
  expect(await count()).toBe(2);
  await ctr.okTask("kill", "--exec-id", "bg", "--signal", "KILL", id);
  while ((await count()) > 1) await Bun.sleep(20);
  expect(await ctr.status(id)).toBe("RUNNING");
});

same("ps: lists the processes of the container, exec'd ones with what they are", async (ctr) => {
  const id = await ctr.start([], ["sh", "-c", "sleep 500 & wait"]);
  await ctr.okTask("exec", "--detach", "--exec-id", "listed", id, "sleep", "600");
  const lines = (await ctr.okTask("ps", id)).trim().split("\n").slice(1);
  expect(lines.filter((line) => line.trim().endsWith("-")).length).toBe(2);
  expect(lines.filter((line) => line.includes("ExecID:listed")).length).toBe(1);
  expect(lines.length).toBe(3);
});

same("pause, resume: processes stand still, and the state says so", async (ctr) => {
  const id = await ctr.start();
  await ctr.okTask("pause", id);
  expect(await ctr.status(id)).toBe("PAUSED");
  const twice = await ctr.task(["pause", id]);
  const exec = await ctr.exec(id, ["true"]);
  expect(exec.stderr).toContain("cannot exec in a paused state");
  await ctr.okTask("resume", id);
  expect(await ctr.status(id)).toBe("RUNNING");
  expect((await ctr.exec(id, ["true"])).exitCode).toBe(0);
  const again = await ctr.task(["resume", id]);
  return [twice.exitCode, exec.exitCode, again.exitCode];
});

same("delete --force: of a paused task", async (ctr) => {
  const id = await ctr.start();
  await ctr.okTask("pause", id);
  const kill = await ctr.task(["kill", "--signal", "KILL", id]);
  await ctr.okTask("resume", id).catch(() => {});
  await ctr.until(id, "STOPPED");
  return kill.exitCode;
});

same("metrics: figures of memory, processors and processes", async (ctr) => {
  const id = await ctr.start(["--memory-limit", "67108864"]);
  const metrics = JSON.parse(await ctr.okTask("metrics", "--format", "json", id));
  expect(Number(metrics.memory.usage.limit)).toBe(67108864);
  expect(Number(metrics.memory.usage.usage)).toBeGreaterThan(0);
  expect(Number(metrics.cpu.usage.total)).toBeGreaterThan(0);
  // More than one where the program of runc's that waits for the start is still there.
  expect(Number(metrics.pids.current)).toBeGreaterThan(0);
  return Object.keys(metrics).sort();
});

same("attach: reaches a detached task's streams", async (ctr) => {
  const id = await ctr.start([], ["sh", "-c", "read word; echo got $word; exit 4"]);
  const { exitCode, stdout } = await ctr.task(["attach", id], { input: "hello\n" });
  expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "got hello\n" });
});

same("checkpoint: is refused, and the task goes on", async (ctr) => {
  const id = await ctr.start();
  const { exitCode, stderr } = await ctr.task(["checkpoint", "--image-path", ctr.containerd.nest.path("image"), id]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/not supported by this version of cloche|CRIU version check failed/);
  expect(await ctr.status(id)).toBe("RUNNING");
  expect((await ctr.exec(id, ["true"])).exitCode).toBe(0);
});
