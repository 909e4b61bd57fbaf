import { expect, test } from "bun:test";
import { ClocheError, NotFoundError, StatusError } from "../specutils/errors.ts";
import { forEachTarget } from "./targets.ts";

const failures: Record<string, Error> = {
  ended: new StatusError("container not running", "stopped", ["running"]),
  gone: new NotFoundError("does not exist"),
  frozen: new StatusError("container not running", "paused", ["running"]),
  broken: new ClocheError("cannot be done"),
};

/** To whom it was done, and what was said. */
async function doTo(...ids: string[]): Promise<[string[], string | undefined]> {
  const done: string[] = [];
  const action = async (id: string): Promise<void> => {
    const failure = failures[id];
    if (failure !== undefined) throw failure;
    done.push(id);
  };
  const said = await forEachTarget(ids, action).catch((error) => String(error.message));
  return [done, said ?? undefined];
}

test("forEachTarget: what has ended meanwhile is no failure among others, and one alone", async () => {
  expect(await doTo("ended", "c1", "gone", "c2")).toEqual([["c1", "c2"], undefined]);
  expect(await doTo("ended")).toEqual([[], "container not running"]);
  expect(await doTo("gone")).toEqual([[], "does not exist"]);
});

test("forEachTarget: every other failure is told, and keeps nobody from his turn", async () => {
  expect(await doTo("frozen", "c1")).toEqual([["c1"], "container not running"]);
  expect(await doTo("broken", "gone", "c1", "frozen")).toEqual([["c1"], "cannot be done; container not running"]);
});
