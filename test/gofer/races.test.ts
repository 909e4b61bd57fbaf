/** That two processes that fight over paths, inside and on the host, never make the gofer reach what is outside of its tree. */
import { describe, expect } from "bun:test";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { projectDirectory } from "../helpers/runtime-path.ts";
import { serveTree } from "../helpers/served-tree.ts";
import { listXattrs } from "../helpers/xattr.ts";

const itServes = requires("root", "CAP_SYS_ADMIN", "fuse");

/** `CLOCHE_RACES=600` fights for ten minutes. */
const seconds = Number(process.env["CLOCHE_RACES"] ?? "30");

async function fight(role: string, root: string): Promise<string> {
  const program = path.join(projectDirectory, "test/gofer/fighter.ts");
  const child = spawn(process.execPath, [program, role, root, String(seconds)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text) => {
    output += text;
  });
  await new Promise((resolve) => child.on("close", resolve));
  return output.trim();
}

/** Everything that an attack could have changed there. */
function picture(directory: string): unknown {
  return readdirSync(directory)
    .sort()
    .map((name) => {
      const { mode, size, nlink, ino } = statSync(path.join(directory, name));
      const attributes = listXattrs(path.join(directory, name));
      return [
        name,
        mode,
        size,
        nlink,
        ino,
        attributes,
        statSync(path.join(directory, name)).isFile() ? readFileSync(path.join(directory, name), "utf8") : "",
      ];
    });
}

describe("symbolic links and renames in the way", () => {
  itServes(
    "lead the gofer nowhere",
    async () => {
      // Few descriptors: directories are opened again, by names that have changed meanwhile, all the time.
      const tree = serveTree({ maxFds: 2, validMs: 0 });
      try {
        const top = path.dirname(tree.source);
        const outside = path.join(top, "outside");
        for (const name of ["deep/deeper", "made-directory"]) mkdirSync(path.join(outside, name), { recursive: true });
        for (const name of ["secret", "victim", "deep/secret", "deep/deeper/secret"])
          writeFileSync(path.join(outside, name), "SECRET");
        for (const name of ["d/deep/deeper", "e/x", "d/x"])
          mkdirSync(path.join(tree.source, name), { recursive: true });
        symlinkSync(outside, path.join(tree.source, "l"));
        symlinkSync("../outside", path.join(tree.source, "up"));
        const before = [
          picture(outside),
          picture(path.join(outside, "deep")),
          picture(path.join(outside, "deep/deeper")),
        ];
        const fights = [
          ["walk", tree.mountPoint],
          ["swap", tree.mountPoint],
          ["host", tree.source],
        ] as const;
        const results = await Promise.all(fights.map(([role, root]) => fight(role, root)));
        expect(results.map((text) => text.replace(/\d+/, "N"))).toEqual([
          "walk: N rounds",
          "swap: N rounds",
          "host: N rounds",
        ]);
        expect(results.every((text) => Number(/\d+/.exec(text)?.[0]) > 100)).toBe(true);
        expect([
          picture(outside),
          picture(path.join(outside, "deep")),
          picture(path.join(outside, "deep/deeper")),
        ]).toEqual(before);
      } finally {
        expect(tree.end()).toMatchObject({ exitCode: 0 });
      }
    },
    (seconds + 60) * 1000,
  );
});
