/** Each function of lean/fs.ts does what node:fs' does: the same calls on two directories, the same results and errors. */
import { expect, test } from "bun:test";
import * as node from "node:fs";
import os from "node:os";
import path from "node:path";
import * as constants from "./constants.ts";
import * as lean from "./fs.ts";

type Fs = typeof lean;

/** What a call gives, or the error that it throws, with the directory's name taken out of both. */
function outcome(directory: string, call: () => unknown): unknown {
  const clean = (value: unknown) => (typeof value === "string" ? value.replaceAll(directory, "DIR") : value);
  try {
    const value = call();
    return Array.isArray(value) ? value.map(clean) : clean(value);
  } catch (error) {
    const { message, code, syscall, path: file, errno } = error as NodeJS.ErrnoException;
    return { message: clean(message), code, syscall, path: clean(file), errno };
  }
}

/** Runs `body` with both and compares what it returns. */
function same(name: string, body: (fs: Fs, at: (file: string) => string, note: (call: () => unknown) => void) => void) {
  test(name, () => {
    const [one, other] = [lean, node as unknown as Fs].map((fs) => {
      const directory = node.mkdtempSync(path.join(os.tmpdir(), "cloche-lean-"));
      const seen: unknown[] = [];
      try {
        body(
          fs,
          (file) => path.join(directory, file),
          (call) => seen.push(outcome(directory, call)),
        );
      } finally {
        node.rmSync(directory, { recursive: true });
      }
      return seen;
    });
    expect(one).toEqual(other as unknown[]);
    expect(one?.length).toBeGreaterThan(0);
  });
}

same("open, write, read, close", (fs, at, note) => {
  note(() => fs.openSync(at("nope")) > 2);
  note(() => fs.openSync(at("no/pe"), "w") > 2);
  const fd = fs.openSync(at("file"), "wx", 0o640);
  note(() => fs.writeSync(fd, "grüße\n"));
  note(() => fs.writeSync(fd, new Uint8Array([65, 66, 67, 68]), 1));
  note(() => fs.writeSync(fd, new Uint8Array([65, 66, 67, 68]), 1, 2, 0));
  note(() => fs.fstatSync(fd).size);
  note(() => fs.readSync(fd, new Uint8Array(4)));
  note(() => fs.closeSync(fd));
  note(() => fs.fstatSync(1e6));
  note(() => fs.openSync(at("file"), "wx"));
  note(() => fs.openSync(at("."), "w"));
  const reading = fs.openSync(at("file"));
  const buffer = new Uint8Array(8);
  note(() => [fs.readSync(reading, buffer, 2, 3), ...buffer]);
  note(() => [fs.readSync(reading, buffer, 0, 8, 1), ...buffer]);
  note(() => fs.writeSync(reading, "x"));
  fs.closeSync(reading);
  note(() => fs.readFileSync(at("file"), "utf8"));
  note(() => (fs.statSync(at("file")).mode & 0o7777).toString(8));
});

same("readFileSync and writeFileSync", (fs, at, note) => {
  const large = "0123456789ä".repeat(50_000);
  note(() => fs.writeFileSync(at("large"), large));
  note(() => fs.readFileSync(at("large"), "utf8") === large);
  note(() => fs.readFileSync(at("large")).length);
  note(() => fs.writeFileSync(at("large"), "\ufeffbom", { mode: 0o600, flag: "w" }));
  note(() => fs.readFileSync(at("large"), { encoding: "utf8" }));
  note(() => fs.writeFileSync(at("large"), "x", { flag: "wx" }));
  note(() => fs.writeFileSync(at("bytes"), new Uint8Array([0xff, 0x41])));
  note(() => fs.readFileSync(at("bytes"), "utf8"));
  note(() => fs.writeFileSync(at("empty"), ""));
  note(() => fs.readFileSync(at("empty"), "utf8"));
  note(() => fs.readFileSync(at("empty")).length);
  note(() => fs.readFileSync(at("nope"), "utf8"));
  note(() => fs.readFileSync(at("."), "utf8"));
  note(() => fs.readFileSync("/proc/self/comm", "utf8").length > 0);
  const fd = fs.openSync(at("large"), "a+");
  note(() => fs.readFileSync(fd, "utf8"));
  note(() => fs.writeFileSync(fd, "more"));
  fs.closeSync(fd);
  note(() => fs.readFileSync(at("large"), "utf8"));
});

same("directories", (fs, at, note) => {
  note(() => fs.mkdirSync(at("a")));
  note(() => fs.mkdirSync(at("a")));
  note(() => fs.mkdirSync(at("x/y")));
  note(() => fs.mkdirSync(at("b/c/d"), { recursive: true, mode: 0o750 }));
  note(() => fs.mkdirSync(at("b/c/d"), { recursive: true }));
  note(() => (fs.statSync(at("b/c")).mode & 0o7777).toString(8));
  fs.writeFileSync(at("b/file"), "");
  fs.symlinkSync("file", at("b/link"));
  note(() => fs.mkdirSync(at("b/file"), { recursive: true }));
  note(() => fs.mkdirSync(at("b/file/x")));
  note(() => fs.readdirSync(at("b")).toSorted());
  note(() =>
    fs
      .readdirSync(at("b"), { withFileTypes: true })
      .map((entry) => `${entry.name} ${entry.isDirectory()} ${entry.isFile()} ${entry.isSymbolicLink()}`)
      .toSorted(),
  );
  for (let index = 0; index < 300; index++) fs.writeFileSync(at(`a/${"long".repeat(60)}-${index}`), "");
  note(() => fs.readdirSync(at("a")).length);
  note(() => fs.readdirSync(at("nope")));
  note(() => fs.readdirSync(at("b/file")));
  note(() => fs.rmdirSync(at("b")));
  note(() => fs.rmdirSync(at("nope")));
  note(() => fs.rmdirSync(at("b/c/d")));
});

same("links and names", (fs, at, note) => {
  fs.writeFileSync(at("one"), "1");
  note(() => fs.symlinkSync("one", at("link")));
  note(() => fs.symlinkSync("one", at("link")));
  note(() => fs.readlinkSync(at("link")));
  note(() => fs.readlinkSync(at("one")));
  note(() => fs.readlinkSync(at("nope")));
  note(() => fs.renameSync(at("one"), at("two")));
  note(() => fs.renameSync(at("one"), at("two")));
  note(() => [fs.existsSync(at("one")), fs.existsSync(at("link")), fs.existsSync(at("two")), fs.existsSync("\0")]);
  note(() => fs.unlinkSync(at("link")));
  note(() => fs.unlinkSync(at("link")));
  note(() => fs.unlinkSync(at(".")) as unknown);
});

same("stat", (fs, at, note) => {
  fs.writeFileSync(at("file"), "12345");
  fs.symlinkSync("file", at("link"));
  const fields = (stats: ReturnType<typeof lean.fstatSync>) => [
    stats.size,
    stats.uid,
    stats.gid,
    stats.nlink,
    stats.mode,
    Math.abs(stats.mtimeMs - Date.now()) < 60_000,
    Math.abs(stats.mtime.getTime() - Date.now()) < 60_000,
    stats.isFile(),
    stats.isDirectory(),
    stats.isSymbolicLink(),
    stats.isFIFO(),
    stats.isSocket(),
    stats.isCharacterDevice(),
    stats.isBlockDevice(),
  ];
  for (const file of [at("file"), at("link"), at("."), "/dev/null"]) {
    note(() => fields(fs.statSync(file)).slice(0, file === at(".") ? 0 : undefined));
    note(() => fields(fs.lstatSync(file)).slice(0, file === at(".") ? 0 : undefined));
  }
  for (const file of ["/dev/null", "/dev/tty", "/proc/self/ns/net", "/"]) {
    note(() => [fs.statSync(file).dev, fs.statSync(file).rdev, fs.statSync(file).ino]);
  }
  note(() => fs.statSync(at("nope"), { throwIfNoEntry: false }));
  note(() => fs.lstatSync(at("file/x"), { throwIfNoEntry: false }));
  note(() => fs.statSync(at("nope")));
  note(() => fs.lstatSync(at("nope")));
});

same("owners, modes, rights, real paths, kinds of file systems", (fs, at, note) => {
  fs.writeFileSync(at("file"), "");
  fs.mkdirSync(at("dir"));
  fs.symlinkSync("dir/..", at("link"));
  const owner = (file: string) => [fs.statSync(file).uid, fs.statSync(file).gid];
  const { uid, gid } = fs.statSync(at("file"));
  note(() => fs.chmodSync(at("file"), 0o4711));
  note(() => (fs.statSync(at("file")).mode & 0o7777).toString(8));
  note(() => fs.chmodSync(at("nope"), 0o644));
  note(() => fs.chownSync(at("file"), uid, gid));
  note(() => owner(at("file")));
  note(() => fs.chownSync(at("nope"), uid, gid));
  const fd = fs.openSync(at("dir"));
  note(() => fs.fchownSync(fd, uid, gid));
  note(() => owner(at("dir")));
  fs.closeSync(fd);
  note(() => fs.accessSync(at("file")) ?? "may");
  note(() => fs.accessSync(at("file"), node.constants.X_OK) ?? "may");
  note(() => fs.accessSync(at("nope"), node.constants.R_OK) ?? "may");
  note(() => fs.realpathSync(at("link/file")).endsWith("/file"));
  note(() => fs.realpathSync(at("./link//dir/.")));
  note(() => fs.realpathSync("/"));
  for (const place of ["/", "/proc", "/sys", at("dir")]) note(() => Number(fs.statfsSync(place).type));
  note(() => fs.statfsSync(at("nope")));
});

test("real paths of what is not there are errors", () => {
  expect(() => lean.realpathSync("/nope")).toThrow("ENOENT: no such file or directory");
});

test("the constants are the machine's", () => {
  for (const [name, value] of Object.entries(constants.O)) {
    // node has no names for these two.
    if (name !== "CLOEXEC" && name !== "PATH")
      expect([name, value]).toEqual([name, Reflect.get(node.constants, `O_${name}`)]);
  }
  const { ENOENT, EINTR } = os.constants.errno;
  expect([constants.ENOENT, constants.EINTR]).toEqual([ENOENT, EINTR]);
});
