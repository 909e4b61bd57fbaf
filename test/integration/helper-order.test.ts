/** Things that only come to light when the helper's processes run in an unusual order, or a stage is used that is rarely used. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { specToJson } from "../helpers/bundle.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

/** Runs a command of the runtime under strace, which detaches itself (-D) so that only the command is waited for. */
function withStrace(runtime: Runtime, inject: string[], args: string[]): number | null {
  const trace = path.join(runtime.directory, "trace");
  const options = ["-D", "-f", "-o", trace, ...inject.flatMap((rule) => ["-e", rule])];
  const output = openSync("/dev/null", "r+");
  try {
    const { status } = spawnSync("strace", [...options, runtimePath(), "--root", runtime.root, ...args], {
      stdio: [output, output, output],
      timeout: 30_000,
    });
    return status;
  } finally {
    closeSync(output);
  }
}

requires(
  "root",
  "cloche",
  "busybox",
  "strace",
)("create: is not ready before the sandbox process is, however long that takes", () =>
  withRuntime((runtime) => {
    const id = runtime.id();
    const bundle = runtime.bundle();
    // The sandbox process alone calls chroot before there is a container process.
    const status = withStrace(
      runtime,
      ["trace=chroot", "inject=chroot:delay_exit=300000:when=1"],
      ["create", "--bundle", bundle, id],
    );
    expect(status).toBe(0);
    expect(runtime.state(id).status).toBe("created");
    const stateFile = `${runtime.root}/${id}_${id}.state`;
    expect(JSON.parse(readFileSync(stateFile, "utf8")).sandbox.pid).toBeGreaterThan(1);
    runtime.ok(["start", id]);
  }),
);

requires(
  "root",
  "cloche",
  "busybox",
)("exec: process.execCPUAffinity initial and final take effect", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    await runtime.reaches(id, "running");
    const file = path.join(runtime.directory, "process.json");
    const run = (execCPUAffinity: { initial?: string; final?: string }) => {
      writeFileSync(
        file,
        specToJson({
          user: { uid: 0, gid: 0 },
          args: ["grep", "Cpus_allowed_list", "/proc/self/status"],
          env: ["PATH=/bin"],
          cwd: "/",
          execCPUAffinity,
        }),
      );
      return runtime.ok(["exec", "--process", file, id]);
    };
    expect(run({ initial: "0" })).toBe("Cpus_allowed_list:\t0\n");
    const final = String(availableParallelism() - 1);
    expect(run({ initial: "0", final })).toBe(`Cpus_allowed_list:\t${final}\n`);
  }),
);
