/**
 * What cloche-init does with plans that are wrong. It refuses, before anything happens, whatever is out of bounds; and of a
 * plan that is within bounds but makes no sense the worst that comes is a failed step: no crash, no hang, nothing left.
 */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { encodePlan, op, Plan } from "../../sandbox/plan.ts";
import { HEADER_BYTES, NO_SLOT, OP, OP_BYTES, PLAN_MAX_OPS, PLAN_SLOTS } from "../../sandbox/protocol.ts";
import { runBytes, samplePlan, waitForAll } from "../helpers/helper-run.ts";
import { requires } from "../helpers/requires.ts";

const it = requires("root", "cloche");
const { EINVAL, EPERM } = constants.errno;

type Change = (view: DataView, opAt: (code: number) => number) => void;

/** Encodes the sample plan, lets `change` spoil it, and gives it to the helper; how that ended. */
async function refusal(change: Change, isSealed = true) {
  const bytes = encodePlan(samplePlan("/nonexistent"));
  const view = new DataView(bytes.buffer);
  const opAt = (code: number) => {
    for (let at = HEADER_BYTES; ; at += OP_BYTES) if (view.getUint32(at, true) === code) return at;
  };
  change(view, opAt);
  const outcome = await runBytes(bytes, isSealed);
  return { ...outcome, ends: waitForAll().map(({ exitCode }) => exitCode) };
}

const argument = (at: number, index: number) => at + 8 + index * 8;
const textOffset = (at: number, index: number) => at + 40 + index * 8;
const textLength = (at: number, index: number) => at + 44 + index * 8;

const REFUSED: Record<string, Change> = {
  "another magic": (view) => view.setUint32(0, 0x45484c44, true),
  "another version": (view) => view.setUint32(4, 2, true),
  "a total that is too large": (view) => view.setUint32(8, view.byteLength + 1, true),
  "a total that is too small": (view) => view.setUint32(8, view.byteLength - 1, true),
  "no ops": (view) => view.setUint32(12, 0, true),
  "more ops than are there": (view) => view.setUint32(12, PLAN_MAX_OPS, true),
  "more ops than are allowed": (view) => view.setUint32(12, 0xffffffff, true),
  "a string area that is too long": (view) => view.setUint32(16, view.getUint32(16, true) + 1, true),
  "no string area": (view) => view.setUint32(16, 0, true),
  "a container stage beyond the end": (view) => view.setUint32(20, view.getUint32(12, true) + 1, true),
  "op code 0": (view) => view.setUint32(HEADER_BYTES, 0, true),
  "an op code that does not exist": (view) => view.setUint32(HEADER_BYTES, Math.max(...Object.values(OP)) + 1, true),
  "a huge op code": (view) => view.setUint32(HEADER_BYTES, 0xffffffff, true),
  "a slot beyond the table": (view, at) => view.setBigUint64(argument(at(OP.OPEN), 0), BigInt(PLAN_SLOTS), true),
  "a slot of 64 bits": (view, at) => view.setBigUint64(argument(at(OP.OPEN), 0), 1n << 32n, true),
  "no slot where one is needed": (view, at) => view.setBigUint64(argument(at(OP.OPEN), 0), BigInt(NO_SLOT), true),
  "no slot for the exit record": (view, at) => view.setBigUint64(argument(at(OP.SANDBOX), 0), BigInt(NO_SLOT), true),
  "a clone flag that makes no namespace": (view, at) =>
    view.setBigUint64(argument(at(OP.CONTAINER), 0), 0x100n /* CLONE_VM */, true),
  "a user namespace slot beyond the table": (view, at) =>
    view.setBigUint64(argument(at(OP.MOUNT_SETATTR), 3), BigInt(PLAN_SLOTS + 1) << 32n, true),
  "an unknown kind of target": (view, at) => view.setBigUint64(argument(at(OP.TARGET), 2), 4n, true),
  "a target like a slot beyond the table": (view, at) => {
    view.setBigUint64(argument(at(OP.TARGET), 2), 2n, true);
    view.setBigUint64(argument(at(OP.TARGET), 3), BigInt(PLAN_SLOTS), true);
  },
  "a string beyond the area": (view, at) => view.setUint32(textOffset(at(OP.OPEN), 0), 0x7fffffff, true),
  "a string whose end overflows": (view, at) => {
    view.setUint32(textOffset(at(OP.OPEN), 0), 0xffffffff, true);
    view.setUint32(textLength(at(OP.OPEN), 0), 1, true);
  },
  "a string without a NUL behind it": (view, at) =>
    view.setUint32(textLength(at(OP.OPEN), 0), view.getUint32(textLength(at(OP.OPEN), 0), true) - 1, true),
  "a list with fewer strings than are counted": (view, at) => view.setBigUint64(argument(at(OP.EXECUTE), 0), 3n, true),
  "a list with more strings than are counted": (view, at) => view.setBigUint64(argument(at(OP.EXECUTE), 0), 0n, true),
  "a count that overflows": (view, at) => view.setBigUint64(argument(at(OP.EXECUTE), 0), 0xffffffffffffffffn, true),
  "groups that are no whole number of ids": (view, at) => view.setBigUint64(argument(at(OP.USER), 2), 3n, true),
  "a number of groups that overflows": (view, at) => view.setBigUint64(argument(at(OP.USER), 2), 1n << 62n, true),
  "scheduling attributes with another length": (view, at) => view.setUint32(textLength(at(OP.SCHEDULER), 0), 40, true),
  "a mask with more bits than bytes": (view, at) => view.setBigUint64(argument(at(OP.MEMORY_POLICY), 1), 65n, true),
  "a filter that is no whole number of instructions": (view, at) =>
    view.setUint32(textLength(at(OP.SECCOMP), 0), 12, true),
};

for (const [name, change] of Object.entries(REFUSED)) {
  it(`a plan with ${name} is refused before anything happens`, async () => {
    expect(await refusal(change)).toEqual({ syncs: [], error: { index: NO_SLOT, errno: EINVAL }, ends: [125] });
  });
}

it("a plan that somebody could still change is refused", async () => {
  expect(await refusal(() => undefined, false)).toEqual({
    syncs: [],
    error: { index: NO_SLOT, errno: EPERM },
    ends: [125],
  });
});

it("the same plan, unspoilt, is begun", async () => {
  const { syncs, error } = await refusal(() => undefined);
  // Its root does not exist.
  expect({ syncs, error }).toEqual({ syncs: [], error: { index: 0, errno: constants.errno.ENOENT } });
});

it("a plan without a program ends with an error", async () => {
  const plan = new Plan();
  plan.host.push(op(OP.CONTAINER, "container", [0]));
  plan.container.push(op(OP.UMASK, "umask", [0o22]));
  expect((await runBytes(encodePlan(plan), true)).error).toEqual({ index: 1, errno: EINVAL });
  waitForAll();
});

it("an op in the wrong stage, or an empty slot, is a failed step", async () => {
  const wrong = new Plan();
  wrong.host.push(op(OP.PIVOT, "pivot", [wrong.slot()]));
  expect((await runBytes(encodePlan(wrong), true)).error).toEqual({ index: 0, errno: constants.errno.ENOSYS });
  const empty = new Plan();
  empty.host.push(op(OP.SETNS, "enter", [empty.slot(), 0]));
  expect((await runBytes(encodePlan(empty), true)).error).toEqual({ index: 0, errno: constants.errno.EBADF });
  waitForAll();
});

/** How many plans, changed at random, are carried out in a throw-away machine of namespaces. */
const RANDOM_PLANS = Number(process.env["CLOCHE_MUTATIONS"] ?? 400);
const SEED = process.env["CLOCHE_SEED"] ?? "73051097";

it(`${RANDOM_PLANS} plans changed at random (seed ${SEED}) neither crash nor hang the helper, and leave no process`, () => {
  // A user namespace in which nobody is root on the host, and everything else that a plan could spoil is new and ends with it.
  const directory = mkdtempSync(path.join(tmpdir(), "cloche-mutations-"));
  try {
    const script = path.join(import.meta.dirname, "../fuzz/mutate.ts");
    const unshare = ["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork"];
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      [...unshare, "--kill-child", "--mount-proc", process.execPath, script, directory, String(RANDOM_PLANS), SEED],
      { encoding: "utf8", timeout: 600_000, killSignal: "SIGKILL" },
    );
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${RANDOM_PLANS} plans\n`, stderr: "" });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
