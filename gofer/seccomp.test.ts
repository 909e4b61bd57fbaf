/** What the gofer's filter answers, run as the kernel runs it. */
import { describe, expect, test } from "bun:test";
import { compileSeccomp } from "../sandbox/seccomp/compile.ts";
import { actions, hostArchitectures } from "../sandbox/seccomp/constants.ts";
import { syscallNumbers } from "../sandbox/seccomp/syscalls.ts";
import { runFilter } from "../test/helpers/bpf.ts";
import { FUSE_DEV_IOC_BACKING_OPEN } from "./protocol.ts";
import { goferProfile } from "./seccomp.ts";

describe.each(["x64", "arm64"] as const)("the gofer's filter on %s", (host) => {
  const [architecture] = hostArchitectures[host];
  const numbers = syscallNumbers(architecture);
  const { filter } = compileSeccomp(goferProfile, host);
  const answer = (name: string, ...args: bigint[]) =>
    runFilter(filter, { arch: architecture.auditArch, number: numbers.get(name) ?? -1, args });
  const refused = actions.SCMP_ACT_ERRNO | 1;

  test.each([
    "execve", "execveat", "fork", "vfork", "socket", "connect", "sendmsg", "recvmsg", "mount", "move_mount", "open_tree", "fsopen",
    "fsmount", "umount2", "pivot_root", "chroot", "chdir", "setns", "unshare", "ptrace", "process_vm_writev", "kill", "tkill", "bpf",
    "setuid", "setresuid", "setgroups", "init_module", "name_to_handle_at", "open_by_handle_at", "memfd_create", "io_uring_setup",
    "userfaultfd", "keyctl", "pidfd_getfd", "dup3", "seccomp", "pkey_mprotect", "openat2", "swapon", "reboot", "perf_event_open",
  ])("refuses %s", (name) => {
    const number = numbers.get(name);
    // Of calls that are newer than all it knows, the compiler says that there are none.
    if (number !== undefined) expect([refused, actions.SCMP_ACT_ERRNO | 38]).toContain(answer(name));
  }); // biome-ignore format: a table

  test("allows files, FIFOs and sockets to be made, and no device", () => {
    for (const type of [0o100644n, 0o010644n, 0o140644n])
      expect(answer("mknodat", 5n, 1n, type)).toBe(actions.SCMP_ACT_ALLOW);
    for (const type of [0o020644n, 0o060644n, 0o040644n]) expect(answer("mknodat", 5n, 1n, type)).toBe(refused);
  });

  test("allows memory, unless it can be executed", () => {
    for (const name of ["mmap", "mprotect"]) {
      expect(answer(name, 0n, 4096n, 3n)).toBe(actions.SCMP_ACT_ALLOW);
      expect(answer(name, 0n, 4096n, 7n)).toBe(refused);
      expect(answer(name, 0n, 4096n, 4n)).toBe(refused);
    }
  });

  test("allows the two requests to the FUSE device, and no other ioctl", () => {
    expect(answer("ioctl", 3n, BigInt(FUSE_DEV_IOC_BACKING_OPEN))).toBe(actions.SCMP_ACT_ALLOW);
    expect(answer("ioctl", 3n, 0x5412n)).toBe(refused); // TIOCSTI
  });

  test("allows threads, and no processes", () => {
    expect(answer("clone", 0x3d0f00n)).toBe(actions.SCMP_ACT_ALLOW);
    expect(answer("clone", 17n)).toBe(refused);
    expect(answer("clone3")).toBe(actions.SCMP_ACT_ERRNO | 38);
  });
});
