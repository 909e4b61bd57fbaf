/**
 * What level `sandboxed` changes by design (docs/SECURITY.md), in the engines' cases: the reference knows no such level, so its
 * output is changed into what cloche is to print, and what cannot be compared is checked by itself. At level `oci` both are
 * the same.
 */
import { isSandboxed } from "../helpers/level.ts";
import { isDefaultRuntime } from "../helpers/runtime-path.ts";

/** A replacement in what the reference prints. */
export type Change = (text: string) => string;

/** What a program sees of itself, as cloche is to give it: `text` as it is of cloche, with the changes of the reference. */
export function byDesign(runtime: string, text: string, ...changes: Change[]): string {
  if (runtime === "cloche" || !differs()) return text;
  return changes.reduce((changed, change) => change(changed), text);
}

/** Whether the side is cloche at level `sandboxed`. */
export function isSandbox(runtime: string): boolean {
  return runtime === "cloche" && differs();
}

/** A value that is like the reference's at level `oci` only: at level `sandboxed`, `check` says what it is to be of cloche. */
export function ownInSandbox<T>(runtime: string, value: T, check: (value: T) => void): T | undefined {
  if (isSandbox(runtime)) check(value);
  return differs() ? undefined : value;
}

/** Whether cloche is among the sides, at level `sandboxed`. */
function differs(): boolean {
  return isDefaultRuntime() && isSandboxed();
}

/** Lines of /proc/self/status: no_new_privs, and one filter more. */
export const confinement: Change = (text) =>
  text
    .replaceAll("NoNewPrivs:\t0", "NoNewPrivs:\t1")
    .replaceAll("Seccomp:\t0", "Seccomp:\t2")
    .replaceAll(/Seccomp_filters:\t(\d+)/g, (_line, count) => `Seccomp_filters:\t${Number(count) + 1}`);

/** Lines of mount point and options, as in the 5th and 6th field of mountinfo: what comes from the host is nosuid, nodev and id-mapped. */
export function closedMounts(...points: string[]): Change {
  return (text) =>
    text.replaceAll(/^(\/\S*) (r[ow]),relatime$/gm, (line, point, mode) =>
      points.includes(point) ? `${point} ${mode},nosuid,nodev,relatime,idmapped` : line,
    );
}
