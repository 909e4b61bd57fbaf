/** That a served tree behaves as a plain directory does: random operations on both, result by result and attribute by attribute. */
import { afterAll, describe } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { GoferOptions } from "../../gofer/options.ts";
import { mount, umount } from "../../specutils/syscall.ts";
import { missing, requires } from "../helpers/requires.ts";
import { projectDirectory } from "../helpers/runtime-path.ts";
import { serveTree } from "../helpers/served-tree.ts";

const itServes = requires("root", "CAP_SYS_ADMIN", "fuse");

/** `CLOCHE_DIFFERENTIAL=SEED:COUNT` asks for more than CI has time for. */
const [firstSeed, count] = (process.env["CLOCHE_DIFFERENTIAL"] ?? "1:25000").split(":").map(Number);

function compareDirectories(parent: string, options: Partial<GoferOptions>, seed: number): void {
  const served = serveTree(options, parent);
  const plain = path.join(served.source, "..", "plain");
  try {
    mkdirSync(plain);
    const cached = options.passthrough === false ? ["cached"] : [];
    const program = path.join(projectDirectory, "test/gofer/differential/run.ts");
    const args = [program, String(seed), String(count), plain, served.mountPoint, ...cached];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 3_600_000 });
    if (status !== 0) throw new Error(`seed ${seed}: status ${status}\n${stdout}${stderr}`);
  } finally {
    served.end();
  }
}

describe("random operations have the same results on a served tree as on a plain directory", () => {
  const directory = missing("root", "CAP_SYS_ADMIN").length === 0 ? mkdtempSync("/tmp/cloche-test-differential-") : "";
  afterAll(() => {
    if (directory !== "") rmSync(directory, { recursive: true });
  });
  const seed = firstSeed ?? 1;
  const timeoutMs = 3_600_000;

  itServes("on the file system of /tmp, passed through", () => compareDirectories("/tmp", {}, seed), timeoutMs);

  itServes(
    "on the file system of /tmp, read and written by the gofer",
    () => compareDirectories("/tmp", { passthrough: false }, seed + 1),
    timeoutMs,
  );

  itServes(
    "on tmpfs, and on an overlay, where names and attributes may be kept for ever",
    () => {
      const at = (name: string) => path.join(directory, name);
      mkdirSync(at("tmpfs"));
      mount("tmpfs", at("tmpfs"), "tmpfs", 0, null);
      try {
        for (const name of ["lower", "upper", "work", "merged", "plain"]) mkdirSync(at(`tmpfs/${name}`));
        compareDirectories(at("tmpfs/plain"), { validMs: 3_600_000 }, seed + 2);
        const layers = `lowerdir=${at("tmpfs/lower")},upperdir=${at("tmpfs/upper")},workdir=${at("tmpfs/work")}`;
        mount("overlay", at("tmpfs/merged"), "overlay", 0, layers);
        try {
          compareDirectories(at("tmpfs/merged"), { validMs: 3_600_000 }, seed + 3);
        } finally {
          umount(at("tmpfs/merged"), 0);
        }
      } finally {
        umount(at("tmpfs"), 0);
      }
    },
    timeoutMs,
  );
});
