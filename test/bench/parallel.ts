/** Times a number of `run /bin/true` that are started all at once. */
import { spawn } from "node:child_process";
import { commandLine, type Peer } from "./peers.ts";
import { Samples } from "./statistics.ts";

/** Milliseconds until the last of `count` runs has ended, by runtime. @throws Error if one of them fails */
export async function measureParallel(
  peers: readonly Peer[],
  rounds: number,
  count: number,
  bundle: string,
): Promise<Samples> {
  const samples = new Samples();
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) {
      const before = process.hrtime.bigint();
      await Promise.all(
        Array.from({ length: count }, (_, index) => runOnce(peer, bundle, `bench-${peer.name}-p${round}-${index}`)),
      );
      samples.add(`${count} runs`, peer.name, Number(process.hrtime.bigint() - before) / 1e6);
    }
  }
  return samples;
}

function runOnce(peer: Peer, bundle: string, id: string): Promise<void> {
  const [program, args] = commandLine(peer, ["run", "--bundle", bundle, id]);
  return new Promise((resolve, reject) => {
    spawn(program, args, { stdio: "ignore" })
      .on("error", reject)
      .on("close", (code) =>
        code === 0 ? resolve() : reject(new Error(`${peer.name} run ${id}: exit code ${code} of parallel runs`)),
      );
  });
}
