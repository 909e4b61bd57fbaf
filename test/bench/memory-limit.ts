/** The smallest `linux.resources.memory.limit` with which `run /bin/true` succeeds. */
import { spawnSync } from "node:child_process";
import { makeBundle } from "../helpers/bundle.ts";
import { commandLine, type Peer } from "./peers.ts";

/** Limits are tried in steps of so many KiB, up to MOST_KIB. */
const STEP_KIB = 32;
const MOST_KIB = 64 * 1024;

/** A limit counts if so many runs in a row succeed. */
const TRIES = 3;

/** KiB; undefined if not even the largest limit that is tried suffices. @param rootfs absolute path of a root filesystem */
export function smallestMemoryLimit(peer: Peer, directory: string, rootfs: string): number | undefined {
  let [fails, works] = [0, MOST_KIB / STEP_KIB];
  if (!canRun(peer, directory, rootfs, works * STEP_KIB)) return undefined;
  while (works - fails > 1) {
    // Small limits are the likely ones.
    const middle = Math.min(Math.floor((fails + works) / 2), Math.max(fails * 2, fails + 16));
    if (canRun(peer, directory, rootfs, middle * STEP_KIB)) works = middle;
    else fails = middle;
  }
  return works * STEP_KIB;
}

function canRun(peer: Peer, directory: string, rootfs: string, limitKiB: number): boolean {
  const bundle = makeBundle(directory, (spec) => {
    spec.root.path = rootfs;
    spec.process.args = ["/bin/true"];
    spec.linux.resources = { ...spec.linux.resources, memory: { limit: BigInt(limitKiB) * 1024n } };
  });
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const id = `bench-${peer.name}-m${limitKiB}-${attempt}`;
    const [program, args] = commandLine(peer, ["run", "--bundle", bundle, id]);
    const { status } = spawnSync(program, args, { stdio: "ignore", timeout: 10_000, killSignal: "SIGKILL" });
    if (status !== 0) {
      const [, remove] = commandLine(peer, ["delete", "--force", id]);
      spawnSync(program, remove, { stdio: "ignore", timeout: 10_000, killSignal: "SIGKILL" });
      return false;
    }
  }
  return true;
}
