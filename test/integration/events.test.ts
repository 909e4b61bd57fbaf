/** `events`: statistics at intervals, OOM kills when they happen, until the container ends. */
import { expect } from "bun:test";
import { lines } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { waitFor, withRuntime } from "../helpers/runtime.ts";

/** runc does not end with the container here. */
const it = requires("root", "busybox", "cloche");

it("events: tells of statistics and of running out of memory, and ends with the container", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      const limit = 16n * 1024n * 1024n;
      spec.linux.resources.memory = { limit, swap: limit };
      // The child is what the kernel kills: it is the one that grows.
      spec.process.args = ["sh", "-c", "sleep 2; (a=$(head -c 60000000 /dev/zero | tr '\\0' x)); exec sleep 60"];
    });
    runtime.ok(["start", id]);
    const events = runtime.spawn(["events", "--interval", "200ms", id]);
    let text = "";
    events.stdout?.on("data", (data) => {
      text += data;
    });
    const ended = new Promise((resolve) => events.on("exit", resolve));
    const types = () =>
      lines(text)
        .filter((line) => line.endsWith("}"))
        .map((line) => JSON.parse(line).type);
    await waitFor(
      "statistics and an OOM kill are told of",
      () => types().includes("stats") && types().includes("oom"),
      30_000,
    );
    runtime.ok(["kill", id, "KILL"]);
    expect(await ended).toBe(0);
    runtime.ok(["delete", "--force", id]);
  }));
