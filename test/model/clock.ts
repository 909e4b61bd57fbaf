/** A clock that is the same for all processes: `process.hrtime` of this engine begins anew in each of them. */
import { sys, throwErrno } from "../../specutils/syscall.ts";
import { numbers } from "../faults/host-calls.ts";

const CLOCK_MONOTONIC = 1;

/** CLOCK_MONOTONIC in ns; exact in a number for the first hundred days of a machine. */
export function now(): number {
  const time = new BigInt64Array(2);
  const number = numbers.get("clock_gettime") ?? -1;
  throwErrno("clock_gettime", "", sys(number, CLOCK_MONOTONIC, new Uint8Array(time.buffer)));
  const [seconds = 0n, nanoseconds = 0n] = time;
  return Number(seconds * 1_000_000_000n + nanoseconds);
}
