/** dockerd killed and started again; the runtime as the daemon's default. */
import { expect } from "bun:test";
import { type Docker, dockerSuite, expectSame, IMAGE, type Side, sleepMs } from "./docker.ts";
import { sideNames } from "./sides.ts";

const { same, together } = dockerSuite([`--default-runtime=${sideNames[0]}`]);

/** What a container looks like from outside. */
const stateOf = async (side: Side, name: string) =>
  Object.fromEntries(
    await Promise.all(
      ["Status", "ExitCode", "OOMKilled"].map(async (key) => [key, await side.inspect(name, `.State.${key}`)]),
    ),
  );

together("the default runtime: run, exec and build use it", async ([side], docker) => {
  if (side === undefined) throw new Error("no runtime");
  const name = side.name();
  await docker.ok(["run", "--detach", `--name=${name}`, "--network=none", "--init", IMAGE, "sleep", "1000"]);
  expect(await side.inspect(name, ".HostConfig.Runtime")).toBe(side.runtime);
  expect((await side.cli("exec", name, "sh", "-c", "exit 43")).exitCode).toBe(43);
  const image = `built-${name}`;
  const input = `FROM ${IMAGE}\nRUN id -u > /built && echo $0 >> /built\nRUN ["/bin/cp", "/built", "/again"]\n`;
  try {
    await docker.ok(["build", "--network=none", `--tag=${image}`, "-"], { input });
    expect(await docker.ok(["run", "--rm", `--name=${side.name()}`, image, "cat", "/again"])).toBe("0\n/bin/sh");
    const failed = await docker.cli(["build", "--network=none", "-"], { input: `FROM ${IMAGE}\nRUN exit 7\n` });
    expect(failed.stderr).toContain("returned a non-zero code: 7");
  } finally {
    await docker.cli(["rmi", "--force", image]);
    await docker.cli(["container", "prune", "--force"]);
  }
});

together(
  "killed and started again: containers are ended, by policy started again, and can be used",
  async (all, docker) => {
    const made = await Promise.all(
      all.map(async (side) => ({
        side,
        plain: await side.start([], ["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]),
        always: await side.start(["--restart=always"]),
        ended: await side.start([], ["sh", "-c", "exit 3"]),
      })),
    );
    for (const { side, ended } of made) await side.until(ended, ".State.Status", "exited");
    await docker.end("SIGKILL");
    await sleepMs(200);
    await docker.begin();
    const results = await Promise.all(
      made.map(async ({ side, plain, always, ended }) => {
        await side.until(always, ".State.Status", "running");
        await side.until(plain, ".State.Status", "exited");
        const states = [await stateOf(side, plain), await stateOf(side, ended)];
        expect((await side.cli("exec", always, "sh", "-c", "exit 9")).exitCode).toBe(9);
        await side.ok("start", plain);
        expect((await side.cli("exec", plain, "true")).exitCode).toBe(0);
        await side.ok("rm", "--force", plain, always, ended);
        return states;
      }),
    );
    expectSame(results);
    await docker.isClean();
  },
  120_000,
);

together(
  "stopped and started again: containers are stopped, by policy started again",
  async (all, docker) => {
    const made = await Promise.all(
      all.map(async (side) => ({
        side,
        plain: await side.start([], ["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]),
        always: await side.start(["--restart=unless-stopped"]),
        paused: await side.start(),
      })),
    );
    for (const { side, paused } of made) await side.ok("pause", paused);
    await docker.end("SIGTERM");
    await docker.begin();
    const results = await Promise.all(
      made.map(async ({ side, plain, always, paused }) => {
        await side.until(always, ".State.Status", "running");
        return [await stateOf(side, plain), await stateOf(side, paused)];
      }),
    );
    expectSame(results);
  },
  120_000,
);

/**
 * Ends what the engine has lost: a dockerd that dies between a shim's start and the note of it never asks for that shim
 * again, whatever the runtime. Such a shim is still there, and `delete --force` removes everything of its container; runc
 * that was killed in `create` leaves cgroups, so it is helped.
 */
async function endOrphans(docker: Docker, made: Map<string, string>): Promise<void> {
  const left = docker.leftovers();
  const shims = left.filter((line) => line.includes("containerd-shim")).join("\n");
  const ids = new Set(left.flatMap((line) => line.match(/[0-9a-f]{64}/)?.[0] ?? []));
  for (const pid of docker.shims()) process.kill(pid, "SIGKILL");
  for (const id of ids) {
    const runtime = made.get(id);
    if (runtime === undefined) throw new Error(`nobody made ${id}, of which there is:\n${left.join("\n")}`);
    await docker.nest.ok([docker.runtimePath(runtime), "--root", docker.runtimeRoot, "delete", "--force", id]);
    if (runtime === "runc") docker.nest.removeCgroups(id);
    else expect(shims).toContain(`-id\0${id}`);
  }
}

for (const delayMs of [100, 300, 600, 900]) {
  together(
    `killed ${delayMs} ms after many containers were begun: all can be removed, nothing stays`,
    async (all, docker) => {
      const runs = all.flatMap((side) =>
        Array.from({ length: 6 }, () =>
          docker.cli(side.runArgs(["--detach", `--name=${side.name()}`, "--init", IMAGE, "sleep", "1000"])),
        ),
      );
      await sleepMs(delayMs);
      await docker.end("SIGKILL");
      await Promise.all(runs);
      await docker.begin();
      const made = new Map<string, string>();
      for (const side of all) {
        for (const id of await side.ids()) made.set(id, side.runtime);
        await side.close();
      }
      expect(await docker.ok(["ps", "--all", "--quiet"])).toBe("");
      await docker.isClean().catch(() => endOrphans(docker, made));
      await docker.isClean();
    },
    120_000,
  );
}

same("after all that, a container runs as before", async (side) => {
  const { exitCode, stdout } = await side.run([], ["sh", "-c", "echo fine; exit 11"]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 11, stdout: "fine\n" });
});
