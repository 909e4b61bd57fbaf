/**
 * The system calls that a gofer may make once it serves: those of its operations, and those that the JavaScript engine makes by
 * itself (seen with strace: threads of the collector, memory). Everything else fails with EPERM, on all threads.
 *
 * What it shuts out: other programs, sockets, mounts, namespaces, signals to others, device nodes, executable memory.
 */
import { cachedSeccomp } from "../sandbox/seccomp/cache.ts";
import { compileSeccomp } from "../sandbox/seccomp/compile.ts";
import type { Seccomp, SeccompArg, SeccompSyscall } from "../specutils/spec.ts";
import { ENOSYS } from "./host.ts";
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from "./protocol.ts";

const CLONE_THREAD = 0x10000;
const PR_SET_NAME = 15;
const PR_SET_VMA = 0x53564d41;
const PROT_EXEC = 4;
const S_IFMT = 0o170000;

const ALLOW = "SCMP_ACT_ALLOW";

function when(name: string, index: number, op: string, value: number, valueTwo?: number): SeccompSyscall {
  const arg: SeccompArg = {
    index,
    op,
    value: BigInt(value),
    ...(valueTwo !== undefined && { valueTwo: BigInt(valueTwo) }),
  };
  return { names: [name], action: ALLOW, args: [arg] };
}

export const goferProfile: Seccomp = {
  defaultAction: "SCMP_ACT_ERRNO",
  syscalls: [
    {
      action: ALLOW,
      names: [
        ...[
          "read",
          "write",
          "pread64",
          "pwrite64",
          "pwritev2",
          "ppoll",
          "close",
          "openat",
          "statx",
          "fstatfs",
          "lseek",
        ],
        ...["truncate", "ftruncate", "fallocate", "fsync", "fdatasync", "copy_file_range", "getdents64", "readlinkat"],
        ...["mkdirat", "symlinkat", "linkat", "unlinkat", "renameat2", "fchmodat", "fchownat", "utimensat", "umask"],
        ...["getxattr", "setxattr", "listxattr", "removexattr", "setfsuid", "setfsgid", "capset", "sched_yield"],
      ],
    },
    when("ioctl", 1, "SCMP_CMP_EQ", FUSE_DEV_IOC_BACKING_OPEN),
    when("ioctl", 1, "SCMP_CMP_EQ", FUSE_DEV_IOC_BACKING_CLOSE),
    // Regular files, FIFOs and sockets.
    when("mknodat", 2, "SCMP_CMP_MASKED_EQ", S_IFMT, 0o100000),
    when("mknodat", 2, "SCMP_CMP_MASKED_EQ", S_IFMT, 0o010000),
    when("mknodat", 2, "SCMP_CMP_MASKED_EQ", S_IFMT, 0o140000),
    {
      action: ALLOW,
      names: [
        ...[
          "futex",
          "madvise",
          "munmap",
          "mremap",
          "brk",
          "rt_sigprocmask",
          "rt_sigaction",
          "rt_sigreturn",
          "sigaltstack",
        ],
        ...["clock_gettime", "clock_nanosleep", "restart_syscall", "gettid", "getpid", "tgkill", "getrandom", "exit"],
        ...[
          "exit_group",
          "set_robust_list",
          "rseq",
          "sched_getaffinity",
          "getrusage",
          "sysinfo",
          "membarrier",
          "mincore",
        ],
      ],
    },
    when("mmap", 2, "SCMP_CMP_MASKED_EQ", PROT_EXEC, 0),
    when("mprotect", 2, "SCMP_CMP_MASKED_EQ", PROT_EXEC, 0),
    when("prctl", 0, "SCMP_CMP_EQ", PR_SET_NAME),
    when("prctl", 0, "SCMP_CMP_EQ", PR_SET_VMA),
    when("clone", 0, "SCMP_CMP_MASKED_EQ", CLONE_THREAD, CLONE_THREAD),
    // Its flags are in memory, which a filter cannot read: the C library then takes clone.
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ],
};

/**
 * The filter as the kernel takes it, struct sock_filter[]. The starter compiles it: the gofer would keep the memory that this takes.
 *
 * @param cacheDir where it is kept once it was compiled; nowhere if undefined
 */
export function goferFilter(cacheDir?: string): Uint8Array {
  const { filter } = cacheDir === undefined ? compileForHost(goferProfile) : cachedSeccomp(cacheDir, goferProfile);
  return filter;
}

function compileForHost(profile: Seccomp) {
  return compileSeccomp(profile, process.arch === "arm64" ? "arm64" : "x64");
}
