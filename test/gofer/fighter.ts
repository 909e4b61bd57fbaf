/**
 * A process that fights over paths with others, for `races.test.ts`:
 *
 *     bun test/gofer/fighter.ts ROLE ROOT SECONDS
 *
 * `walk` and `swap` first make ROOT their root, as a container's process has it; `host` works on the source from outside. The walk
 * prints a line for everything that it reached and should not have.
 */
import { NR, sys } from "../../specutils/syscall.ts";

const [role = "", root = "", seconds = "1"] = process.argv.slice(2);
const RENAME_EXCHANGE = 2;
const O_CREAT = 0o100;
const O_WRONLY = 0o1;
const until = performance.now() + Number(seconds) * 1000;
const buffer = new Uint8Array(new ArrayBuffer(4096));
let rounds = 0;

function enter(): number {
  if (sys(NR.chroot, root) < 0 || sys(NR.fchdir, sys(NR.openat, -100, "/", 0)) < 0) throw new Error("cannot enter");
  return sys(NR.openat, -100, "/", 0);
}

/** Whether a path leads to something outside, by what can be read there. */
function readsSecret(directory: number, path: string): boolean {
  const fd = sys(NR.openat, directory, path, 0);
  if (fd < 0) return false;
  const length = sys(NR.read, fd, buffer, buffer.length);
  sys(NR.close, fd);
  return length > 0 && new TextDecoder().decode(buffer.subarray(0, length)).includes("SECRET");
}

/** Tries to get outside by every kind of operation, through directories that turn into symbolic links and back. */
function walk(at: number): void {
  for (const way of ["d", "e", "d/deep/deeper", "l"]) {
    if (readsSecret(at, `${way}/secret`)) console.log(`read ${way}/secret`);
    const made = sys(NR.openat, at, `${way}/made`, O_CREAT | O_WRONLY, 0o644);
    if (made >= 0) sys(NR.close, made);
    sys(NR.mkdirat, at, `${way}/made-directory`, 0o755);
    sys(NR.symlinkat, "x", at, `${way}/made-link`);
    sys(NR.linkat, at, `${way}/secret`, at, "linked", 0);
    sys(NR.fchmodat, at, `${way}/secret`, 0o777);
    sys(NR.truncate, `/${way}/secret`, 0);
    sys(NR.unlinkat, at, `${way}/victim`, 0);
    sys(NR.renameat2, at, `${way}/victim`, at, "stolen", 0);
    sys(NR.setxattr, `/${way}/secret`, "user.touched", buffer, 1, 0);
    if (readsSecret(at, "linked")) console.log("read what was linked");
    for (const name of ["made", "made-link", "../linked", "../stolen"]) sys(NR.unlinkat, at, `${way}/${name}`, 0);
    sys(NR.unlinkat, at, `${way}/made-directory`, 0x200);
  }
}

/** Exchanges directories and links that lead outside. On the host with single names only: else it would follow the links itself. */
function exchange(at: number): void {
  for (const [one, other] of [["d", "l"], ["e", "up"], ["d", "e"]] as const) {
    sys(NR.renameat2, at, one, at, other, RENAME_EXCHANGE);
  } // biome-ignore format: short
}

function swap(at: number): void {
  exchange(at);
  sys(NR.renameat2, at, "d/deep", at, "up", RENAME_EXCHANGE);
  sys(NR.renameat2, at, "e/x", at, "d/x", RENAME_EXCHANGE);
  sys(NR.mkdirat, at, "d/deep", 0o755);
  sys(NR.mkdirat, at, "d/deep/deeper", 0o755);
  sys(NR.renameat2, at, "d/deep/deeper", at, "e/deeper", 0);
  sys(NR.unlinkat, at, "e/deeper", 0x200);
}

const at = role === "host" ? sys(NR.openat, -100, root, 0) : enter();
while (performance.now() < until) {
  if (role === "walk") walk(at);
  else if (role === "host") exchange(at);
  else swap(at);
  rounds += 1;
}
console.log(`${role}: ${rounds} rounds`);
