/** oom_score_adj of sandbox processes: the lowest among a sandbox's containers, the pod's own container left aside. */
import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { follow } from "../helpers/follow.ts";
import { member, saved } from "../helpers/pod.ts";
import { missing, requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");

/** A value of process.oomScoreAdj; `nil` where config.json has none. */
type Score = number | "nil";

/** Without CAP_SYS_RESOURCE no score can be lowered below 0: then the same order of scores, above it. */
const canLower = missing("CAP_SYS_RESOURCE").length === 0;
const scaled = (score: number) => (canLower ? score : 500 + score / 2);

/** What cloche itself has, and so the sandbox process when it is spawned. */
const INHERITED = scaled(-300);

function scoreOf(pid: number | "self"): number {
  return Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));
}

function sandboxScore(runtime: Runtime, root: string): number {
  return scoreOf(saved(runtime, root, root).sandbox.pid);
}

/** Starts a container; as a member of `root` if one is given. */
function start(runtime: Runtime, score: Score, annotations: Record<string, string>, root?: string): string {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "600"];
    if (root !== undefined) member(runtime, spec, root);
    else spec.annotations = annotations;
    if (score !== "nil") spec.process.oomScoreAdj = scaled(score);
  });
  runtime.ok(["start", id]);
  return id;
}

const POD = { "io.kubernetes.cri.container-type": "sandbox" };

/** Runs a test in which cloche has the score INHERITED. */
function withScore(body: (runtime: Runtime) => void | Promise<void>): Promise<void> {
  return withRuntime(async (runtime) => {
    const before = scoreOf("self");
    writeFileSync("/proc/self/oom_score_adj", String(INHERITED));
    try {
      await body(runtime);
    } finally {
      writeFileSync("/proc/self/oom_score_adj", String(before));
    }
  });
}

for (const score of [1000, 500, -500, -1000]) {
  it(`a container on its own with ${score}: the sandbox process has that too`, () =>
    withScore((runtime) => {
      const id = start(runtime, score, {});
      expect(sandboxScore(runtime, id)).toBe(scaled(score));
      expect(scoreOf(runtime.state(id).pid)).toBe(scaled(score));
    }));
}

it("a container on its own without a value: what was inherited", () =>
  withScore((runtime) => {
    expect(sandboxScore(runtime, start(runtime, "nil", {}))).toBe(INHERITED);
  }));

it("a pod's container on its own with 500: the sandbox process has what was inherited", () =>
  withScore((runtime) => {
    const id = start(runtime, 500, POD);
    expect(sandboxScore(runtime, id)).toBe(INHERITED);
    expect(scoreOf(runtime.state(id).pid)).toBe(scaled(500));
  }));

const P = "what was inherited";

/** Scores of the root container and two members; what the sandbox process has with all, and after one was deleted. */
const PODS: readonly { scores: [Score, Score, Score]; all: number | string; without?: [1 | 2, number | string][] }[] = [
  { scores: ["nil", "nil", "nil"], all: P },
  { scores: [-1000, "nil", "nil"], all: P },
  { scores: [-1000, 500, -500], all: -500 },
  {
    scores: [-1000, 1000, 500],
    all: 500,
    without: [
      [2, 1000],
      [1, 500],
    ],
  },
  { scores: [-1000, "nil", -500], all: -500, without: [[2, P]] },
];

for (const { scores, all, without = [] } of PODS) {
  const value = (score: number | string) => (typeof score === "number" ? scaled(score) : INHERITED);
  it(`a pod with (${scores.join(", ")}): ${all}`, () =>
    withScore((runtime) => {
      const [score, ...others] = scores;
      const root = start(runtime, score, POD);
      for (const other of others) start(runtime, other, {}, root);
      expect(sandboxScore(runtime, root)).toBe(value(all));
    }));
  for (const [index, expected] of without) {
    it(`a pod with (${scores.join(", ")}): ${expected} when c${index} has been deleted`, () =>
      withScore((runtime) => {
        const [score, ...others] = scores;
        const root = start(runtime, score, POD);
        const members = others.map((other) => start(runtime, other, {}, root));
        runtime.ok(["delete", "--force", members[index - 1] ?? ""]);
        expect(sandboxScore(runtime, root)).toBe(value(expected));
        for (const id of members) runtime.ok(["delete", "--force", id]);
        expect(sandboxScore(runtime, root)).toBe(INHERITED);
      }));
  }
}

it(
  "members that are started and deleted in parallel end on the right value",
  () =>
    withScore(async (runtime) => {
      const root = start(runtime, -1000, POD);
      const scores = [900, 400, 700, 0, 200, 800];
      const members = scores.map((score) => {
        const bundle = runtime.bundle((spec) => {
          spec.process.args = ["sleep", "600"];
          member(runtime, spec, root);
          spec.process.oomScoreAdj = scaled(score);
        });
        return { id: runtime.id(), bundle, score };
      });
      const inParallel = (commands: string[][]) =>
        Promise.all(
          commands.map(
            (args) =>
              new Promise<void>((resolve, reject) => {
                const child = runtime.spawn(args);
                child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${args[0]}: ${code}`))));
              }),
          ),
        );
      for (let round = 0; round < 3; round++) {
        await inParallel(members.map(({ id, bundle }) => ["run", "--detach", "--bundle", bundle, id]));
        expect(sandboxScore(runtime, root)).toBe(scaled(0));
        await inParallel(members.slice(2).map(({ id }) => ["delete", "--force", id]));
        expect(sandboxScore(runtime, root)).toBe(scaled(400));
        await inParallel(members.slice(0, 2).map(({ id }) => ["delete", "--force", id]));
        expect(sandboxScore(runtime, root)).toBe(INHERITED);
      }
    }),
  240_000,
);

it("a member whose creation fails leaves no score behind with those that were started meanwhile", () =>
  withScore(async (runtime) => {
    const root = start(runtime, -1000, POD);
    const gate = path.join(runtime.directory, "gate");
    const bundle = runtime.bundle((spec) => {
      member(runtime, spec, root);
      spec.process.oomScoreAdj = scaled(-500);
      const script = `until [ -e ${gate} ]; do sleep 0.02; done; exit 1`;
      spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
    });
    const id = runtime.id();
    const creating = follow(runtime, ["create", "--bundle", bundle, id]);
    await runtime.reaches(id, "creating");
    start(runtime, 500, {}, root);
    writeFileSync(gate, "");
    expect((await creating.ended).exitCode).toBe(1);
    expect(sandboxScore(runtime, root)).toBe(scaled(500));
  }));

it("a sandbox that is gone already is no error for who deletes a member", () =>
  withScore(async (runtime) => {
    const root = start(runtime, -1000, POD);
    const id = start(runtime, 100, {}, root);
    runtime.ok(["kill", root, "KILL"]);
    await runtime.reaches(id, "stopped");
    runtime.ok(["delete", id]);
    runtime.ok(["delete", "--force", root]);
  }));
