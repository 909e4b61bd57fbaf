/** The virtual machine itself, and what can only be shown in it. */

import { expect, test } from "bun:test";
import { join } from "node:path";
import { EXCEPTIONS } from "../conformance/expected.ts";
import { buildPrograms } from "../conformance/programs.ts";
import { type MachineOptions, runInMachine } from "./machine.ts";

const PROJECT = join(import.meta.dirname, "../..");
const TEST_TIMEOUT_MS = 900_000;

function run(script: string, options: Partial<MachineOptions> = {}) {
  return runInMachine({ command: ["sh", "-c", script], cwd: PROJECT, ...options });
}

test(
  "vm: returns output, errors and exit code of the command",
  async () => {
    const result = await run("echo out; echo err >&2; pwd; exit 7");
    expect(result).toMatchObject({ exitCode: 7, stdout: `out\n${PROJECT}\n`, stderr: "err\n" });
  },
  TEST_TIMEOUT_MS,
);

test(
  "vm: the guest cannot write to the host",
  async () => {
    const result = await run("mount -o remount,rw /host; touch /host/written package.json; echo $?");
    expect(result.stdout).toBe("1\n");
    expect(result.stderr).toContain("Read-only file system");
  },
  TEST_TIMEOUT_MS,
);

test(
  "vm: a command that does not end is given up",
  async () => {
    await expect(run("sleep 1000", { timeoutMs: 15_000 })).rejects.toThrow("no result after 15 s");
  },
  TEST_TIMEOUT_MS,
);

test(
  "vm: systemd and D-Bus run, with cgroup version 2 alone",
  async () => {
    const result = await run("busctl --no-pager list | grep -c freedesktop.systemd1; stat -fc %T /sys/fs/cgroup", {
      systemd: true,
    });
    expect(result).toMatchObject({ exitCode: 0, stdout: "1\ncgroup2fs\n" });
  },
  TEST_TIMEOUT_MS,
);

test(
  "runtime-tools: clean in a machine that offers everything",
  async () => {
    buildPrograms("peers"); // The guest has no compiler.
    const programs = EXCEPTIONS.flatMap((exception) => (exception.isInVm ? exception.programs : []));
    const flags = `--edition peers --timeout 300 --runtime ${process.env["RUNTIME"] ?? "cloche"}`;
    const result = await run(`test/conformance/run ${flags} --verbose ${programs.join(" ")}`, {
      kernel: "5.10",
      cgroups: "v1",
      timeoutMs: 600_000,
    });
    expect(result.stdout).toContain(`${programs.length} of ${programs.length} programs are clean`);
  },
  TEST_TIMEOUT_MS,
);

/** Suites of cgroup behaviour that this machine lacks, run by the guest's own test runner. */
const GUEST_SUITES: readonly [string, string, Partial<MachineOptions>][] = [
  ["cgroup version 2", "cgroup-v2", {}],
  ["the systemd cgroup driver", "cgroup-systemd", { systemd: true }],
  ["every cgroup version 1 controller", "cgroup-v1", { cgroups: "v1" }],
  ["oom_score_adj below zero", "oom-score", {}],
];

for (const [what, suite, options] of GUEST_SUITES) {
  test(
    `vm: ${what}`,
    async () => {
      const command = `node_modules/.bin/bun test --timeout 240000 ./test/integration/${suite}.test.ts 2>&1`;
      const { exitCode, stdout } = await run(command, { ...options, timeoutMs: 800_000 });
      const counts = /^ *\d+ pass$/m.exec(stdout)?.[0].trim();
      expect(exitCode === 0 ? counts : stdout.slice(-4000)).toMatch(/^[1-9]\d* pass$/);
    },
    TEST_TIMEOUT_MS,
  );
}
