/** docker run: exit codes, streams, terminals, the process's settings. */
import { expect } from "bun:test";
import { dockerSuite, FOLLOW_SIZE, IMAGE } from "./docker.ts";

const { same } = dockerSuite();

same("run: gives the program's exit code, 128 and the signal when a signal ended it", async (side) => {
  const scripts = ["exit 0", "exit 1", "exit 42", "exit 125", "exit 255", "kill -TERM $$", "kill -KILL $$"];
  const codes = await Promise.all(
    scripts.map(async (script) => (await side.run(["--init"], ["sh", "-c", script])).exitCode),
  );
  expect(codes).toEqual([0, 1, 42, 125, 255, 143, 137]);
});

same("run: gives 127 for a program that is not there", async (side) => {
  for (const program of ["nope", "/bin/nope"]) {
    const { exitCode, stdout, stderr } = await side.run([], [program]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 127, stdout: "" });
    expect(stderr).toMatch(/executable file not found in \$PATH|no such file or directory/);
  }
});

same("run: gives 126 for a program that cannot be executed", async (side) => {
  const file = await side.run([], ["/etc/passwd"]);
  expect(file).toMatchObject({ exitCode: 126, stdout: "" });
  expect(file.stderr).toContain("permission denied");
  const directory = await side.run([], ["/etc"]);
  expect(directory).toMatchObject({ exitCode: 126, stdout: "" });
  // runc 1.1.5 says the latter, newer ones the former.
  expect(directory.stderr).toMatch(/is a directory|permission denied/);
});

same("run: gives 125 for what the engine or the runtime refuse", async (side) => {
  const results = await Promise.all([
    side.run(["--memory=1"], ["true"]),
    side.run(["--sysctl=kernel.nope=1"], ["true"]),
    side.run(["--volume=/proc/self/nope:/data:nope"], ["true"]),
  ]);
  return results.map(({ exitCode, stdout }) => ({ exitCode, stdout }));
});

same("run: a container that failed to start leaves nothing that the next start stumbles over", async (side) => {
  const name = side.name();
  const args = side.runArgs([`--name=${name}`, "--network=none", IMAGE, "/data/program"]);
  expect((await side.docker.cli(args)).exitCode).toBe(127);
  expect((await side.cli("start", name)).exitCode).not.toBe(0);
  expect((await side.cli("start", name)).exitCode).not.toBe(0);
  return await side.inspect(name, ".State.ExitCode");
});

same("run: keeps both output streams apart and reads stdin to its end", async (side) => {
  const script = "cat; echo err >&2; head -c 100000 /dev/zero | tr '\\0' x";
  const result = await side.run(["-i"], ["sh", "-c", script], { input: "line 1\nline 2" });
  expect(result.stdout).toBe(`line 1\nline 2${"x".repeat(100_000)}`);
  expect(result.stderr).toBe("err\n");
});

same("run -d: prints the id, and the container goes on", async (side) => {
  const name = side.name();
  const args = side.runArgs(["--detach", `--name=${name}`, "--network=none", IMAGE, "sleep", "1000"]);
  const id = await side.docker.ok(args);
  expect(id).toBe(await side.inspect(name, ".Id"));
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  expect(await side.inspect(name, ".State.Status")).toBe("running");
  const pid = Number(await side.inspect(name, ".State.Pid"));
  return await side.docker.nest.ok(["cat", `/proc/${pid}/comm`]);
});

same("run --rm: the container is gone when it has ended", async (side) => {
  const name = side.name();
  await side.docker.ok(side.runArgs(["--rm", `--name=${name}`, "--network=none", IMAGE, "true"]));
  const { exitCode, stderr } = await side.cli("inspect", name);
  return [exitCode, stderr.includes("No such object")];
});

same("run -it: a terminal that follows the size of the user's, whose end is the program's", async (side) => {
  const flags = ["--rm", "-it", `--name=${side.name()}`, "--network=none", IMAGE];
  const terminal = side.terminal(side.runArgs([...flags, "sh", "-c", FOLLOW_SIZE]), 33, 77);
  await terminal.shows("\r\nit was 33 77\r\n");
  terminal.resize(40, 111);
  await terminal.shows("it is 40 111\r\n");
  terminal.type("7\n");
  expect(await terminal.close()).toBe(7);
  expect(terminal.shown).toStartWith("/dev/pts/0\r\n");
});

same("run -it: a shell that is typed to, with job control", async (side) => {
  const args = side.runArgs(["--rm", "-it", `--name=${side.name()}`, "--network=none", IMAGE]);
  const terminal = side.terminal(args, 24, 80);
  await terminal.shows("# ");
  terminal.type("echo $((40 + 2)); sleep 1000\n");
  await terminal.shows("42\r\n");
  await new Promise((resolve) => setTimeout(resolve, 100)); // sleep has the foreground
  terminal.type("\u0003");
  await terminal.shows(/\^C[\s\S]*# /);
  terminal.type("echo code $?\n");
  await terminal.shows("code 130");
  terminal.type("exit 9\n");
  expect(await terminal.close()).toBe(9);
  expect(terminal.shown).not.toContain("job control turned off");
});

same("run -t: output of a program that ends at once is complete", async (side) => {
  const args = side.runArgs(["--rm", "-t", `--name=${side.name()}`, "--network=none", IMAGE, "seq", "3000"]);
  const { exitCode, stdout } = await side.docker.cli(args);
  expect(exitCode).toBe(0);
  expect(stdout.split("\r\n").slice(0, -1)).toEqual(Array.from({ length: 3000 }, (_, i) => String(i + 1)));
});

same("run --init: tini is PID 1 and reaps", (side) =>
  side.sh("cat /proc/1/comm; (sleep 0.1 &); sleep 0.3; ps -o pid,comm,stat | grep -c Z", "--init").catch(String),
);

same("run: environment, working directory, entry point, host name", async (side) => {
  const flags = ["-e", "A=b c", "-e", "HOME=/x", "-w", "/made/here", "--hostname=box", "--domainname=example.test"];
  const text = await side.sh(
    "env | grep -v '^HOSTNAME' | sort; pwd; hostname; cat /proc/sys/kernel/domainname",
    ...flags,
  );
  const entry = await side.run(["--entrypoint=echo"], ["-n", "an argument  with spaces", ""]);
  return [text, entry.stdout];
});

same("run --user: by name, by number, with groups, unknown", async (side) => {
  const id = "id; echo $HOME";
  const texts = await Promise.all([
    side.sh(id, "--user=nobody"),
    side.sh(id, "--user=1234"),
    side.sh(id, "--user=1234:4321"),
    side.sh(id, "--user=1234:4321", "--group-add=77", "--group-add=nobody"),
    side.sh(id, "--user=root"),
  ]);
  const { exitCode, stderr } = await side.run(["--user=unknown"], ["true"]);
  expect(stderr).toContain("no matching entries in passwd file");
  return [texts, exitCode];
});

same("run --ulimit: soft and hard limits", (side) =>
  side.sh(
    "ulimit -n; ulimit -Hn; ulimit -c; ulimit -Ht",
    "--ulimit=nofile=100:200",
    "--ulimit=core=0",
    "--ulimit=cpu=50:60",
  ),
);

same("run: a limit above the daemon's is refused or set like the reference", async (side) => {
  const { exitCode, stdout } = await side.run(["--ulimit=nofile=100:99999999"], ["sh", "-c", "ulimit -Hn"]);
  return { exitCode, stdout };
});

same("run --oom-score-adj: of the program and what it starts", async (side) => {
  const up = await side.sh("cat /proc/self/oom_score_adj /proc/1/oom_score_adj", "--oom-score-adj=500");
  const down = await side.run(["--oom-score-adj=-500"], ["cat", "/proc/self/oom_score_adj"]);
  return [up, down.exitCode, down.stdout];
});

same("run --sysctl: of the container's namespaces", (side) =>
  side.sh(
    "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max",
    "--sysctl=net.ipv4.ip_forward=1",
    "--sysctl=kernel.shmmax=1000000",
    "--sysctl=fs.mqueue.msg_max=13",
  ),
);

same(
  "run: 30 containers at the same time",
  async (side) => {
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, i) => side.run([], ["sh", "-c", `echo ${i}; exit ${i}`], { timeoutMs: 100_000 })),
    );
    expect(results.map(({ exitCode, stdout, stderr }) => [exitCode, stdout, stderr])).toEqual(
      Array.from({ length: 30 }, (_, i) => [i, `${i}\n`, ""]),
    );
  },
  120_000,
);
