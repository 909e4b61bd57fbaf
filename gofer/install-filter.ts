/** Puts the gofer's filter of system calls in force; what it lets through is in seccomp.ts, which a gofer does not load. */
import { addressOf, NR, sys, throwErrno } from "../specutils/syscall.ts";

const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
const SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4;

/** The longest filter that the kernel takes, BPF_MAXINSNS instructions. */
export const MAX_FILTER_BYTES = 4096 * 8;

/** For all threads of the process. @throws SyscallError */
export function installFilter(filter: Uint8Array): void {
  // struct sock_fprog: the number of instructions of 8 bytes, and their address.
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, filter.length / 8, true);
  program.setBigUint64(8, addressOf(filter), true);
  const flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  const bytes = new Uint8Array(program.buffer);
  throwErrno("seccomp", "", sys(NR.seccomp, SECCOMP_SET_MODE_FILTER, flags, bytes));
}
