/** The baseline filter of isolation level `sandboxed`, call by call, from inside: refused as documented, its neighbours not. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { BASELINE } from "../../sandbox/isolation/baseline.ts";
import { hostArchitectures } from "../../sandbox/seccomp/constants.ts";
import { syscallNumbers } from "../../sandbox/seccomp/syscalls.ts";
import { installFixture } from "../helpers/fixture-program.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche", "gcc");

const [native, i386] = hostArchitectures[process.arch === "x64" ? "x64" : "arm64"];
const numbers = syscallNumbers(native);

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** Errnos of calls, made one after the other in one container with every capability. */
function errnos(runtime: Runtime, calls: readonly string[], level = "sandboxed", flags: string[] = []): number[] {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sh", "-c", calls.map((call) => `/call ${call}`).join("; ")];
    const all = ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_DAC_READ_SEARCH"];
    spec.process.capabilities = { bounding: all, effective: all, permitted: all };
  });
  installFixture("call", path.join(bundle, "rootfs"));
  const { stdout, stderr } = runtime.run([...flags, "--isolation", level, "run", "--bundle", bundle, runtime.id()]);
  expect(stderr).toBe("");
  return stdout.trim().split("\n").map(Number);
}

/** The call of a rule that it refuses. */
function refused(name: string, when: (typeof BASELINE)[number]["when"], of = numbers): string {
  const args = Array.from({ length: 6 }, (_, index) => (when?.index === index ? `0x${when.value.toString(16)}` : "0"));
  return `${of.get(name)} ${args.join(" ")}`;
}

it("sandboxed: every call of the baseline is refused, with the errno that is documented", () =>
  withRuntime((runtime) => {
    const rows = BASELINE.flatMap(({ syscalls, errno, when }) =>
      syscalls.filter((name) => numbers.has(name)).map((name) => ({ name, errno, call: refused(name, when) })),
    );
    const seen = errnos(
      runtime,
      rows.map(({ call }) => call),
    );
    expect(rows.map(({ name }, index) => [name, seen[index]])).toEqual(rows.map(({ name, errno }) => [name, errno]));
  }));

const itX86 = requires("root", "busybox", "cloche", "gcc", "x86");

itX86("sandboxed: nor can they be made by the entry for 32-bit programs", () =>
  withRuntime((runtime) => {
    if (i386 === undefined) throw new Error("x86-64 has a 32-bit neighbour");
    const theirs = syscallNumbers(i386);
    const rows = BASELINE.flatMap(({ syscalls, errno, when }) =>
      syscalls
        .filter((name) => theirs.has(name))
        .map((name) => ({ name, errno, call: `i386 ${refused(name, when, theirs)}` })),
    );
    // socketcall(2) cannot be looked into: all that it makes are refused.
    rows.push({ name: "socketcall", errno: EAFNOSUPPORT, call: `i386 ${theirs.get("socketcall")} 1 @` });
    const seen = errnos(runtime, [...rows.map(({ call }) => call), `i386 ${theirs.get("getpid")}`]);
    // A kernel without 32-bit programs knows none of them.
    if (seen.at(-1) === ENOSYS) return;
    expect(rows.map(({ name }, index) => [name, seen[index]])).toEqual(rows.map(({ name, errno }) => [name, errno]));
  }),
);

it("sandboxed: their neighbours are allowed", () =>
  withRuntime((runtime) => {
    const n = (name: string) => numbers.get(name);
    const calls = {
      "unshare(CLONE_NEWUTS)": `${n("unshare")} 0x04000000`,
      "unshare(CLONE_NEWNS)": `${n("unshare")} 0x00020000`,
      "socket(AF_INET, SOCK_DGRAM)": `${n("socket")} 2 2 0`,
      "socket(AF_UNIX, SOCK_STREAM)": `${n("socket")} 1 1 0`,
      "personality(0xffffffff)": `${n("personality")} 0xffffffff`,
      "seccomp(SECCOMP_GET_ACTION_AVAIL)": `${n("prctl")} 21`,
      memfd_create: `${n("memfd_create")} @ 0`,
      getpid: `${n("getpid")}`,
      "ptrace(PTRACE_TRACEME)": `${n("ptrace")} 0`,
    };
    const seen = errnos(runtime, Object.values(calls));
    expect(Object.keys(calls).map((name, index) => [name, seen[index]])).toEqual(
      Object.keys(calls).map((name) => [name, 0]),
    );
  }));

it("sandboxed: baseline-allow lets through what it names, and nothing else", () =>
  withRuntime((runtime) => {
    const config = path.join(runtime.directory, "config.toml");
    writeFileSync(config, 'baseline-allow = ["user-namespaces", "keyctl"]\n');
    const calls = [
      refused("unshare", { index: 0, mask: 0n, value: 0x10000000n }),
      `${numbers.get("keyctl")} 0 0xfffffffe 0`,
      refused("add_key", undefined),
      refused("bpf", undefined),
    ];
    expect(errnos(runtime, calls)).toEqual([EPERM, EPERM, EPERM, EPERM]);
    const [unshare, keyctl, ...others] = errnos(runtime, calls, "sandboxed", ["--config", config]);
    expect(unshare).toBe(0);
    expect(keyctl).not.toBe(EPERM);
    expect(others).toEqual([EPERM, EPERM]);
    writeFileSync(config, 'baseline-allow = ["bfp"]\n');
    const { stderr } = runtime.run([
      "--config",
      config,
      "--isolation",
      "sandboxed",
      "run",
      "--bundle",
      runtime.bundle(),
      "x",
    ]);
    expect(stderr).toContain('baseline-allow: unknown name "bfp"');
  }));

it("oci: none of them is refused by cloche", () =>
  withRuntime((runtime) => {
    const calls = [
      refused("clone3", undefined),
      refused("mount_setattr", undefined),
      `${numbers.get("unshare")} 0x10000000`,
    ];
    const [clone3, setattr, unshare] = errnos(runtime, calls, "oci");
    expect(clone3).not.toBe(ENOSYS);
    expect(setattr).not.toBe(ENOSYS);
    expect(unshare).toBe(0);
  }));
