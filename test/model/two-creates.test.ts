/** Two creates of one id at the same moment: one wins, and the loser touches nothing of the winner's. */
import { afterAll, beforeAll, expect } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { cgroupPids } from "../../sandbox/cgroups/members.ts";
import { spawnHelper, waitPid } from "../../specutils/syscall.ts";
import { statePath } from "../../statefile/names.ts";
import { adoptOrphans, reapOrphans } from "../faults/orphans.ts";
import { claimsOf } from "../helpers/claims.ts";
import { isSandboxed } from "../helpers/level.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox", "cgroup1", "cloche");

const ROUNDS = 200;

beforeAll(() => adoptOrphans());
afterAll(() => reapOrphans());

/** What `create` of one id from two bundles at once comes to. Each has a pid file of its own, or both have the same. */
function race(
  runtime: Runtime,
  id: string,
  bundles: string[],
  pidFiles: string[],
): { exitCode: number; stderr: string }[] {
  const nobody = openSync("/dev/null", "r+");
  const children = bundles.map((bundle, index) => {
    const file = path.join(runtime.directory, `err-${index}`);
    const err = openSync(file, "w", 0o600);
    const options = ["--root", runtime.root, "create", "--bundle", bundle, "--pid-file", pidFiles[index] ?? "", id];
    const pid = spawnHelper(
      runtimePath(),
      [runtimePath(), ...options],
      [],
      [
        [0, nobody],
        [1, nobody],
        [2, err],
      ],
    );
    closeSync(err);
    return { pid, file };
  });
  closeSync(nobody);
  return children.map(({ pid, file }) => {
    const { exitCode = -1 } = waitPid(pid) ?? {};
    return { exitCode, stderr: readFileSync(file, "utf8") };
  });
}

it(
  `${ROUNDS} rounds: one wins, the other says that it exists and has changed nothing`,
  () =>
    withRuntime(async (runtime) => {
      const bundles = [0, 1].map(() =>
        runtime.bundle((spec) => {
          spec.process.args = ["sleep", "600"];
        }),
      );
      const wins = [0, 0];
      for (let round = 0; round < ROUNDS; round++) {
        const id = runtime.id();
        const shared = path.join(runtime.directory, `${id}.pid`);
        const pidFiles = round % 2 === 0 ? [`${shared}.0`, `${shared}.1`] : [shared, shared];
        const ends = race(runtime, id, bundles, pidFiles);
        const winner = ends.findIndex(({ exitCode }) => exitCode === 0);
        const loser = 1 - winner;
        expect(ends[winner]).toEqual({ exitCode: 0, stderr: "" });
        expect(ends[loser]).toEqual({
          exitCode: 1,
          stderr: `cannot create container "${id}": container with given ID already exists\n`,
        });
        wins[winner] = (wins[winner] ?? 0) + 1;

        const record = JSON.parse(readFileSync(statePath(runtime.root, id, id), "utf8"));
        expect(record).toMatchObject({ id, status: "created", bundle: bundles[winner] });
        const { pid } = runtime.state(id);
        expect(readFileSync(pidFiles[winner] ?? "", "utf8")).toBe(String(pid));
        if (pidFiles[loser] !== pidFiles[winner]) expect(existsSync(pidFiles[loser] ?? "")).toBe(false);
        expect(cgroupPids(record.cgroup)).toEqual([pid]);
        expect(readdirSync(runtime.root).sort()).toEqual(
          [".seccomp", `${id}_${id}.exit`, `${id}_${id}.state`, path.basename(record.startSocket)]
            .filter((name) => name !== ".seccomp" || existsSync(path.join(runtime.root, name)))
            .sort(),
        );
        runtime.ok(["start", id]);
        runtime.ok(["delete", "--force", id]);
        reapOrphans();
      }
      // Or the two have not met.
      expect(Math.min(...wins)).toBeGreaterThan(0);
      await waitFor("nothing is left", () => {
        reapOrphans();
        return runtime.leftovers().length === 0;
      });
    }),
  180_000,
);

it("a create that fails since it was deleted leaves the container alone that has got its id meanwhile", () =>
  withRuntime(async (runtime) => {
    const [begun = "", gate = "", poststop = ""] = ["begun", "gate", "poststop"].map((name) =>
      path.join(runtime.directory, name),
    );
    const slow = runtime.bundle((spec) => {
      const script = `touch ${begun}; until [ -e ${gate} ]; do sleep 0.02; done`;
      const hook = (text: string) => [{ path: "/bin/sh", args: ["sh", "-c", text], env: ["PATH=/bin:/usr/bin"] }];
      spec.hooks = { createRuntime: hook(script), poststop: hook(`echo poststop >> ${poststop}`) };
    });
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sleep", "600"];
    });
    const id = runtime.id();
    const pidFile = path.join(runtime.directory, "pid");
    const failing = runtime.spawn(["create", "--bundle", slow, "--pid-file", pidFile, id]);
    const ended = new Promise((resolve) => failing.on("exit", resolve));
    await waitFor("it waits for its hook", () => existsSync(begun));
    runtime.ok(["delete", "--force", id]);
    runtime.ok(["create", "--bundle", bundle, "--pid-file", pidFile, id]);
    const before = runtime.state(id);
    const ids = claimsOf(runtime);
    expect(ids).toHaveLength(isSandboxed() ? 1 : 0);
    writeFileSync(gate, "");
    expect(await ended).toBe(1);
    expect(runtime.state(id)).toEqual(before);
    expect(readFileSync(pidFile, "utf8")).toBe(String(before.pid));
    expect(claimsOf(runtime)).toEqual(ids);
    expect(readFileSync(poststop, "utf8")).toBe("poststop\n");
    runtime.ok(["start", id]);
    expect(runtime.state(id)).toMatchObject({ status: "running", pid: before.pid, bundle });
  }));
