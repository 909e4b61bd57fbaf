/**
 * Where the helper goes for a path of the container (OP.TARGET): inside the root, whatever links, `..` and loops are there.
 * A step of the helper on a tree of the test's own; there is no container.
 */
import { afterAll, expect } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { op, openOp, Plan } from "../../sandbox/plan.ts";
import { OP, OP_FLAG, TARGET } from "../../sandbox/protocol.ts";
import { HelperError } from "../../specutils/errors.ts";
import { stopAtTest } from "../helpers/helper-run.ts";
import { requires } from "../helpers/requires.ts";

const it = requires("root", "cloche");
const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
const { EEXIST, ELOOP, ENAMETOOLONG, ENODEV, ENOENT, ENOTDIR } = constants.errno;
const base = mkdtempSync(path.join(tmpdir(), "cloche-targets-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** A root with every kind of link, and beside it what no path may lead to. */
function makeTree(): string {
  const root = path.join(mkdtempSync(path.join(base, "tree-")), "root");
  mkdirSync(path.join(root, "dir/sub"), { recursive: true });
  mkdirSync(path.join(root, "../outside"));
  writeFileSync(path.join(root, "file"), "");
  const links: Record<string, string> = {
    relative: "dir/sub",
    absolute: "/dir/sub",
    up: "../../../../../../../dir",
    "up-absolute": "/../../dir",
    "dir/back": "../dir",
    escape: "../outside",
    "escape-absolute": "/tmp/place/root/../outside",
    "host-etc": "/etc",
    dangling: "dir/missing/deep",
    "dangling-absolute": "/new/place",
    "dangling-up": "../../../escaped",
    "to-dangling": "dangling",
    loop: "loop",
    ping: "pong",
    pong: "ping",
    slash: "/",
    "to-file": "file",
    proc: "/proc/self/root",
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, path.join(root, name));
  // 41 links in a row: one more than the kernel follows.
  for (let index = 0; index < 41; index++)
    symlinkSync(index === 0 ? "dir" : `chain${index - 1}`, path.join(root, `chain${index}`));
  return root;
}

/** Where the target's descriptor leads, below `root` ("." for the root itself), or the errno that the step failed with. */
async function target(root: string, name: string, kind: number, flags = 0): Promise<string | number> {
  const plan = new Plan();
  const [rootSlot, slot] = [plan.slot(), plan.slot()];
  plan.host.push(openOp(rootSlot, root, O_PATH | O_DIRECTORY, "root"), op(OP.CONTAINER, "container", [0]));
  plan.container.push(op(OP.TARGET, "target", [slot, rootSlot, kind, 0o750], [name], flags));
  try {
    return await stopAtTest(plan, ({ pid }) => {
      const places = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      const found = places.filter((place) => place === root || place.startsWith(`${root}/`)).sort();
      // The root's own descriptor is one of them.
      expect(found.length).toBe(2);
      return path.relative(root, found[1] ?? "") || ".";
    });
  } catch (error) {
    if (error instanceof HelperError) return error.errno;
    throw error;
  }
}

/** Everything in a tree, links as such. (Bun's recursive readdir runs into loops of links.) */
function listTree(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const at = path.join(directory, entry.name);
    return entry.isDirectory() ? [at, ...listTree(at)] : [at];
  });
}

const long = "n".repeat(255);

/** [path, where it leads] for what exists, or can be made, as a directory. */
const DIRECTORIES: [string, string | number][] = [
  ["/", "."],
  ["", "."],
  ["/dir/sub", "dir/sub"],
  ["dir//./sub/", "dir/sub"],
  ["/dir/../dir/sub", "dir/sub"],
  ["/../../..", "."],
  ["/../../../dir", "dir"],
  ["/relative", "dir/sub"],
  ["/absolute", "dir/sub"],
  ["/up", "dir"],
  ["/up-absolute/sub", "dir/sub"],
  ["/dir/back/back/sub", "dir/sub"],
  ["/slash/slash/dir", "dir"],
  ["/new", "new"],
  ["/new/a/b/c", "new/a/b/c"],
  ["/dir/sub/../fresh", "dir/fresh"],
  ["/relative/../fresh", "dir/fresh"],
  ["/fresh/../other", "other"],
  ["/dangling", "dir/missing/deep"],
  ["/to-dangling/x", "dir/missing/deep/x"],
  ["/dangling-absolute", "new/place"],
  ["/dangling-up/x", "escaped/x"],
  ["/escape/x", "outside/x"],
  ["/escape-absolute/x", "tmp/place/outside/x"],
  ["/host-etc/x", "etc/x"],
  [`/${long}`, long],
  [`/new/${long}n`, ENAMETOOLONG],
  [`/${"d/".repeat(2100)}`, ENAMETOOLONG],
  ["/loop", ELOOP],
  ["/loop/x", ELOOP],
  ["/ping/new", ELOOP],
  ["/chain38", "dir"],
  ["/chain40", ELOOP],
  ["/chain40/new", ELOOP],
  ["/file", ENOTDIR],
  ["/file/x", ENOTDIR],
  ["/to-file", ENOTDIR],
  ["/to-file/x", ENOTDIR],
  ["/new/../file", ENOTDIR],
];

it("a directory's path ends inside the root, and what is missing is made there", async () => {
  for (const [name, wanted] of DIRECTORIES) {
    const root = makeTree();
    const outside = listTree(path.dirname(root)).filter((line) => !line.startsWith(`${root}/`));
    expect([name, await target(root, name, TARGET.DIRECTORY)]).toEqual([name, wanted]);
    expect(listTree(path.dirname(root)).filter((line) => !line.startsWith(`${root}/`))).toEqual(outside);
    if (typeof wanted === "string") expect(lstatSync(path.join(root, wanted)).isDirectory()).toBe(true);
  }
});

it("a file's path ends inside the root, and a missing file is made, empty, with its mode", async () => {
  const cases: [string, string | number][] = [
    ["/file", "file"],
    ["/to-file", "file"],
    ["/new/file", "new/file"],
    ["/dangling", "dir/missing/deep"],
    ["/dangling-up", "escaped"],
    ["/dir", ENOTDIR],
    ["/relative", ENOTDIR],
    ["/", ENOTDIR],
    ["/ping", ELOOP],
    ["/file/x", ENOTDIR],
  ];
  for (const [name, wanted] of cases) {
    const root = makeTree();
    expect([name, await target(root, name, TARGET.FILE)]).toEqual([name, wanted]);
    if (typeof wanted !== "string") continue;
    const made = lstatSync(path.join(root, wanted));
    expect(made.isFile() && made.size === 0).toBe(true);
    if (wanted !== "file") expect(made.mode & 0o7777).toBe(0o750);
  }
});

it("an existing target is wanted: nothing is made", async () => {
  const root = makeTree();
  const before = listTree(root);
  expect(await target(root, "/absolute", TARGET.EXISTING)).toBe("dir/sub");
  for (const name of ["/new", "/dangling", "/dangling-absolute", "/dir/sub/new/deep"]) {
    expect([name, await target(root, name, TARGET.EXISTING)]).toEqual([name, ENOENT]);
  }
  expect(listTree(root)).toEqual(before);
});

it("no link is followed where none is allowed", async () => {
  const root = makeTree();
  for (const name of ["/relative", "/absolute/new", "/dangling", "/dir/back/new", "/new/../slash"]) {
    expect([name, await target(root, name, TARGET.DIRECTORY, OP_FLAG.NO_SYMLINKS)]).toEqual([name, ELOOP]);
  }
  expect(await target(root, "/dir/sub", TARGET.DIRECTORY, OP_FLAG.NO_SYMLINKS)).toBe("dir/sub");
  expect(await target(root, "/fresh/deep", TARGET.DIRECTORY, OP_FLAG.NO_SYMLINKS)).toBe("fresh/deep");
});

it("links of procfs are not gone through: they lead to what they are, not to what they say", async () => {
  const root = "/proc";
  expect(await target(root, "/self/root/tmp", TARGET.EXISTING)).toBe(ELOOP);
});

/** The errno of a step that makes an entry, or undefined. */
async function make(root: string, step: (rootSlot: number) => ReturnType<typeof op>): Promise<number | undefined> {
  const plan = new Plan();
  const slot = plan.slot();
  plan.host.push(openOp(slot, root, O_PATH | O_DIRECTORY, "root"), op(OP.CONTAINER, "container", [0]));
  plan.container.push(step(slot));
  try {
    await stopAtTest(plan, () => undefined);
    return undefined;
  } catch (error) {
    if (error instanceof HelperError) return error.errno;
    throw error;
  }
}

const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;

it("a device that is there already must be the same; a link in its place is not followed", async () => {
  const root = makeTree();
  const node =
    (name: string, mode: number, device = 0n) =>
    (slot: number) =>
      op(OP.MKNOD, "node", [slot, mode, device, (7n << 32n) | 8n], [name]);
  expect(await make(root, node("/dev/fifo", S_IFIFO | 0o612))).toBeUndefined();
  expect(lstatSync(path.join(root, "dev/fifo"))).toMatchObject({ mode: S_IFIFO | 0o612, uid: 7, gid: 8 });
  expect(await make(root, node("/dev/fifo", S_IFIFO | 0o640))).toBeUndefined();
  expect(lstatSync(path.join(root, "dev/fifo")).mode).toBe(S_IFIFO | 0o640);
  expect(await make(root, node("/file", S_IFIFO | 0o777))).toBe(EEXIST);
  const outside = path.join(root, "../outside/fifo");
  writeFileSync(outside, "", { mode: 0o600 });
  symlinkSync(outside, path.join(root, "link"));
  expect(await make(root, node("/link", S_IFIFO | 0o777))).toBe(EEXIST);
  expect(lstatSync(outside)).toMatchObject({ uid: 0, gid: 0 });
  expect(lstatSync(outside).mode & 0o777).toBe(0o600);
  const nul = (1n << 32n) | 3n;
  expect(await make(root, node("/dev/null", S_IFCHR | 0o666, nul))).toBeUndefined();
  expect(await make(root, node("/dev/null", S_IFCHR | 0o666, (1n << 32n) | 5n))).toBe(EEXIST);
  expect(lstatSync(path.join(root, "dev/null")).rdev).toBe(0x103);
});

it("a symbolic link is made where nothing is, and replaces something only if it has to be ours", async () => {
  const root = makeTree();
  const link =
    (name: string, text: string, flags = 0) =>
    (slot: number) =>
      op(OP.SYMLINK, "link", [slot], [name, text], flags);
  expect(await make(root, link("/dev/fd", "/proc/self/fd"))).toBeUndefined();
  expect(readlinkSync(path.join(root, "dev/fd"))).toBe("/proc/self/fd");
  expect(await make(root, link("/file", "elsewhere"))).toBeUndefined();
  expect(lstatSync(path.join(root, "file")).isFile()).toBe(true);
  expect(await make(root, link("/file", "elsewhere", OP_FLAG.REPLACE))).toBeUndefined();
  expect(readlinkSync(path.join(root, "file"))).toBe("elsewhere");
  expect(await make(root, link("/absolute/inside", "x"))).toBeUndefined();
  expect(existsSync(path.join(root, "dir/sub"))).toBe(true);
  expect(readlinkSync(path.join(root, "dir/sub/inside"))).toBe("x");
});

it("what covers a masked file is the host's /dev/null and nothing else", async () => {
  const root = makeTree();
  const step = (slot: number) => op(OP.MASK, "mask", [slot, slot], ["/file"]);
  // The root's own descriptor in the place of /dev/null.
  expect(await make(root, step)).toBe(ENODEV);
});
