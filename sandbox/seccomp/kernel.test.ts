/** What programs see when the kernel runs our filters. Skipped without gcc. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp } from "../../specutils/spec.ts";
import { dockerSeccomp } from "../../test/helpers/docker-seccomp.ts";
import { compileSeccomp } from "./compile.ts";

const directory = mkdtempSync(join(tmpdir(), "seccomp-kernel-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const runner = join(directory, "run-with-filter");
const source = join(import.meta.dir, "../../test/fixtures/run-with-filter.c");
const isReady = process.arch === "x64" && spawnSync("gcc", ["-o", runner, source]).status === 0;
const docker = isReady ? dockerSeccomp() : undefined;

/** Runs a shell command under a profile. */
function run(seccomp: Seccomp, command: string) {
  const { filter, flags } = compileSeccomp(seccomp, "x64");
  const file = join(directory, "filter");
  writeFileSync(file, filter);
  return spawnSync(runner, [file, String(flags), "sh", "-c", command], { cwd: directory, encoding: "utf8" });
}

describe.skipIf(!isReady)("filters in the kernel (needs gcc on x86-64)", () => {
  const denyMkdir: Seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
  };

  test("a call with SCMP_ACT_ERRNO fails with the errno that the rule asks for, and does nothing", () => {
    const { status, stderr } = run(denyMkdir, "mkdir refused");
    expect(stderr).toContain("No space left on device");
    expect(status).toBe(1);
    expect(existsSync(join(directory, "refused"))).toBe(false);
  });

  test("its neighbour is allowed", () => {
    expect(run(denyMkdir, "touch allowed").status).toBe(0);
    expect(existsSync(join(directory, "allowed"))).toBe(true);
  });

  test("a rule with an argument stops that argument and no other", () => {
    const denyKill9: Seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{ index: 1, op: "SCMP_CMP_EQ", value: 9n }] }],
    };
    const { stdout } = run(denyKill9, "sleep 9 & kill -9 $! || echo refused; kill -15 $! && echo allowed");
    expect(stdout).toBe("refused\nallowed\n");
  });

  test("SCMP_ACT_KILL_PROCESS ends the program with SIGSYS", () => {
    const deadly = { ...denyMkdir, syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_KILL_PROCESS" }] };
    expect(run(deadly, "exec mkdir refused").signal).toBe("SIGSYS");
  });

  test("every flag is accepted, with and without a listener", () => {
    const flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map((flag) => `SECCOMP_FILTER_FLAG_${flag}`);
    expect(run({ ...denyMkdir, flags }, "true").status).toBe(0);
    const syscalls = [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }];
    expect(run({ ...denyMkdir, flags, syscalls, listenerPath: "/run/agent" }, "true").status).toBe(0);
  });

  test.skipIf(docker === undefined)("docker's profile lets a shell work and refuses a mount (needs go)", () => {
    if (docker === undefined) throw new Error("skipped");
    const { stdout } = run(docker, "ls / >/dev/null && echo listed; mount -t tmpfs none . || echo refused");
    expect(stdout).toBe("listed\nrefused\n");
  });
});
