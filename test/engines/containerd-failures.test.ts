/** containerd: what it reports of tasks, in which order, and what becomes of them when a part of it dies. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { waitFor } from "../helpers/runtime.ts";
import { type Containerd, containerdSuite } from "./containerd.ts";
import { Ctr } from "./ctr.ts";

const { same, test } = containerdSuite();

/** Topics of the events of tasks, each as `topic exit-status`, by container. */
type Events = (id: string) => string[];

/** Records what containerd reports while `body` runs, and a little longer. */
async function withEvents<T>(containerd: Containerd, name: string, body: (events: Events) => Promise<T>): Promise<T> {
  const file = containerd.nest.path(`events-${name}`);
  const script = `exec ${containerd.command(["events"]).join(" ")} > ${file}`;
  // The stream is there once it shows an event that was made for that.
  const isReady = async () => {
    await containerd.ctr(["namespaces", "label", "default", `probe=${performance.now()}`]);
    return readFileSync(file, "utf8").includes("/namespaces/update");
  };
  const daemon = await containerd.nest.start(["sh", "-c", script], isReady);
  try {
    return await body((id) =>
      readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line.includes(" /tasks/") && line.includes(`"container_id":"${id}"`))
        .map((line) => `${/ \/tasks\/(\S+)/.exec(line)?.[1]} ${/"exit_status":(\d+)/.exec(line)?.[1] ?? ""}`.trim()),
    );
  } finally {
    await daemon.end("SIGTERM");
  }
}

/** Fills memory until somebody ends it. */
const fillMemory = ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"];

same("events: of a whole life, in order", (ctr) =>
  withEvents(ctr.containerd, ctr.side.name, async (events) => {
    const id = await ctr.start();
    await ctr.exec(id, ["sh", "-c", "exit 3"]);
    await ctr.okTask("pause", id);
    await ctr.okTask("resume", id);
    await ctr.okTask("kill", "--signal", "KILL", id);
    await ctr.until(id, "STOPPED");
    await ctr.remove(id);
    const last = ["paused", "resumed", "exit 137", "delete 137"];
    const wanted = ["create", "start", "exec-added", "exec-started", "exit 3", ...last];
    await waitFor("the last event has come", () => events(id).length >= wanted.length);
    expect(events(id)).toEqual(wanted);
  }),
);

same("events: a program that ends at once has started before", (ctr) =>
  withEvents(ctr.containerd, ctr.side.name, async (events) => {
    const ids = Array.from({ length: 5 }, () => ctr.id());
    await Promise.all(ids.map((id) => ctr.containerd.ctr(ctr.runArgs(["--rm"], id, ["true"]))));
    for (const id of ids) {
      await waitFor("the last event has come", () => events(id).length >= 4);
      expect(events(id)).toEqual(["create", "start", "exit", "delete"]);
    }
  }),
);

same("events: a container out of memory is reported, and ends with 137", (ctr) =>
  withEvents(ctr.containerd, ctr.side.name, async (events) => {
    const id = ctr.id();
    const limit = ["--memory-limit", "33554432"];
    const { exitCode } = await ctr.containerd.ctr(ctr.runArgs(["--rm", ...limit], id, fillMemory));
    expect(exitCode).toBe(137);
    await waitFor("the event of the memory has come", () => events(id).includes("oom"));
    expect(events(id).filter((event) => event !== "oom")).toEqual(["create", "start", "exit 137", "delete 137"]);
  }),
);

same("events: an exec'd program out of memory is reported, and the container goes on", (ctr) =>
  withEvents(ctr.containerd, ctr.side.name, async (events) => {
    const id = await ctr.start(["--memory-limit", "33554432"]);
    expect((await ctr.exec(id, fillMemory)).exitCode).toBe(137);
    await waitFor("the event of the memory has come", () => events(id).includes("oom"));
    expect(await ctr.status(id)).toBe("RUNNING");
  }),
);

same("a killed shim: containerd ends the container, reports it, and leaves nothing", (ctr) =>
  withEvents(ctr.containerd, ctr.side.name, async (events) => {
    const id = await ctr.start([], ["sh", "-c", "sleep 700 & sleep 701"]);
    await ctr.okTask("exec", "--detach", "--exec-id", "other", id, "sleep", "702");
    process.kill(ctr.containerd.shimOf(id), "SIGKILL");
    await waitFor("the end is reported", () => events(id).some((event) => event.startsWith("delete")));
    expect(events(id).filter((event) => /^(create|start|exit|delete)/.test(event))).toEqual([
      "create",
      "start",
      "exit 137",
      "delete 137",
    ]);
    await waitFor("its processes are gone", () => !isRunning(ctr, id));
    expect(await ctr.status(id)).toBe("");
  }),
);

function isRunning(ctr: Ctr, id: string): boolean {
  return [...ctr.containerd.processes().values()].some((line) => line.includes(id) || /\bsleep 70\d\b/.test(line));
}

same("a killed shim of a paused container: nothing is left either", async (ctr) => {
  const id = await ctr.start();
  await ctr.okTask("pause", id);
  process.kill(ctr.containerd.shimOf(id), "SIGKILL");
  while ((await ctr.status(id)) !== "") await Bun.sleep(20);
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`containerd ended by ${signal} and started again: tasks have gone on, and obey`, async (containerd) => {
    const ctrs = containerd.sides.map((side) => new Ctr(containerd, side));
    const started = await Promise.all(
      ctrs.map(async (ctr) => {
        const running = await ctr.start();
        const paused = await ctr.start();
        await ctr.okTask("pause", paused);
        const ended = await ctr.start([], ["sh", "-c", "until [ -e /tmp/end ]; do sleep 0.1; done; exit 6"]);
        return { ctr, running, paused, ended };
      }),
    );
    await containerd.end(signal);
    await containerd.start();
    for (const { ctr, running, paused, ended } of started) {
      expect([await ctr.status(running), await ctr.status(paused)]).toEqual(["RUNNING", "PAUSED"]);
      expect((await ctr.exec(running, ["sh", "-c", "exit 8"])).exitCode).toBe(8);
      await ctr.okTask("resume", paused);
      expect((await ctr.exec(paused, ["true"])).exitCode).toBe(0);
      await ctr.exec(ended, ["touch", "/tmp/end"]);
      await ctr.until(ended, "STOPPED");
      expect((await ctr.task(["delete", ended])).stderr).toContain("exit code 6");
      await ctr.close();
    }
    await containerd.isClean();
  });
}

test("a task that ends while containerd is down: its exit code is there afterwards", async (containerd) => {
  const ctrs = containerd.sides.map((side) => new Ctr(containerd, side));
  const ids = await Promise.all(ctrs.map((ctr) => ctr.start([], ["sh", "-c", "sleep 1; exit 11"])));
  await containerd.end("SIGKILL");
  await waitFor(
    "the programs have ended",
    () => ![...containerd.processes().values()].some((line) => /^sh -c/.test(line)),
  );
  await containerd.start();
  for (const [index, ctr] of ctrs.entries()) {
    const id = ids[index] ?? "";
    await ctr.until(id, "STOPPED");
    expect((await ctr.task(["delete", id])).stderr).toContain("exit code 11");
    await ctr.close();
  }
  await containerd.isClean();
});

same(
  "twenty tasks at the same time",
  async (ctr) => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, code) => ctr.run([], ["sh", "-c", `echo ${code}; exit ${code}`])),
    );
    expect(results.map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual(
      results.map((_, code) => [code, `${code}\n`]),
    );
  },
  120_000,
);
