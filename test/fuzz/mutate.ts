/**
 * Carries out plans that were changed at random, with the real helper. What they do is anybody's guess: to be run inside
 * namespaces of its own, as test/integration/helper-mutations.test.ts does. Arguments: an empty directory, number of plans,
 * and a seed: the same one makes the same plans.
 */
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { encodePlan } from "../../sandbox/plan.ts";
import { HEADER_BYTES, OP_BYTES } from "../../sandbox/protocol.ts";
import { NR, sys, waitPid } from "../../specutils/syscall.ts";
import { runBytes, samplePlan } from "../helpers/helper-run.ts";

const [, , directory = "", count = "0", seed = ""] = process.argv;
const SIGKILL = 9;
/** By which a helper ends that has gone wrong: SIGABRT, SIGBUS, SIGFPE, SIGSEGV. SIGILL is its way out of a filter (report.c). */
const CRASHES = new Set([6, 7, 8, 11]);

/** A generator of numbers below `limit` that repeats itself for the same seed (mulberry32). */
function randomNumbers(start: number): (limit: number) => number {
  let state = start;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const random = randomNumbers(Number(seed));

function makeRoot(): string {
  const root = path.join(directory, "root");
  mkdirSync(path.join(root, "bin"), { recursive: true });
  mkdirSync(path.join(root, "mnt/tmpfs/deep/er"), { recursive: true });
  writeFileSync(path.join(root, "mnt/tmpfs/deep/file"), "content");
  symlinkSync("/mnt/tmpfs", path.join(root, "mnt/link"));
  cpSync("/bin/busybox", path.join(root, "bin/busybox"));
  return root;
}

/** Values on which bounds are often wrong. */
const EDGES = [0n, 1n, 2n, 0x7fn, 0xffn, 2047n, 2048n, 0x7fffffffn, 0xffffffffn, 1n << 32n, 0xffffffffffffffffn];

/** One to three changes: a bit, an edge value in an argument, an op that comes twice, is missing, or is another. */
function mutate(original: Uint8Array): Uint8Array {
  const bytes = original.slice();
  const view = new DataView(bytes.buffer);
  const ops = view.getUint32(12, true);
  const anOp = () => HEADER_BYTES + random(ops) * OP_BYTES;
  for (let changes = 1 + random(3); changes > 0; changes--) {
    switch (random(5)) {
      case 0: {
        const at = random(bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      }
      case 1:
        view.setBigUint64(anOp() + 8 + random(4) * 8, EDGES[random(EDGES.length)] ?? 0n, true);
        break;
      case 2:
        bytes.copyWithin(anOp(), anOp(), HEADER_BYTES + ops * OP_BYTES);
        break;
      case 3: {
        const from = anOp();
        bytes.copyWithin(anOp(), from, from + OP_BYTES);
        break;
      }
      default:
        view.setUint32(anOp() + random(2) * 4, random(64), true);
    }
  }
  return bytes;
}

/** Ends what is left of a plan; the signals by which its processes crashed. */
function finish(): number[] {
  // -1: everyone in this pid namespace but us, its PID 1.
  sys(NR.kill, -1, SIGKILL);
  const crashes: number[] = [];
  for (;;) {
    try {
      const end = waitPid(-1);
      if (end?.signal !== undefined && CRASHES.has(end.signal)) crashes.push(end.signal);
    } catch {
      return crashes; // ECHILD
    }
  }
}

// A plan may cover /proc for everybody in here; the working directory stays what it is.
process.chdir("/proc");
const base = encodePlan(samplePlan(makeRoot()));
const { error } = await runBytes(base, true);
if (error !== undefined) console.error(`the plan itself fails in op ${error.index} with errno ${error.errno}`);
finish();
for (let index = 0; index < Number(count); index++) {
  const bytes = mutate(base);
  await runBytes(bytes, true);
  const crashes = finish();
  if (crashes.length > 0) {
    writeFileSync(path.join("/tmp", `crashed-plan-${seed}-${index}`), bytes);
    console.error(`plan ${index} of seed ${seed} crashed the helper: signal ${crashes}`);
  }
  const processes = readdirSync(".").filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  if (processes.length > 0) console.error(`plan ${index} of seed ${seed} left ${processes.length} processes`);
}
console.log(`${count} plans`);
