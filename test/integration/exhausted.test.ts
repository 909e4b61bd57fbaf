/**
 * A state root that is full, has no inodes, or is read-only, and a process that may open no more files: what only looks, what kills
 * and what resumes works all the same; everything else works, or says in one line why not and has changed nothing.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { isFrozen } from "../../sandbox/cgroups/freeze.ts";
import { statePath } from "../../statefile/names.ts";
import { adoptOrphans, reapOrphans } from "../faults/orphans.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox", "cgroup1", "cloche");

beforeAll(() => adoptOrphans());
afterAll(() => reapOrphans());

type Status = "created" | "running" | "paused" | "stopped";

/** A state root with a container in each status. */
interface Scene {
  runtime: Runtime;
  root: string;
  bundle: string;
  ids: Record<Status, string>;
}

interface End {
  exitCode: number | null;
  stderr: string;
}

/** Gives `body` containers under a state root on a small tmpfs, and removes everything afterwards. */
async function withScene(body: (scene: Scene) => unknown): Promise<void> {
  await withRuntime(async (runtime) => {
    const root = path.join(runtime.directory, "small");
    mkdirSync(root, { mode: 0o700 });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m,nr_inodes=100,mode=700", "tmpfs", root]);
    try {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sleep", "600"];
      });
      const make = (status: Status) => {
        const id = runtime.id();
        runtime.ok(["create", "--bundle", bundle, id], { root });
        if (status !== "created") runtime.ok(["start", id], { root });
        if (status === "paused") runtime.ok(["pause", id], { root });
        // Nobody has seen its end yet: that is found out, and cannot be saved, when the disk is full.
        if (status === "stopped") runtime.ok(["kill", id, "KILL"], { root });
        return id;
      };
      const ids = {
        created: make("created"),
        running: make("running"),
        paused: make("paused"),
        stopped: make("stopped"),
      };
      const scene = { runtime, root, bundle, ids };
      await waitFor("one has stopped", () => !/"pid": [1-9]/.test(run(scene, ["state", ids.stopped]).stdout));
      try {
        await body(scene);
      } finally {
        if (mountsAt(root) > 1) execFileSync("umount", [root]);
        for (const name of readdirSync(root).filter((file) => file.startsWith("filler"))) rmSync(path.join(root, name));
        runtime.ok(["delete", "--force", ...Object.values(ids)], { root });
        reapOrphans();
      }
      // Filters are kept for the next container.
      expect(readdirSync(root).filter((file) => file !== ".seccomp")).toEqual([]);
    } finally {
      execFileSync("umount", [root]);
    }
  });
}

function mountsAt(directory: string): number {
  return readFileSync("/proc/self/mountinfo", "utf8").split(` ${directory} `).length - 1;
}

function run({ runtime, root }: Scene, args: string[]): End & { stdout: string } {
  return runtime.run(args, { root, timeoutMs: 20_000 });
}

/** What is: the status that is told, and that of the kernel. */
function statusOf(scene: Scene, id: string): string {
  const { exitCode, stdout, stderr } = run(scene, ["state", id]);
  if (exitCode !== 0) return stderr.includes("does not exist") ? "absent" : stderr;
  const { status } = JSON.parse(stdout);
  const { cgroup } = JSON.parse(readFileSync(statePath(scene.root, id, id), "utf8"));
  return isFrozen(cgroup) === (status === "paused") ? status : `${status}, and frozen or not against it`;
}

/** Every command that changes something, the container that it is called on, and what that is then. */
const CHANGES: [command: (id: string) => string[], on: Status, then: string][] = [
  [(id) => ["start", id], "created", "running"],
  [(id) => ["pause", id], "running", "paused"],
  [(id) => ["resume", id], "paused", "running"],
  [(id) => ["update", "--pids-limit", "50", id], "running", "running"],
  [(id) => ["delete", id], "stopped", "absent"],
  [(id) => ["delete", "--force", id], "running", "absent"],
  [(id) => ["delete", id], "created", "absent"],
];

/** Calls each command; one that fails says why, and its container is what it was. Returns those that worked. */
function expectIntact(scene: Scene, reason: RegExp, call: (args: string[]) => End): string[] {
  const worked = expectNoTrace(scene, reason, call) ? ["create"] : [];
  for (const [command, on, then] of CHANGES) {
    const id = scene.ids[on];
    const before = statusOf(scene, id);
    if (before !== on) continue; // What worked before has changed it.
    const args = command(id);
    const { exitCode, stderr } = call(args);
    const what = args.join(" ").replace(` ${id}`, "");
    if (exitCode === 0) worked.push(what);
    else expect(`${what}: ${stderr}`).toMatch(new RegExp(`^${what}: cannot [^\\n]*${reason.source}[^\\n]*\\n$`));
    expect([what, statusOf(scene, id)]).toEqual([what, exitCode === 0 ? then : before]);
  }
  return worked;
}

/** Calls `create`: one that fails says why and leaves nothing. Returns whether it worked. */
function expectNoTrace(scene: Scene, reason: RegExp, call: (args: string[]) => End): boolean {
  const id = scene.runtime.id();
  const files = readdirSync(scene.root).sort();
  const { exitCode, stderr } = call(["create", "--bundle", scene.bundle, id]);
  if (exitCode === 0) {
    run(scene, ["delete", "--force", id]);
  } else {
    expect(stderr).toMatch(new RegExp(`^cannot [^\\n]*${reason.source}[^\\n]*\\n$`));
    expect(readdirSync(scene.root).sort()).toEqual(files);
    const left = scene.runtime.leftovers().filter((line) => line.includes(id) && !line.includes(scene.root));
    expect(left).toEqual([]);
  }
  expect(statusOf(scene, id)).toBe("absent");
  return exitCode === 0;
}

/** What must work whatever the disk is like. */
function expectUsable(scene: Scene): void {
  const { running, stopped, paused, created } = scene.ids;
  for (const args of [
    ["list"],
    ["state", stopped],
    ["ps", running],
    ["kill", running, "0"],
    ["exec", running, "true"],
  ]) {
    const { exitCode, stderr } = run(scene, args);
    expect({ args, exitCode, stderr }).toEqual({ args, exitCode: 0, stderr: "" });
  }
  expect(run(scene, ["kill", stopped, "0"]).stderr).toContain("container not running");
  expect(run(scene, ["resume", paused]).exitCode).toBe(0);
  expect(statusOf(scene, paused)).toBe("running");
  expect(statusOf(scene, created)).toBe("created");
}

function fill(root: string): void {
  const fd = openSync(path.join(root, "filler"), "w");
  try {
    for (;;) writeSync(fd, Buffer.alloc(512));
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
  } finally {
    closeSync(fd);
  }
}

function takeInodes(root: string): void {
  try {
    for (let count = 0; ; count++) writeFileSync(path.join(root, `filler-${count}`), "");
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
  }
}

const CONDITIONS: Record<string, { impose(root: string): void; reason: RegExp; works: string[] }> = {
  "a full disk": {
    impose: fill,
    reason: /no space left on device/,
    // What only removes, and what saves nothing.
    works: ["update --pids-limit 50", "delete", "delete --force", "delete"],
  },
  "no more inodes": { impose: takeInodes, reason: /no space left on device/, works: [] },
  "a read-only state root": {
    // On top, since what is open for writing keeps a mount from becoming read-only.
    impose: (root) => {
      execFileSync("mount", ["--bind", root, root]);
      execFileSync("mount", ["-o", "remount,bind,ro", root]);
    },
    reason: /read-only file system/,
    works: [],
  },
};

for (const [name, { impose, reason, works }] of Object.entries(CONDITIONS)) {
  it(`${name}: what fails says so and changes nothing; looking, killing and resuming work`, () =>
    withScene((scene) => {
      impose(scene.root);
      expectUsable(scene);
      // `resume` has worked, so its container is not paused any more.
      expect(expectIntact(scene, reason, (args) => run(scene, args))).toEqual(works);
      expect(run(scene, ["list", "--quiet"]).exitCode).toBe(0);
    }));
}

it("a full disk: how a container ends is known all the same", () =>
  withScene(async (scene) => {
    const { runtime, root } = scene;
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "until [ -e /dev/shm/go ]; do sleep 0.02; done; exit 7"];
    });
    const id = runtime.id();
    runtime.ok(["run", "--detach", "--bundle", bundle, id], { root });
    const { sandbox } = JSON.parse(readFileSync(statePath(root, id, id), "utf8"));
    fill(root);
    runtime.ok(["exec", id, "touch", "/dev/shm/go"], { root });
    // Nobody looks before the container process has been waited for, which is what the sandbox process waits for.
    await waitFor("its sandbox process has ended", () => {
      reapOrphans();
      return !existsSync(`/proc/${sandbox.pid}`);
    });
    expect(JSON.parse(run(scene, ["state", id]).stdout).exit).toMatchObject({ exitCode: 7 });
    expect(run(scene, ["wait", id]).stdout).toBe("7\n");
    expect(run(scene, ["delete", id]).exitCode).toBe(0);
  }));

it("no more files may be opened: each command works or says so, and changes nothing then", () =>
  withScene((scene) => {
    const worked = new Set<string>();
    // With fewer than five the engine of JavaScript does not get as far as to us.
    for (let limit = 5; limit <= 16; limit++) {
      const call = (args: string[]): End => {
        const err = path.join(scene.runtime.directory, "err");
        const fd = openSync(err, "w");
        const command = `ulimit -n ${limit}; exec "$@"`;
        const argv = ["-c", command, "sh", runtimePath(), "--root", scene.root, ...args];
        const { status } = spawnSync("sh", argv, { stdio: ["ignore", "ignore", fd], timeout: 20_000 });
        closeSync(fd);
        return { exitCode: status, stderr: readFileSync(err, "utf8") };
      };
      for (const what of expectIntact(scene, /too many open files/, call)) worked.add(what);
    }
    expect(worked.size).toBeGreaterThan(3);
  }));
