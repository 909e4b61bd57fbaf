/** Resource limits of this process, which the helper inherits (prlimit(2)). */
import { NR, sys, throwErrno } from "../specutils/syscall.ts";

/** Soft and hard limit of RLIMIT_* number `resource`. @throws SyscallError */
export function currentLimit(resource: number): [soft: bigint, hard: bigint] {
  const limits = new BigUint64Array(2);
  const bytes = new Uint8Array(limits.buffer);
  throwErrno("prlimit64", String(resource), sys(NR.prlimit64, 0, resource, null, bytes));
  const [soft = 0n, hard = 0n] = limits;
  return [soft, hard];
}
