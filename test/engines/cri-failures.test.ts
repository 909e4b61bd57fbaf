/** Pods by containerd's CRI plugin: what does not start, takes too long, is killed or loses its containerd. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { Cri, criSuite, programs } from "./cri.ts";
import { failure } from "./cri-client.ts";
import { findSide } from "./sides.ts";

const { samePod, podTest } = criSuite();

samePod("a program that is not there: the container is not started, with the reason", async (cri) => {
  const pod = await cri.pod();
  const neighbour = await pod.start();
  const id = await pod.create(["/nope"]);
  const reason = await failure(cri.startContainer(id));
  expect(reason).toMatch(/OCI runtime create failed: .*exec: "\/nope": .*no such file or directory/);
  expect(await cri.status(id)).toMatchObject({ state: "CONTAINER_EXITED", reason: "StartError" });
  await cri.removeContainer(id);
  expect((await cri.exec(neighbour, ["true"])).exit_code).toBe(0);
});

samePod("exec: many at the same time, and one that takes too long", async (cri) => {
  const pod = await cri.pod();
  const id = await pod.start();
  const codes = await Promise.all(
    Array.from({ length: 10 }, async (_, code) => (await cri.exec(id, ["sh", "-c", `exit ${code}`])).exit_code),
  );
  expect(codes).toEqual(Array.from({ length: 10 }, (_, code) => code));
  const reason = await failure(cri.exec(id, ["sleep", "871"], 1));
  expect(reason).toContain("timeout 1s exceeded");
  expect(await programs(cri, id)).not.toContain("sleep 871");
  expect(await failure(cri.exec(id, ["/nope"]))).toMatch(/exec: "\/nope": .*no such file or directory/);
});

samePod("a killed sandbox process: the pod is not ready, and can be removed", async (cri) => {
  const pod = await cri.pod({ network: "NODE", pid: "POD" });
  const id = await pod.start(["sleep", "881"]);
  // PID 1 of the pod's namespace takes SIGTERM from inside, as it handles it.
  await cri.exec(id, ["kill", "-TERM", "1"]);
  expect(await cri.exited(id)).toMatchObject({ exit_code: 137 });
  while ((await pod.status()).state === "SANDBOX_READY") await Bun.sleep(20);
});

samePod("a killed shim: the pod and all its containers are gone", async (cri) => {
  const pod = await cri.pod();
  const ids = [await pod.start(["sleep", "891"]), await pod.start(["sleep", "892"])];
  process.kill(cri.containerd.shimOf(pod.id), "SIGKILL");
  // The exit code is containerd's own, for a container of which nobody knows how it ended.
  for (const id of ids) expect(await cri.exited(id)).toMatchObject({ exit_code: 255 });
  while ((await pod.status()).state === "SANDBOX_READY") await Bun.sleep(20);
});

podTest("containerd killed and started again: pods have gone on, and obey", async (containerd) => {
  const cris = containerd.sides.map((side) => new Cri(containerd, side));
  const pods = await Promise.all(
    cris.map(async (cri) => {
      const pod = await cri.pod({ network: "NODE", pid: "POD" });
      return { pod, ids: [await pod.start(), await pod.start()] };
    }),
  );
  await containerd.end("SIGKILL");
  await containerd.start();
  for (const [index, cri] of cris.entries()) {
    const { pod, ids } = pods[index] ?? { ids: [] };
    await cri.client.isReady();
    expect(await pod?.status()).toMatchObject({ state: "SANDBOX_READY", runtime_handler: cri.side.name });
    for (const id of ids) expect((await cri.exec(id, ["sh", "-c", "exit 9"])).exit_code).toBe(9);
    const more = await pod?.start(["sh", "-c", "exit 12"]);
    expect(await cri.exited(more ?? "")).toMatchObject({ exit_code: 12 });
    await cri.close();
  }
  await containerd.isClean();
});

for (const [what, victim] of [
  ["its process", (sandbox: number, _: number) => sandbox],
  ["the program of the pod's first container", (_: number, first: number) => first],
] as const) {
  podTest(
    `a pod of cloche's is one sandbox: ${what} killed, all its containers end`,
    async (containerd) => {
      const cri = new Cri(containerd, findSide("cloche"));
      try {
        const pod = await cri.pod({ network: "NODE", pid: "CONTAINER" });
        const [first] = [...containerd.processes()].flatMap(([pid, line]) => (line.startsWith("/bin/sh") ? [pid] : []));
        const ids = [await pod.start(), await pod.start()];
        const found = [...containerd.processes().keys()].filter((pid) => comm(pid) === "cloche-sandbox");
        // The pod's, and in its pid namespace one for each container that has joined.
        const [outer = 0, ...inner] = found.sort((one, other) => depth(one) - depth(other));
        expect(inner.map(depth)).toEqual([depth(outer) + 1, depth(outer) + 1]);
        process.kill(victim(outer, first ?? 0), "SIGKILL");
        for (const id of ids) expect(await cri.exited(id)).toMatchObject({ exit_code: 137 });
        while ((await pod.status()).state === "SANDBOX_READY") await Bun.sleep(20);
      } finally {
        await cri.close();
      }
      await containerd.isClean();
    },
    "cloche",
  );
}

function comm(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
}

/** In how many PID namespaces a process is. */
function depth(pid: number): number {
  return (/^NSpid:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "").trim().split(/\s+/).length;
}
