/** dockerd with live-restore: containers go on while it is away. */
import { expect } from "bun:test";
import { dockerSuite, expectSame, sleepMs } from "./docker.ts";

const { together } = dockerSuite(["--live-restore"]);

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  together(
    `live-restore across ${signal}: the same processes, exec, logs, stop, and ends meanwhile are known`,
    async (all, docker) => {
      const made = await Promise.all(
        all.map(async (side) => {
          const counting = await side.startLogged(
            "1\n",
            ["--memory=64m"],
            ["sh", "-c", "trap 'exit 6' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"],
          );
          const signs = docker.nest.makeDirectory(`signs-${signal}-${side.runtime}`);
          const waiting = ["sh", "-c", "while [ ! -e /signs/end ]; do sleep 0.05; done; exit 23"];
          const ending = await side.start([`-v=${signs}:/signs:ro`], waiting);
          const paused = await side.start();
          await side.ok("pause", paused);
          return {
            side,
            counting,
            ending,
            paused,
            pid: await side.inspect(counting, ".State.Pid"),
            signs,
          };
        }),
      );
      await docker.end(signal);
      for (const { pid, signs } of made) {
        await docker.nest.ok(["touch", `${signs}/end`]);
        await docker.nest.ok(["test", "-e", `/proc/${pid}`]);
      }
      await sleepMs(500);
      await docker.begin();
      const results = await Promise.all(
        made.map(async ({ side, counting, ending, paused, pid }) => {
          expect(await side.inspect(counting, ".State.Pid")).toBe(pid);
          expect((await side.cli("exec", counting, "sh", "-c", "exit 9")).exitCode).toBe(9);
          await side.until(ending, ".State.Status", "exited");
          const pausedStatus = await side.inspect(paused, ".State.Status");
          await side.cli("unpause", paused);
          await side.ok("exec", paused, "true");
          const lines = (await side.ok("logs", counting)).split("\n").map(Number);
          await side.ok("update", "--memory=80m", "--memory-swap=80m", counting);
          await side.ok("stop", "-t", "10", counting);
          expect(lines.at(-1)).toBeGreaterThan(5);
          return [
            pausedStatus,
            await side.inspect(counting, ".State.ExitCode"),
            await side.inspect(ending, ".State.ExitCode"),
          ];
        }),
      );
      expectSame(results);
    },
    120_000,
  );
}
