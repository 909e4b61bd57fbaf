/** A container's life under docker: stop, kill, pause, restart, restart policies, health checks, logs, attach, wait. */
import { expect } from "bun:test";
import { dockerSuite, IMAGE, sleepMs } from "./docker.ts";

const { same } = dockerSuite();

/** Ends with 17 on SIGTERM, says "usr1" on SIGUSR1 and "tick" all the time to a file. */
const TRAPPING = [
  "sh",
  "-c",
  "trap 'echo term; exit 17' TERM; trap 'echo usr1' USR1; echo ready; while :; do date +%N > /tick; sleep 0.05; done",
];

same("stop: SIGTERM first, SIGKILL after the time, --stop-signal", async (side) => {
  const [polite, stubborn, other] = await Promise.all([
    side.startLogged("ready", ["--init=false"], TRAPPING),
    side.startLogged("ready", ["--init=false"], ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"]),
    side.startLogged(
      "ready",
      ["--init=false", "--stop-signal=USR2"],
      ["sh", "-c", "trap 'exit 5' USR2; echo ready; while :; do sleep 0.05; done"],
    ),
  ]);
  await Promise.all([side.ok("stop", "-t", "20", polite, other), side.ok("stop", "-t", "1", stubborn)]);
  const codes = await Promise.all([polite, stubborn, other].map((name) => side.inspect(name, ".State.ExitCode")));
  expect(codes).toEqual(["17", "137", "5"]);
  expect(await side.ok("logs", polite)).toBe("ready\nterm");
});

same("kill -s: by name and number, a signal for the program, the end, and again", async (side) => {
  const name = await side.startLogged("ready", ["--init=false"], TRAPPING);
  await side.ok("kill", "-s", "USR1", name);
  await side.logged(name, "usr1\n");
  await side.ok("kill", "-s", "10", name);
  await side.logged(name, "usr1\nusr1\n");
  await side.ok("kill", name);
  await side.until(name, ".State.Status", "exited");
  expect(await side.inspect(name, ".State.ExitCode")).toBe("137");
  const { exitCode, stderr } = await side.cli("kill", name);
  expect(stderr).toContain("is not running");
  return exitCode;
});

same("pause and unpause: nothing runs meanwhile, exec is refused", async (side) => {
  const name = await side.startLogged("ready", ["--init=false"], TRAPPING);
  await side.ok("pause", name);
  expect(await side.inspect(name, ".State.Status")).toBe("paused");
  const pid = await side.inspect(name, ".State.Pid");
  const tick = () => side.docker.nest.ok(["cat", `/proc/${pid}/root/tick`]);
  const before = await tick();
  await sleepMs(200);
  expect(await tick()).toBe(before);
  const refused = await side.cli("exec", name, "true");
  expect(refused.stderr).toContain("is paused");
  const again = await side.cli("pause", name);
  expect(again.stderr).toContain("already paused");
  await side.ok("unpause", name);
  for (let i = 0; (await tick()) === before; i++) {
    expect(i).toBeLessThan(500);
    await sleepMs(20);
  }
  const twice = await side.cli("unpause", name);
  expect(twice.stderr).toContain("is not paused");
  return [refused.exitCode, again.exitCode, twice.exitCode];
});

same("a paused container can be stopped, killed and removed", async (side) => {
  const [stopped, killed, removed] = await Promise.all([side.start(), side.start(), side.start()]);
  await side.ok("pause", stopped, killed, removed);
  await Promise.all([side.ok("stop", "-t", "1", stopped), side.ok("kill", killed), side.ok("rm", "--force", removed)]);
  await side.until(killed, ".State.Status", "exited");
  expect(await side.inspect(killed, ".State.ExitCode")).toBe("137");
  return [await side.inspect(stopped, ".State.Status"), (await side.cli("inspect", removed)).exitCode];
});

same("restart, and start after the end: the same container, its files kept", async (side) => {
  const name = await side.start([], ["sh", "-c", "date >> /starts; wc -l < /starts; exec sleep 1000"]);
  await side.logged(name, "1\n");
  const before = await side.inspect(name, ".State.Pid");
  await side.ok("restart", "-t", "0", name);
  await side.logged(name, "1\n2\n");
  expect(await side.inspect(name, ".State.Pid")).not.toBe(before);
  await side.ok("stop", "-t", "0", name);
  await side.ok("start", name);
  await side.logged(name, "1\n2\n3\n");
  return await side.inspect(name, ".State.Status");
});

same("restart policies: on-failure ends after its count, always goes on, none after stop", async (side) => {
  const [failing, always, good] = await Promise.all([
    side.start(["--restart=on-failure:2"], ["sh", "-c", "exit 3"]),
    side.start(["--restart=always"], ["sh", "-c", "echo up; sleep 0.3; exit 0"]),
    side.start(["--restart=on-failure:2"], ["true"]),
  ]);
  await side.until(failing, ".RestartCount", "2");
  await side.until(failing, ".State.Status", "exited");
  await side.until(always, ".RestartCount", /^([2-9]|\d\d)/);
  await side.ok("stop", "-t", "0", always);
  expect(await side.inspect(always, ".State.Status")).toBe("exited");
  await sleepMs(300);
  expect(await side.inspect(always, ".State.Status")).toBe("exited");
  return [await side.inspect(failing, ".State.ExitCode"), await side.inspect(good, ".RestartCount")];
});

same("health checks: starting, healthy, unhealthy, by exit code and by time", async (side) => {
  const flags = ["--health-interval=200ms", "--health-retries=1", "--health-timeout=5s"];
  const name = await side.start([...flags, "--health-cmd=test -e /tmp/well || { echo not well; exit 1; }"]);
  await side.until(name, ".State.Health.Status", "unhealthy");
  await side.ok("exec", name, "touch", "/tmp/well");
  await side.until(name, ".State.Health.Status", "healthy");
  const slow = await side.start([
    "--health-interval=200ms",
    "--health-retries=1",
    "--health-timeout=1s",
    "--health-cmd=sleep 30",
  ]);
  await side.until(slow, ".State.Health.Status", "unhealthy");
  const log = JSON.parse(await side.inspect(slow, "json (index .State.Health.Log 0)"));
  return [log.ExitCode, log.Output];
});

same("logs: both streams, --tail, --follow until the end", async (side) => {
  const name = await side.start(
    [],
    ["sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.1; done; exit 4"],
  );
  const followed = await side.cli("logs", "--follow", name);
  expect(followed).toMatchObject({ stdout: "out 1\nout 2\nout 3\n", stderr: "err 1\nerr 2\nerr 3\n" });
  expect(await side.ok("wait", name)).toBe("4");
  // Which stream's line the engine has written last is a matter of chance.
  const last = await side.cli("logs", "--tail=1", name);
  expect(last.stdout + last.stderr).toMatch(/^(out|err) 3\n$/);
});

same("attach: input reaches the program, output comes back, the client ends with its code", async (side) => {
  const name = await side.start(["-i"], ["sh", "-c", 'read line; echo "got $line"; exit 6']);
  const client = side.terminal(["attach", name], 24, 80);
  client.type("some input\n");
  await client.shows("got some input\r\n");
  expect(await client.close()).toBe(6);
});

same("attach on a terminal: keys that detach leave the program running", async (side) => {
  const name = await side.start(["-it"], ["sh", "-c", 'while read line; do echo "got $line"; done']);
  const terminal = side.terminal(["attach", "--detach-keys=ctrl-a,d", name], 24, 80);
  terminal.type("one\n");
  await terminal.shows("got one\r\n");
  terminal.type("\u0001d");
  await terminal.close();
  return await side.inspect(name, ".State.Status");
});

same("run in the foreground: a signal to the client reaches the program", async (side) => {
  const name = side.name();
  const terminal = side.terminal(
    side.runArgs(["--rm", "-i", `--name=${name}`, "--network=none", IMAGE, ...TRAPPING]),
    24,
    80,
  );
  await terminal.shows("ready");
  terminal.signal("SIGTERM");
  expect(await terminal.close()).toBe(17);
});

same("wait, ps and rm: what the engine knows of running and ended containers", async (side) => {
  const name = await side.start();
  const waiting = side.ok("wait", name);
  const filter = ["ps", "--all", "--filter", `name=${name}`, "--format", "{{.State}}"];
  expect(await side.ok(...filter)).toBe("running");
  const refused = await side.cli("rm", name);
  expect(refused.stderr).toContain("cannot remove a running container");
  await side.ok("kill", "-s", "KILL", name);
  expect(await waiting).toBe("137");
  expect(await side.ok(...filter)).toBe("exited");
  await side.ok("rm", name);
  return refused.exitCode;
});

same("create, start -a: the program's output and code", async (side) => {
  const name = side.name();
  const [, ...flags] = side.runArgs([`--name=${name}`, "--network=none", IMAGE, "sh", "-c", "echo hello; exit 8"]);
  await side.ok("create", ...flags);
  expect(await side.inspect(name, ".State.Status")).toBe("created");
  const { exitCode, stdout } = await side.cli("start", "--attach", name);
  return [exitCode, stdout];
});
