/** prctl(2), which cloche itself does not call. */
import { hostArchitectures } from "../../sandbox/seccomp/constants.ts";
import { syscallNumbers } from "../../sandbox/seccomp/syscalls.ts";
import { sys, throwErrno } from "../../specutils/syscall.ts";

/** System call numbers of this machine by name. */
export const numbers: ReadonlyMap<string, number> = syscallNumbers(
  hostArchitectures[process.arch === "arm64" ? "arm64" : "x64"][0],
);

/** @throws SyscallError */
export function prctl(option: number, value: number): void {
  throwErrno("prctl", String(option), sys(numbers.get("prctl") ?? -1, option, value, 0, 0, 0));
}
