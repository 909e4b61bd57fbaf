/** docker exec, cp, top, commit, diff: what is done to a running container. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { byDesign, confinement, ownInSandbox } from "./by-design.ts";
import { dockerSuite, FOLLOW_SIZE, IMAGE } from "./docker.ts";

const { same } = dockerSuite();

same("exec: exit codes, streams, stdin", async (side) => {
  const name = await side.start();
  const commands = [
    ["true"],
    ["sh", "-c", "exit 42"],
    ["sh", "-c", "kill -KILL $$"],
    ["/nope"],
    ["/etc/passwd"],
    ["/etc"],
  ];
  const codes = await Promise.all(commands.map(async (args) => (await side.cli("exec", name, ...args)).exitCode));
  // This engine knows 126 only, for whatever fails to start.
  expect(codes).toEqual([0, 42, 137, 126, 126, 126]);
  const missing = await side.cli("exec", name, "nope");
  expect(missing.stdout + missing.stderr).toMatch(/executable file not found in \$PATH|no such file or directory/);
  const result = await side.docker.cli(["exec", "-i", name, "sh", "-c", "cat; echo err >&2"], { input: "some\ninput" });
  expect(result).toMatchObject({ stdout: "some\ninput", stderr: "err\n", exitCode: 0 });
});

same("exec -u -w -e --privileged: the process's settings", async (side) => {
  const name = await side.start(["-e", "FROM_RUN=1", "--cap-drop=CHOWN"]);
  const script =
    "id -u; id -g; pwd; echo $FROM_RUN $FROM_EXEC $HOME; grep Cap /proc/self/status; grep NoNew /proc/self/status";
  const texts = await Promise.all([
    side.ok("exec", name, "sh", "-c", script),
    side.ok("exec", "-u", "nobody", "-w", "/tmp", "-e", "FROM_EXEC=2", name, "sh", "-c", script),
    side.ok("exec", "-u", "12:34", name, "sh", "-c", script),
  ]);
  // Where the daemon lacks a capability, as the reference does; in a user namespace of one's own all can be had.
  const { exitCode, stdout } = await side.cli("exec", "--privileged", name, "sh", "-c", script);
  const privileged = ownInSandbox(side.runtime, exitCode === 0 ? stdout : exitCode, (seen) =>
    expect(seen).toMatch(/^0\n0\n\/\n1 \/root\n[\s\S]*CapEff:\t0{5,6}(3|1f)f{9}\n[\s\S]*NoNewPrivs:\t1\n$/),
  );
  const nowhere = await side.cli("exec", "-w", "/nope", name, "true");
  return [texts.map((text) => byDesign(side.runtime, text, confinement)), privileged, nowhere.exitCode];
});

same("exec -it: a terminal that follows the size of the user's", async (side) => {
  const name = await side.start();
  const terminal = side.terminal(["exec", "-it", name, "sh", "-c", FOLLOW_SIZE], 33, 77);
  await terminal.shows("\r\nit was 33 77\r\n");
  terminal.resize(40, 111);
  await terminal.shows("it is 40 111\r\n");
  terminal.type("9\n");
  expect(await terminal.close()).toBe(9);
  expect(terminal.shown).toMatch(/^\/dev\/pts\/\d\r\n/);
});

same("exec: in the container's namespaces and cgroup, ended with it", async (side) => {
  const name = await side.start(["--memory=64m"]);
  await side.ok("exec", "-d", name, "sleep", "777");
  const script =
    "for n in pid net ipc uts mnt; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
  expect(await side.ok("exec", name, "sh", "-c", script)).toBe("");
  expect(await side.ok("exec", name, "sh", "-c", "cmp /proc/1/cgroup /proc/self/cgroup")).toBe("");
  const top = await side.ok("top", name, "-o", "pid,args");
  expect(top).toContain("sleep 777");
  await side.ok("kill", name);
  const { exitCode, stderr } = await side.cli("exec", name, "true");
  expect(stderr).toContain("is not running");
  return exitCode;
});

same(
  "exec: 50 at the same time",
  async (side) => {
    const name = await side.start();
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        side.docker.cli(["exec", name, "sh", "-c", `echo ${i}; exit ${i}`], { timeoutMs: 100_000 }),
      ),
    );
    expect(results.map(({ exitCode, stdout, stderr }) => [exitCode, stdout, stderr])).toEqual(
      Array.from({ length: 50 }, (_, i) => [i, `${i}\n`, ""]),
    );
  },
  120_000,
);

same("top: host pids of the container's processes, with ps's columns", async (side) => {
  const name = await side.start([], ["sh", "-c", "sleep 901 & sleep 902"]);
  await side.until(name, ".State.Status", "running");
  const rows = (await side.ok("top", name, "-o", "pid,comm")).split("\n").slice(1);
  for (const row of rows) {
    const [pid = "", comm = ""] = row.trim().split(/\s+/);
    expect((await side.docker.nest.ok(["cat", `/proc/${pid}/comm`])).trim()).toBe(comm);
  }
  return rows.map((row) => row.trim().split(/\s+/)[1]).sort();
});

same("cp: both ways, files and directories, running and stopped", async (side) => {
  const name = await side.start(["--tmpfs=/scratch"]);
  const here = side.docker.nest.makeDirectory(`cp-${name}`);
  mkdirSync(path.join(here, "tree/below"), { recursive: true });
  writeFileSync(path.join(here, "tree/below/file"), "from the host", { mode: 0o640 });
  await side.ok("cp", path.join(here, "tree"), `${name}:/root`);
  const inside = await side.ok(
    "exec",
    name,
    "sh",
    "-c",
    "stat -c '%a %u %n' /root/tree/below/file; cat /root/tree/below/file",
  );
  await side.ok("exec", name, "sh", "-c", "mkdir /out; echo from inside > /out/a; ln -s a /out/b");
  await side.ok("cp", `${name}:/out`, here);
  const copied = readdirSync(path.join(here, "out")).sort();
  const missing = await side.cli("cp", `${name}:/nope`, here);
  await side.ok("kill", name);
  await side.ok("cp", `${name}:/out/a`, path.join(here, "again"));
  return [inside, copied, readFileSync(path.join(here, "again"), "utf8"), missing.exitCode];
});

same("diff and commit: what the container has changed, and an image of it", async (side) => {
  const name = await side.start();
  await side.ok("exec", name, "sh", "-c", "echo new > /made; rm /etc/group; echo more >> /etc/passwd; mkdir -p /a/b");
  const difference = (await side.ok("diff", name)).split("\n").sort();
  const image = `committed-${name}`;
  await side.ok("commit", "--change", "ENV X=y", name, image);
  try {
    expect(await side.inspect(name, ".State.Status")).toBe("running");
    const flags = ["--rm", `--name=${side.name()}`, "--network=none", image];
    const text = await side.docker.ok(side.runArgs([...flags, "sh", "-c", "cat /made; ls /etc /a; echo $X"]));
    return [difference, text];
  } finally {
    await side.cli("rmi", "--force", image);
  }
});

same("export and import: the file system of a container, of which a new one is run", async (side) => {
  const name = await side.start();
  await side.ok("exec", name, "sh", "-c", "echo kept > /kept");
  const archive = side.docker.nest.path(`${name}.tar`);
  await side.ok("export", "--output", archive, name);
  const image = `imported-${name}`;
  await side.ok("import", archive, image);
  try {
    const flags = ["--rm", `--name=${side.name()}`, "--network=none", image];
    return await side.docker.ok(side.runArgs([...flags, "cat", "/kept"]));
  } finally {
    await side.cli("rmi", "--force", image);
  }
});

same("exec: as often as one likes, nothing piles up in the container", async (side) => {
  const name = await side.start();
  for (let i = 0; i < 10; i++) await side.ok("exec", name, "true");
  const rows = (await side.ok("top", name, "-o", "pid,comm")).split("\n").slice(1);
  return rows.map((row) => row.trim().split(/\s+/)[1]).sort();
});

same("build: an image whose commands ran", async (side) => {
  // The builder of this engine takes its own runtime, so this shows only that the other one is not in its way.
  const image = `built-${side.name()}`;
  const file = `FROM ${IMAGE}\nRUN echo built > /built\n`;
  await side.docker.ok(["build", "--quiet", "--network=none", `--tag=${image}`, "-"], { input: file });
  try {
    const flags = ["--rm", `--name=${side.name()}`, "--network=none", image];
    return await side.docker.ok(side.runArgs([...flags, "cat", "/built"]));
  } finally {
    await side.cli("rmi", "--force", image);
  }
});
