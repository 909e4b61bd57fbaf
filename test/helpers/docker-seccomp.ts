/** docker's default seccomp profile as it arrives in config.json, from the Go module that docker takes it from. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp, SeccompSyscall } from "../../specutils/spec.ts";

const module = "github.com/moby/profiles/seccomp@v0.2.4";

/** The capabilities that docker gives a container by default, as far as its profile asks for them. */
const capabilities = ["CAP_SYS_CHROOT"];

/** A rule of docker's file, which applies only in some containers. */
interface DockerRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
  includes?: { arches?: string[]; caps?: string[] };
  excludes?: { arches?: string[]; caps?: string[] };
}

/** The profile that docker makes of it on x86-64 for a container with default capabilities; undefined without Go or network. */
export function dockerSeccomp(): Seccomp | undefined {
  const { status, stdout } = spawnSync("go", ["mod", "download", "-json", module], { cwd: tmpdir(), encoding: "utf8" });
  if (status !== 0) return undefined;
  const { Dir } = JSON.parse(stdout) as { Dir: string };
  const file = JSON.parse(readFileSync(join(Dir, "default.json"), "utf8")) as {
    defaultAction: string;
    defaultErrnoRet: number;
    syscalls: DockerRule[];
  };
  return {
    defaultAction: file.defaultAction,
    defaultErrnoRet: file.defaultErrnoRet,
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    syscalls: file.syscalls.filter(isForDefaultContainer).map(toSpec),
  };
}

function isForDefaultContainer({ includes = {}, excludes = {} }: DockerRule): boolean {
  const isIncluded =
    (includes.caps ?? []).every((name) => capabilities.includes(name)) && (includes.arches?.includes("amd64") ?? true);
  const isExcluded =
    (excludes.caps ?? []).some((name) => capabilities.includes(name)) || excludes.arches?.includes("amd64") === true;
  return isIncluded && !isExcluded;
}

function toSpec({ names, action, errnoRet, args = [] }: DockerRule): SeccompSyscall {
  const exactArgs = args.map(({ value, valueTwo, ...arg }) => ({
    ...arg,
    value: BigInt(value),
    valueTwo: BigInt(valueTwo ?? 0),
  }));
  return { names, action, args: exactArgs, ...(errnoRet === undefined ? {} : { errnoRet }) };
}
