/** docker run: exit codes, streams, terminals. */
import { expect } from "bun:test";
import { dockerSuite } from "./docker.ts";

const { same } = dockerSuite();

same("run: gives the program's exit code, 128 and the signal when a signal ended it", async (side) => {
  const codes = await Promise.all(
    ["exit 0", "exit 1", "exit 42", "exit 125", "exit 255", "kill -TERM $$", "kill -KILL $$"].map(
      async (script) => (await side.run(["--init"], ["sh", "-c", `${script}`])).exitCode,
    ),
  );
  expect(codes).toEqual([0, 1, 42, 125, 255, 143, 137]);
  return codes;
});
