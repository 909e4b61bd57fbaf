/** What the helper copies into a new tmpfs (`tmpcopyup`, OP.COPY_UP): a tree of everything that can be in one. */
import { afterAll, expect } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { op, openOp, Plan } from "../../sandbox/plan.ts";
import { OP } from "../../sandbox/protocol.ts";
import { HelperError } from "../../specutils/errors.ts";
import { listenAt, SOCK } from "../../specutils/unix-socket.ts";
import { stopAtTest } from "../helpers/helper-run.ts";
import { requires } from "../helpers/requires.ts";

const it = requires("root", "cloche");
const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
const base = mkdtempSync(path.join(tmpdir(), "cloche-copy-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** Copies `source` into a tmpfs with `options` and shows the copy to `look`. */
function copyUp<T>(source: string, options: string[], look: (copy: string) => T): Promise<T> {
  const plan = new Plan();
  const [from, mounted] = [plan.slot(), plan.slot()];
  plan.host.push(openOp(from, source, O_PATH | O_DIRECTORY, "source"), op(OP.CONTAINER, "container", [0]));
  plan.container.push(
    op(OP.MOUNT, "tmpfs", [mounted, 0, options.length], ["tmpfs", "tmpfs", options]),
    op(OP.COPY_UP, "copy", [from, mounted]),
  );
  return stopAtTest(plan, ({ pid }) => {
    // The tmpfs is mounted nowhere; its root has a path all the same, through the helper's descriptor.
    const fd = readdirSync(`/proc/${pid}/fd`).find((name) => readlinkSync(`/proc/${pid}/fd/${name}`) === "/");
    return look(`/proc/${pid}/fd/${fd}`);
  });
}

/** What there is to know about each entry of a tree, by its path. */
function describeTree(directory: string, prefix = ""): Record<string, unknown> {
  const all: Record<string, unknown> = {};
  for (const name of readdirSync(`${directory}/${prefix}`).sort()) {
    const at = path.join(prefix, name);
    const { mode, uid, gid, rdev, size, mtimeMs } = lstatSync(`${directory}/${at}`);
    const type = mode & 0o170000;
    all[at] = {
      ...{ mode, uid, gid, rdev },
      // Nobody can set the time of a link or a device while it is copied through a descriptor.
      ...(type === 0o100000 && { size, mtimeMs, content: readFileSync(`${directory}/${at}`, "base64") }),
      ...(type === 0o120000 && { link: readlinkSync(`${directory}/${at}`) }),
      ...(type === 0o040000 && { mtimeMs }),
    };
    if (type === 0o040000) Object.assign(all, describeTree(directory, at));
  }
  return all;
}

function makeTree(): string {
  const tree = mkdtempSync(path.join(base, "tree-"));
  const at = (name: string) => path.join(tree, name);
  writeFileSync(at("empty"), "");
  // Larger than the helper's buffer, and no multiple of it.
  writeFileSync(at("large"), "0123456789abcdef".repeat(20_000).slice(0, 300_001));
  writeFileSync(at("setuid"), "x");
  chownSync(at("setuid"), 1234, 4321);
  chmodSync(at("setuid"), 0o6751);
  utimesSync(at("setuid"), 1_000_000_000, 1_100_000_000);
  mkdirSync(at("closed"));
  writeFileSync(at("closed/inside"), "y", { mode: 0 });
  chownSync(at("closed"), 7, 8);
  chmodSync(at("closed"), 0o1000);
  symlinkSync("/etc/shadow", at("absolute"));
  symlinkSync("../../..", at("up"));
  symlinkSync("l".repeat(4000), at("long-link"));
  execFileSync("mkfifo", ["-m", "640", at("fifo")]);
  execFileSync("mknod", ["-m", "666", at("null"), "c", "1", "3"]);
  // More entries than one read of a directory gives, and longer ones; in the middle of the tree, so that it is come back to.
  mkdirSync(at("many"));
  for (let index = 0; index < 150; index++) {
    const name = at(`many/${index}-${"n".repeat(index)}`);
    if (index % 3 === 0) {
      mkdirSync(name);
      writeFileSync(`${name}/file`, String(index));
    } else writeFileSync(name, String(index));
  }
  mkdirSync(at(`deep/${"d/".repeat(60)}`), { recursive: true });
  writeFileSync(at(`deep/${"d/".repeat(60)}file`), "deep");
  utimesSync(at("many"), 1_200_000_000, 1_300_000_000);
  return tree;
}

it("a copy has every kind of entry with its content, owner, mode and times", async () => {
  const tree = makeTree();
  expect(await copyUp(tree, [], (copy) => describeTree(copy))).toEqual(describeTree(tree));
});

it("the tmpfs takes over the directory's own owner, mode and times", async () => {
  const tree = mkdtempSync(path.join(base, "top-"));
  chownSync(tree, 11, 12);
  chmodSync(tree, 0o2770);
  utimesSync(tree, 1_000_000_000, 1_100_000_000);
  const { mode, uid, gid, mtimeMs } = await copyUp(tree, ["mode=755"], (copy) => lstatSync(`${copy}/.`));
  expect({ mode: mode & 0o7777, uid, gid, mtimeMs }).toEqual({ mode: 0o2770, uid: 11, gid: 12, mtimeMs: 1.1e12 });
});

it("a socket is left out: nobody could listen to its copy", async () => {
  const tree = mkdtempSync(path.join(base, "socket-"));
  closeSync(listenAt(path.join(tree, "socket"), SOCK.SEQPACKET));
  writeFileSync(path.join(tree, "file"), "");
  expect(await copyUp(tree, [], (copy) => readdirSync(`${copy}/.`))).toEqual(["file"]);
});

/** The errno that the copy fails with. */
async function failure(source: string, options: string[]): Promise<number | undefined> {
  try {
    await copyUp(source, options, () => undefined);
    return undefined;
  } catch (error) {
    if (error instanceof HelperError) return error.errno;
    throw error;
  }
}

it("a tree that is too large for the tmpfs, or too deep, is an error", async () => {
  const large = mkdtempSync(path.join(base, "large-"));
  writeFileSync(path.join(large, "file"), "x".repeat(100_000));
  expect(await failure(large, ["size=64k"])).toBe(constants.errno.ENOSPC);
  const deep = mkdtempSync(path.join(base, "deep-"));
  mkdirSync(path.join(deep, "d/".repeat(63)), { recursive: true });
  expect(await failure(deep, [])).toBeUndefined();
  mkdirSync(path.join(deep, "d/".repeat(64)), { recursive: true });
  expect(await failure(deep, [])).toBe(constants.errno.ENAMETOOLONG);
});

it("copying leaves a file descriptor neither open nor missing", async () => {
  const tree = makeTree();
  const plan = new Plan();
  const [from, mounted] = [plan.slot(), plan.slot()];
  plan.host.push(openOp(from, tree, O_PATH | O_DIRECTORY, "source"), op(OP.CONTAINER, "container", [0]));
  plan.container.push(op(OP.MOUNT, "tmpfs", [mounted, 0, 0], ["tmpfs", "tmpfs", []]));
  const fds = ({ pid }: { pid: number }) => readdirSync(`/proc/${pid}/fd`).length;
  const copying = structuredClone(plan.container);
  const before = await stopAtTest(plan, fds);
  const again = new Plan();
  again.slot();
  again.slot();
  again.host.push(...plan.host);
  again.container.push(...copying, op(OP.COPY_UP, "copy", [from, mounted]));
  expect(await stopAtTest(again, fds)).toBe(before);
});
