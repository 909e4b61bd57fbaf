/** Several trees served by one gofer: what they share, and that one does not live at the cost of another. */
import { expect } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { umount } from "../../specutils/syscall.ts";
import { requires } from "../helpers/requires.ts";
import { killChild, waitFor } from "../helpers/runtime.ts";
import { type ServedTrees, serveTrees } from "../helpers/served-tree.ts";

const it = requires("root", "CAP_SYS_ADMIN", "fuse", "python3");
const MNT_DETACH = 2;

async function withTrees(served: ServedTrees, body: (points: string[]) => Promise<void> | void): Promise<void> {
  try {
    await body(served.trees.map(({ mountPoint }) => mountPoint));
  } finally {
    served.end();
  }
}

function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
}

it("trees: each shows its own files, and what one is told does not hold for the others", () =>
  withTrees(serveTrees(3, { trees: [{}, { readOnly: true }, { hidden: ["x"] }] }), (points) => {
    for (const [index, point] of points.entries()) {
      writeFileSync(path.join(point.replace("served", "source"), "x"), String(index));
    }
    const [one = "", two = "", three = ""] = points;
    expect([one, two].map((point) => readFileSync(path.join(point, "x"), "utf8"))).toEqual(["0", "1"]);
    expect(() => statSync(path.join(three, "x"))).toThrow("ENOENT");
    expect(() => writeFileSync(path.join(two, "y"), "")).toThrow("EROFS");
    writeFileSync(path.join(one, "y"), "");
    writeFileSync(path.join(three, "y"), "");
    expect(spawnSync("mv", [path.join(one, "y"), path.join(three, "moved")]).status).toBe(0);
    expect(readdirSync(three).toSorted()).toEqual(["moved", "y"]);
  }));

it("trees: one that is unmounted leaves nothing open, the others are served on; with the last the gofer ends", async () => {
  const served = serveTrees(3, { passthrough: false });
  const { pid } = served.gofer;
  let isEnded = false;
  await withTrees(served, async (points) => {
    for (const point of points) {
      writeFileSync(path.join(point, "file"), "text");
      expect(readdirSync(point)).toEqual(["file"]);
    }
    const [one = "", two = "", three = ""] = points;
    const before = openFiles(pid).filter((name) => name !== "/dev/fuse").length;
    umount(two, MNT_DETACH);
    await waitFor(
      "the second connection is closed",
      () => openFiles(pid).filter((name) => name === "/dev/fuse").length === 2,
    );
    expect(openFiles(pid).filter((name) => name !== "/dev/fuse").length).toBeLessThan(before);
    for (const point of [one, three]) expect(readFileSync(path.join(point, "file"), "utf8")).toBe("text");
    umount(one, MNT_DETACH);
    await waitFor(
      "the first connection is closed",
      () => openFiles(pid).filter((name) => name === "/dev/fuse").length === 1,
    );
    writeFileSync(path.join(three, "more"), "text");
    umount(three, MNT_DETACH);
    isEnded = await waitFor("the gofer has ended", () => / Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1")));
  });
  expect(isEnded).toBe(true);
});

/** Creates and removes a file of its own until it is killed. */
const BUSY =
  "import os\nf = str(os.getpid())\nwhile True:\n  os.close(os.open(f, os.O_CREAT | os.O_RDWR)); os.unlink(f)";

for (const busyTrees of [1, 2]) {
  it(`trees: those that are always busy let the others come to their turn (${busyTrees})`, () =>
    withTrees(serveTrees(busyTrees * 2), async (points) => {
      const busy = points
        .slice(0, busyTrees)
        .flatMap((cwd) => [cwd, cwd, cwd])
        .map((cwd) => spawn("python3", ["-c", BUSY], { cwd, stdio: "ignore" }));
      try {
        await Bun.sleep(300);
        for (const cwd of points.slice(busyTrees)) {
          const script = "import os\nfor i in range(200): os.mkdir('d'); os.rmdir('d')\nprint('done')";
          const { stdout } = spawnSync("python3", ["-c", script], { cwd, encoding: "utf8", timeout: 20_000 });
          expect(stdout).toBe("done\n");
        }
        for (const { exitCode, signalCode } of busy) expect([exitCode, signalCode]).toEqual([null, null]);
      } finally {
        for (const child of busy) await killChild(child);
      }
    }));
}

it("trees: descriptors are kept for all together, and the limit holds", () =>
  withTrees(serveTrees(2, { maxFds: 40 }), (points) => {
    for (const point of points) {
      for (let index = 0; index < 100; index++) writeFileSync(path.join(point, `file-${index}`), String(index));
    }
    for (const point of points) {
      for (let index = 0; index < 100; index++) {
        expect(readFileSync(path.join(point, `file-${index}`), "utf8")).toBe(String(index));
      }
    }
  }));

it("trees: when the gofer is gone, so is the access to all of them, at once", async () => {
  const served = serveTrees(3);
  await withTrees(served, (points) => {
    process.kill(served.gofer.pid, "SIGKILL");
    for (const point of points) expect(() => readdirSync(point)).toThrow(/ENOTCONN|ECONNABORTED/);
  });
});
