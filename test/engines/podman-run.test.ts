/** podman run as root: exit codes, streams, terminals, descriptors, user namespaces, limits, and what the program sees. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { installFixture } from "../helpers/fixture-program.ts";
import { waitFor } from "../helpers/runtime.ts";
import { byDesign, type Change, confinement, ownInSandbox } from "./by-design.ts";
import { FOLLOW_SIZE } from "./docker.ts";
import { IMAGE, podmanSuite } from "./podman.ts";

const { same, only } = podmanSuite({ needed: ["gcc"] });

same("run: gives the program's exit code, 128 and the signal when a signal ended it", async (side) => {
  const scripts = ["exit 0", "exit 42", "exit 125", "exit 255", "kill -TERM $$", "kill -KILL $$"];
  const codes = await Promise.all(
    scripts.map(async (script) => (await side.run(["--init"], ["sh", "-c", script])).exitCode),
  );
  expect(codes).toEqual([0, 42, 125, 255, 143, 137]);
});

same("run: gives 127 for a program that is not there, 126 for one that cannot be executed", async (side) => {
  for (const program of ["nope", "/bin/nope"]) {
    const { exitCode, stderr } = await side.run([], [program]);
    expect(stderr).toMatch(/executable file not found in \$PATH|no such file or directory/);
    expect(exitCode).toBe(127);
  }
  for (const program of ["/etc/passwd", "/etc"]) {
    const { exitCode, stderr } = await side.run([], [program]);
    expect(stderr).toContain("OCI permission denied");
    expect(exitCode).toBe(126);
  }
});

same("run: a failure is one line", async (side) => {
  const { stderr } = await side.run([], ["nope"]);
  expect(stderr).toMatch(/^Error: [^\n]*OCI runtime attempted to invoke a command that was not found\n$/);
});

same("run: keeps both output streams apart and reads stdin to its end", async (side) => {
  const script = "cat; echo err >&2; head -c 100000 /dev/zero | tr '\\0' x";
  const result = await side.run(["-i"], ["sh", "-c", script], { input: "line 1\nline 2" });
  expect(result.stdout).toBe(`line 1\nline 2${"x".repeat(100_000)}`);
  expect(result.stderr).toBe("err\n");
});

same("run -d: prints the id, and the container goes on; run --rm: it is gone when it has ended", async (side) => {
  const name = side.newName();
  const id = await side.ok("run", "-d", `--name=${name}`, ...side.placement, IMAGE, "sleep", "1000");
  expect(id).toBe(await side.inspect(name, ".Id"));
  expect(await side.inspect(name, ".State.Status")).toBe("running");
  const pid = await side.inspect(name, ".State.Pid");
  expect(await side.podman.nest.ok(["cat", `/proc/${pid}/comm`])).toBe("sleep\n");
  const other = side.newName();
  await side.ok("run", "--rm", `--name=${other}`, ...side.placement, IMAGE, "true");
  return (await side.cli(["container", "exists", other])).exitCode;
});

same("run -it: a terminal that follows the size of the user's, whose end is the program's", async (side) => {
  const args = ["run", "--rm", "-it", `--name=${side.newName()}`, ...side.placement, IMAGE, "sh", "-c", FOLLOW_SIZE];
  const terminal = side.terminal(args, 33, 77);
  await terminal.shows("it was 33 77\r\n");
  terminal.resize(40, 111);
  await terminal.shows("it is 40 111\r\n");
  terminal.type("7\n");
  expect(await terminal.close()).toBe(7);
  expect(terminal.shown).toContain("/dev/pts/0\r\n");
});

same("run --init: PID 1 is podman's init", async (side) => {
  expect(await side.sh("cat /proc/1/comm", "--init")).toStartWith("podman-init\n");
});

same("run --preserve-fds: descriptors from 3 on are the program's, others are closed", async (side) => {
  const file = side.podman.nest.path(`${side.name}-fd`);
  writeFileSync(file, "through fd 3\n");
  const flags = ["--rm", "--preserve-fds=1", `--name=${side.newName()}`, ...side.placement];
  const prefix = ["sh", "-c", 'exec "$@" 3< "$0"', file];
  const args = ["run", ...flags, IMAGE, "sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"];
  const [program = "", ...rest] = side.podman.commandLine(args, side.runtime, {}, prefix);
  return spawnSync(program, rest, { encoding: "utf8", timeout: 30_000 }).stdout;
});

same("run --sdnotify=container: the program's word gets to whoever waits for podman", async (side) => {
  const { nest } = side.podman;
  const files = nest.makeDirectory(`notify-${side.name}`);
  installFixture("notify", files);
  const socket = `${files}/socket`;
  const heard = nest.ok([`${files}/notify`, "listen", socket]);
  await waitFor("somebody listens", () => existsSync(socket));
  const flags = ["--sdnotify=container", `--volume=${files}/notify:/notify`];
  const { exitCode } = await side.run(flags, ["/notify", "READY=1"], { env: { NOTIFY_SOCKET: socket } });
  expect({ exitCode, heard: await heard }).toEqual({ exitCode: 0, heard: expect.stringContaining("READY=1") });
});

same("run --userns, --uidmap: the ids that podman has chosen are mapped", async (side) => {
  const script = "id -u; cat /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x /etc/passwd";
  const auto = await side.sh(script, "--userns=auto:size=1000");
  expect(auto).toMatch(/^0\n\s+0\s+4\d{6}\s+1000\n0\n0\n$/);
  const mapped = await side.sh(script, "--uidmap=0:3000000:5000", "--gidmap=0:3000000:5000");
  expect(mapped).toMatch(/^0\n\s+0\s+3000000\s+5000\n0\n0\n$/);
  return mapped;
});

only("run --cgroups=disabled: the program stays in podman's cgroup", async (side) => {
  const args = ["run", "--rm", "--cgroups=disabled", `--name=${side.newName()}`, IMAGE, "cat", "/proc/self/cgroup"];
  expect(await side.ok(...args)).toBe((await side.podman.nest.ok(["cat", "/proc/self/cgroup"])).trimEnd());
});

same("run --cgroups=split: the program's cgroup is below podman's own", async (side) => {
  const own = `${side.podman.nest.cgroupParent}-split-${side.name}`;
  const script = `set -e
    for mount in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts); do
      mkdir -p $mount$0
      for file in cpuset.cpus cpuset.mems; do test ! -e $mount$0/$file || cat $mount/$file > $mount$0/$file; done
      echo $$ > $mount$0/cgroup.procs
    done
    exec "$@"`;
  const args = [
    "run",
    "--rm",
    "--cgroups=split",
    `--name=${side.newName()}`,
    IMAGE,
    "grep",
    "memory",
    "/proc/self/cgroup",
  ];
  const [program = "", ...rest] = side.podman.commandLine(args, side.runtime, {}, ["sh", "-c", script, own]);
  const { stdout, stderr } = spawnSync(program, rest, { encoding: "utf8", timeout: 30_000 });
  for (const mount of (await side.podman.nest.ok(["sh", "-c", "ls -d /sys/fs/cgroup/*/"]))
    .split("\n")
    .filter(Boolean)) {
    await side.podman.nest.run(["sh", "-c", `find ${mount}${own} -depth -type d -exec rmdir {} +`]);
  }
  expect({ stdout, stderr }).toEqual({
    stdout: expect.stringMatching(new RegExp(`:${own}/libpod-payload-[0-9a-f]+\n$`)),
    stderr: "",
  });
});

same("run: limits of memory, processors and processes", async (side) => {
  const script =
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/pids/pids.max";
  const limits = await side.sh(script, "--memory=64m", "--cpus=0.5", "--pids-limit=50");
  expect(limits).toBe("67108864\n50000\n50\n");
});

same("run --memory: what needs more is killed by the kernel", async (side) => {
  const { exitCode } = await side.run(["--memory=16m", "--memory-swap=16m"], ["tail", "/dev/zero"]);
  expect(exitCode).toBe(137);
});

/** What is on an overlay is served, and the nodes of /dev are bound from the host's. */
const ownMounts: Change = (text) => {
  const [before = "", mounts = "", after = ""] = text.split(/^((?:\/\S* \w+\n)+)/m);
  const nodes = ["full", "null", "random", "tty", "urandom", "zero"].map((name) => `/dev/${name} devtmpfs`);
  const lines = [
    ...mounts
      .trimEnd()
      .replace(/^\/ overlay$/m, "/ fuse")
      .split("\n"),
    ...nodes,
  ].sort();
  return `${before}${lines.join("\n")}\n${after}`;
};

same("run: the program sees the same whatever the runtime", async (side) => {
  const script = `grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status
    ulimit -n; umask; id; hostname; pwd; cat /proc/self/oom_score_adj
    cut -d' ' -f2,3 /proc/mounts | grep -v '^/proc/' | sort; ls -l /dev | awk '{ print $1, $NF }'; env | sort | grep -v ^container`;
  const flags = ["--hostname=seen", "--user=1000:50", "--group-add=77", "--cap-add=NET_ADMIN", "--cap-drop=CHOWN"];
  flags.push(
    "--ulimit=nofile=100:200",
    "--ulimit=nproc=100:200",
    "--umask=077",
    "--workdir=/tmp",
    "--env=A=b c",
    "--oom-score-adj=5",
  );
  flags.push("--security-opt=no-new-privileges", "--tmpfs=/data:size=1m", "--read-only", "--shm-size=1m");
  return byDesign(side.name, await side.sh(script, ...flags), ownMounts);
});

same("run --privileged: all capabilities and the machine's devices", async (side) => {
  const script = "grep -E '^(Cap|Seccomp:)' /proc/self/status; ls /dev | sort | grep -v -E '^(tty|vcs|pts)'";
  const text = await side.sh(script, "--privileged");
  // In a sandbox they are capabilities over what is in it, and of the devices there are those that everybody may open.
  const capabilities = byDesign(side.name, text.replace(/(Seccomp:\t\d\n)[\s\S]*/, "$1"), confinement);
  const devices = ownInSandbox(side.name, text, () => {
    expect(text).toContain("\nnull\n");
    expect(text).not.toMatch(/^(mem|kvm|loop0|vda|sda)$/m);
  });
  return [capabilities, devices];
});

same("run -v: directories, files, named volumes and devices of the host", async (side) => {
  const directory = side.podman.nest.makeDirectory(`volume-${side.name}`);
  writeFileSync(`${directory}/file`, "on the host\n");
  const volumes = [`${directory}:/data`, `${directory}:/ro:ro`, `${directory}/file:/file`, `${side.newName()}:/named`];
  const output = await side.sh(
    "echo inside > /data/new; touch /ro/x 2>&1; cat /file; touch /named/x && ls /named; stat -c %F /dev/null2",
    ...volumes.map((volume) => `--volume=${volume}`),
    "--device=/dev/null:/dev/null2",
  );
  expect(await side.podman.nest.ok(["cat", `${directory}/new`])).toBe("inside\n");
  return output;
});

same("run: OCI hooks of podman's are run, with the container's state", async (side) => {
  const mark = side.podman.nest.path(`hook-${side.name}`);
  const hooks = side.podman.nest.makeDirectory(`hooks-${side.name}`);
  const hook = { version: "1.0.0", when: { always: true }, stages: ["createRuntime", "poststop"] };
  const args = ["sh", "-c", `grep -o '"status": *"[a-z]*"' | tr -d ' ' >> ${mark}`];
  writeFileSync(`${hooks}/hook.json`, JSON.stringify({ ...hook, hook: { path: "/bin/sh", args } }));
  const name = side.newName();
  const run = ["--hooks-dir", hooks, "run", "--rm", `--name=${name}`, ...side.placement, IMAGE, "true"];
  expect((await side.cli(run)).exitCode).toBe(0);
  return await side.podman.nest.ok(["cat", mark]);
});

only("run --runtime cloche: by its name in the configuration, with a flag of the runtime's", async (side) => {
  const { podman } = side;
  const run = ["run", "--rm", `--name=${side.newName()}`, ...side.placement, IMAGE, "echo", "by name"];
  expect(await podman.ok(run, "cloche")).toBe("by name");
  const flagged = await podman.cli(["--runtime-flag", "debug", ...run], "cloche");
  expect(flagged).toMatchObject({ exitCode: 0, stdout: "by name\n" });
});

same("run: ten at a time", async (side) => {
  const outputs = await Promise.all(Array.from({ length: 10 }, (_, index) => side.sh(`echo ${index}; exit 0`)));
  expect(outputs).toEqual(outputs.map((_, index) => `${index}\n`));
});
