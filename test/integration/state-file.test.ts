/**
 * State files that are newer, cut, edited by hand, or no files at all: each command reads them as documented or says in one line,
 * and at once, what is wrong; `delete --force` removes them, and neither kills nor removes what is not the container's.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { RECORD_VERSION, type SavedContainer } from "../../container/record.ts";
import { isAlive, type ProcessRef } from "../../specutils/process-ref.ts";
import { kill } from "../../specutils/syscall.ts";
import { exitPath, statePath } from "../../statefile/names.ts";
import { adoptOrphans, reapOrphans } from "../faults/orphans.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cgroup1", "cloche");

beforeAll(() => adoptOrphans());
afterAll(() => reapOrphans());

/** What a command may take when a file is broken, on a busy machine. */
const ANSWER_MS = 3000;

/** Every command that looks at a container, before and after its id. */
const COMMANDS: [string[], string[]][] = [
  [["state"], []],
  [["ps"], []],
  [["start"], []],
  [["kill"], ["0"]],
  [["kill", "--all"], ["0"]],
  [["pause"], []],
  [["resume"], []],
  [["update", "--pids-limit", "100"], []],
  [["exec"], ["true"]],
  [["wait"], []],
  [["events", "--stats"], []],
  [["delete"], []],
];

/** A running container, another one, and the state file of the first. */
interface Scene {
  runtime: Runtime;
  id: string;
  other: string;
  file: string;
  text: string;
  record: SavedContainer & { process: ProcessRef; sandbox: ProcessRef; cgroup: NonNullable<SavedContainer["cgroup"]> };
  /** A directory with a file and an empty directory, which nobody may touch. */
  precious: string;
}

async function withScene(body: (scene: Scene) => unknown): Promise<void> {
  await withRuntime(async (runtime) => {
    const [id, other] = [0, 1].map(() => {
      const made = runtime.create((spec) => {
        spec.process.args = ["sleep", "600"];
      });
      runtime.ok(["start", made]);
      return made;
    });
    if (id === undefined || other === undefined) throw new Error("unreachable");
    const file = statePath(runtime.root, id, id);
    const text = readFileSync(file, "utf8");
    const precious = path.join(runtime.directory, "precious");
    mkdirSync(path.join(precious, "empty"), { recursive: true });
    writeFileSync(path.join(precious, "file"), "");
    const scene = { runtime, id, other, file, text, record: JSON.parse(text), precious };
    try {
      await body(scene);
      expect(readdirSync(precious).sort()).toEqual(["empty", "file"]);
      expect(runtime.state(other).status).toBe("running");
      runtime.ok(["exec", other, "true"]);
    } finally {
      cleanUp(scene);
    }
  });
}

/** Puts the file back as it was, so that the container can be found and removed with all it has. */
function cleanUp({ runtime, id, file, text, record }: Scene): void {
  rmSync(file, { force: true, recursive: true });
  writeFileSync(file, text, { mode: 0o600 });
  runtime.ok(["delete", "--force", id]);
  for (const ref of [record.process, record.sandbox]) if (isAlive(ref)) kill(ref.pid, 9);
  reapOrphans();
}

/** Expects each command to refuse the file in one line that names it, and the container to live on. */
function expectRefusals({ runtime, id, file, record }: Scene, what: string, commands = COMMANDS): void {
  for (const [before, after] of commands) {
    const { exitCode, stdout, stderr } = runtime.run([...before, id, ...after], { timeoutMs: ANSWER_MS });
    expect({ what, before, exitCode: exitCode === 0, stdout }).toEqual({ what, before, exitCode: false, stdout: "" });
    expect(`${what} / ${stderr}`).toMatch(/^.* \/ cannot read state file "[^\n]+": [^\n]+\n$/);
    expect(stderr).toContain(JSON.stringify(file));
  }
  const list = runtime.run(["list", "--quiet"], { timeoutMs: ANSWER_MS });
  expect(list.exitCode).toBe(0);
  expect(list.stdout).not.toContain(`${id}\n`);
  expect(list.stderr).toContain(file);
  expect(isAlive(record.process)).toBe(true);
}

function deleteForced({ runtime, id, file }: Scene): string {
  const { exitCode, stdout, stderr } = runtime.run(["delete", "--force", id], { timeoutMs: 15_000 });
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "" });
  expect(stderr).toMatch(/^(|time=[^\n]*was deleted with a state file that cannot be read: look for leftovers"\n)$/);
  expect(existsSync(file)).toBe(false);
  expect(runtime.run(["state", id]).stderr).toContain("does not exist");
  return stderr;
}

function edit({ file, record }: Scene, change: Record<string, unknown>): void {
  writeFileSync(file, JSON.stringify({ ...record, ...change }));
}

it("newer: refused with the remedy; delete --force finds its processes and its cgroup all the same", () =>
  withScene(async (scene) => {
    edit(scene, { version: RECORD_VERSION + 1, process: { ...scene.record.process, later: true }, status: ["?"] });
    expectRefusals(scene, "newer");
    expect(scene.runtime.run(["state", scene.id]).stderr).toContain("use the newer cloche that wrote it");
    deleteForced(scene);
    await waitFor("its process has ended", () => !isAlive(scene.record.process));
    for (const dir of scene.record.cgroup.owned) expect(existsSync(dir)).toBe(false);
  }));

it("cut anywhere: refused, never taken for another state", () =>
  withScene((scene) => {
    const { length } = scene.text;
    // The last byte is a newline, without which the file is whole.
    const places = [
      0,
      1,
      2,
      length - 2,
      ...Array.from({ length: 12 }, (_, index) => Math.floor((length * index) / 12)),
    ];
    for (const place of places) {
      writeFileSync(scene.file, scene.text.slice(0, place));
      expectRefusals(scene, `cut at ${place}`, COMMANDS.slice(0, 1));
    }
    expectRefusals(scene, "cut near its end");
  }));

it("cut: delete --force removes it with what is still named in it", async () => {
  for (const share of [0, 0.3, 0.6, 0.9, 0.99]) {
    await withScene((scene) => {
      const text = scene.text.slice(0, Math.floor(scene.text.length * share));
      writeFileSync(scene.file, text);
      deleteForced(scene);
      if (/"process":\{[^}]*\}/.test(text)) expect(isAlive(scene.record.process)).toBe(false);
    });
  }
});

it("edited: a field of the wrong type is named", () =>
  withScene((scene) => {
    for (const field of Object.keys(scene.record)) {
      for (const value of [null, 7.5, [1], { a: { b: 1 } }, "\u0000\n\u001b[31m"]) {
        // A text is what some hold, whatever it says.
        if (typeof value === "string" && isAnyText(scene.record, field)) continue;
        edit(scene, { [field]: value });
        expectRefusals(scene, `${field} ${JSON.stringify(value)}`, COMMANDS.slice(0, 1));
        expect(scene.runtime.run(["state", scene.id]).stderr).toContain(`${field}: `);
      }
    }
  }));

function isAnyText(record: object, field: string): boolean {
  const saved = (record as Record<string, unknown>)[field];
  return typeof saved === "string" && !["id", "sandboxId", "status", "startSocket", "seccompFilter"].includes(field);
}

it("edited: text that is no JSON, deep, huge, binary or of another form is refused", () =>
  withScene((scene) => {
    const contents: (string | Buffer)[] = [
      "\n",
      "null",
      "[]",
      '"text"',
      "{}",
      "[".repeat(100_000),
      `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`,
      Buffer.alloc(10_000_000),
      Buffer.from(Array.from({ length: 256 }, (_, index) => index)),
      `${scene.text}${scene.text}`,
      scene.text.replace(/"version":1/, '"version":1e999'),
      scene.text.replace(/"version":1/, '"version":-1'),
      scene.text.replace(/"version":1/, '"__proto__":{"version":1}'),
    ];
    for (const content of contents) {
      writeFileSync(scene.file, content);
      expectRefusals(
        scene,
        String(content)
          .slice(0, 20)
          .replaceAll(/[^ -9;-~]/g, "."),
        COMMANDS.slice(0, 1),
      );
    }
    deleteForced(scene);
  }));

const FOREIGN: Record<string, (scene: Scene) => Record<string, unknown>> = {
  "pid 0": () => ({ process: { pid: 0, startTime: "1" } }),
  "pid -1": () => ({ process: { pid: -1, startTime: "1" } }),
  "pid 1": () => ({ process: { pid: 1, startTime: startOf(1) }, sandbox: { pid: 1, startTime: startOf(1) } }),
  "a pid above all": ({ record }) => ({ process: { ...record.process, pid: 2 ** 32 + record.process.pid } }),
  "a pid that is no number": ({ record }) => ({ process: { ...record.process, pid: String(record.process.pid) } }),
  "a start time that is none": ({ record }) => ({ process: { ...record.process, startTime: 1 } }),
  "the root cgroup": ({ record }) => ({ cgroup: rootCgroup(record.cgroup) }),
  "the root cgroup under the container's path": ({ record }) => ({
    cgroup: { ...rootCgroup(record.cgroup), path: record.cgroup.path },
  }),
  "a cgroup outside": ({ record, precious }) => ({
    cgroup: { ...record.cgroup, dirs: { freezer: precious }, owned: [precious, `${precious}/empty`] },
  }),
  "a cgroup with dots": ({ record }) => ({ cgroup: { ...record.cgroup, path: `/..${record.cgroup.path}` } }),
  "directories that were never made": ({ record, precious }) => ({
    cgroup: { ...record.cgroup, owned: [`${precious}/empty`] },
  }),
  "a driver that there is not": ({ record }) => ({ cgroup: { ...record.cgroup, driver: "docker" } }),
  "a start socket elsewhere": ({ precious }) => ({ status: "created", startSocket: `${precious}/file` }),
  "another container's id": ({ other }) => ({ id: other }),
  "another container's sandbox": ({ other }) => ({ sandboxId: other }),
  "a filter elsewhere": ({ precious }) => ({ seccompFilter: `..${precious}/file` }),
};

for (const [what, change] of Object.entries(FOREIGN)) {
  it(`edited: ${what} is refused, and delete --force does it no harm`, () =>
    withScene((scene) => {
      edit(scene, change(scene));
      expectRefusals(scene, what);
      deleteForced(scene);
    }));
}

/** What can be told only by a look at the host is told by what would act on it. */
const FOREIGN_ON_THE_HOST: Record<string, (scene: Scene) => Record<string, unknown>> = {
  "a path like that of a cgroup": ({ record, precious }) => {
    const dir = `${precious}${record.cgroup.path}`;
    return { cgroup: { ...record.cgroup, dirs: { freezer: dir }, owned: [dir] } };
  },
  "directories that are no cgroups": ({ precious }) => ({ reservedCgroupDirs: [`${precious}/empty`] }),
  "a directory that is no resctrl group": ({ precious }) => ({ intelRdtDir: `${precious}/empty` }),
};

for (const [what, change] of Object.entries(FOREIGN_ON_THE_HOST)) {
  it(`edited: ${what}: nothing is killed or removed by it`, () =>
    withScene((scene) => {
      const { record, precious } = scene;
      const dir = `${precious}${record.cgroup.path}`;
      mkdirSync(`${dir}/below`, { recursive: true });
      writeFileSync(`${dir}/cgroup.procs`, `${scene.runtime.state(scene.other).pid}\n`);
      edit(scene, { ...change(scene), ownPidNamespace: false });
      if (what.startsWith("a path")) {
        for (const args of [
          ["kill", scene.id, "KILL"],
          ["kill", "--all", scene.id, "KILL"],
        ]) {
          expect(scene.runtime.run(args).stderr).toMatch(
            /^cannot kill container "[^\n]*": its saved cgroup is not its own\n$/,
          );
        }
      }
      edit(scene, { ...change(scene), status: "stopped" });
      const refused = scene.runtime.run(["delete", scene.id]);
      expect(refused.stderr).toMatch(/^cannot read state file "[^\n]*": \w+: names what is not the container's\n$/);
      deleteForced(scene);
      expect(existsSync(`${dir}/below`)).toBe(true);
      expect(existsSync(`${precious}/empty`)).toBe(true);
      rmSync(`${precious}/${record.cgroup.path.split("/")[1]}`, { recursive: true });
    }));
}

it("edited: a process that does not exist, or another one with that pid, has stopped", () =>
  withScene((scene) => {
    for (const process of [
      { pid: 2 ** 22, startTime: "1" },
      { ...scene.record.process, startTime: "1" },
    ]) {
      edit(scene, { process });
      expect(scene.runtime.state(scene.id)).toMatchObject({ status: "stopped", pid: 0 });
    }
    expect(deleteForced(scene)).toBe("");
    expect(isAlive(scene.record.process)).toBe(false);
  }));

it("edited: creating without a creator has stopped, so that nobody waits for it", () =>
  withScene((scene) => {
    const { creator: _, ...record } = scene.record;
    writeFileSync(scene.file, JSON.stringify({ ...record, status: "creating" }));
    expect(scene.runtime.state(scene.id)).toMatchObject({ status: "stopped" });
    deleteForced(scene);
  }));

const NO_FILES: Record<string, (scene: Scene, file: string) => void> = {
  "a directory": (_, file) => mkdirSync(file),
  "a FIFO": (_, file) => void execFileSync("mkfifo", [file]),
  "a link to a device that never ends": (_, file) => symlinkSync("/dev/zero", file),
  "a link to nothing": (_, file) => symlinkSync("/nonexistent/file", file),
  "a link to another container's": ({ runtime, other }, file) =>
    symlinkSync(statePath(runtime.root, other, other), file),
  "a link to a file": ({ precious }, file) => symlinkSync(`${precious}/file`, file),
};

for (const [what, make] of Object.entries(NO_FILES)) {
  it(`${what} in place of the state file is refused at once, and removed by delete --force`, () =>
    withScene((scene) => {
      rmSync(scene.file);
      make(scene, scene.file);
      expectRefusals(scene, what);
      const create = scene.runtime.run(["create", "--bundle", scene.record.bundle, scene.id]);
      expect(create.stderr).toContain("container with given ID already exists");
      deleteForced(scene);
    }));

  it(`${what} in place of the other files of a container keeps nobody waiting, and is not written through`, () =>
    withScene((scene) => {
      const exit = exitPath(scene.runtime.root, scene.id, scene.id);
      const temporary = `${scene.file}.tmp`;
      rmSync(exit);
      for (const file of [exit, temporary]) make(scene, file);
      scene.runtime.ok(["pause", scene.id], { timeoutMs: ANSWER_MS });
      scene.runtime.ok(["resume", scene.id], { timeoutMs: ANSWER_MS });
      expect(existsSync(temporary)).toBe(false);
      expect(readFileSync(`${scene.precious}/file`, "utf8")).toBe("");
      scene.runtime.ok(["kill", scene.id, "KILL"], { timeoutMs: ANSWER_MS });
      make(scene, temporary);
      expect(deleteForced(scene)).toBe("");
      expect(readdirSync(scene.runtime.root).filter((name) => name.includes(scene.id))).toEqual([]);
    }));
}

it("an empty file: refused, removed by delete --force", () =>
  withScene((scene) => {
    writeFileSync(scene.file, "");
    expectRefusals(scene, "empty");
    expect(scene.runtime.run(["state", scene.id]).stderr).toContain("it is empty");
    deleteForced(scene);
  }));

function startOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

/** Every hierarchy's root, as an edit would name it that has a careless `delete` kill the host. */
function rootCgroup(ref: NonNullable<SavedContainer["cgroup"]>): NonNullable<SavedContainer["cgroup"]> {
  const dirs = Object.fromEntries(
    Object.entries(ref.dirs).map(([name, dir]) => [name, dir.slice(0, -ref.path.length)]),
  );
  return { ...ref, path: "/", dirs, owned: Object.values(dirs) };
}

it("edited: a startContainer hook and a failing poststart hook do not make the edit ours", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "600"];
      spec.hooks = { startContainer: [{ path: "/bin/true" }], poststart: [{ path: "/bin/false" }] };
    });
    const empty = path.join(runtime.directory, "empty");
    mkdirSync(empty);
    const file = statePath(runtime.root, id, id);
    const text = readFileSync(file, "utf8");
    writeFileSync(file, `${JSON.stringify({ ...JSON.parse(text), intelRdtDir: empty })}\n`);
    expect(runtime.run(["start", id]).exitCode).toBe(1);
    expect(existsSync(empty)).toBe(true);
    // Deleted as one whose state file cannot be believed, which touches nothing that only the edit names.
    expect(existsSync(file)).toBe(false);
  }));

it("a state root with a line break in its name is as good as any", () =>
  withRuntime((runtime) => {
    const id = runtime.id();
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sleep", "600"];
    });
    const root = path.join(runtime.directory, "new\nline");
    runtime.ok(["create", "--bundle", bundle, id], { root });
    runtime.ok(["start", id], { root });
    expect(JSON.parse(runtime.ok(["state", id], { root })).status).toBe("running");
    runtime.ok(["delete", "--force", id], { root });
    expect(readdirSync(root).filter((name) => name.startsWith("start-") || name.includes(id))).toEqual([]);
  }));
