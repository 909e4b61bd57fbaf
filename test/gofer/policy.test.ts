/** Policy, quota and audit of a served tree, as a container and an administrator see them. */
import { describe, expect } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { GoferOptions } from "../../gofer/options.ts";
import { NR, sys } from "../../specutils/syscall.ts";
import { requires } from "../helpers/requires.ts";
import { type ServedTree, serveTree } from "../helpers/served-tree.ts";
import { setXattr } from "../helpers/xattr.ts";

const itServes = requires("root", "CAP_SYS_ADMIN", "fuse");

function withTree(options: Partial<GoferOptions>, body: (tree: ServedTree, at: (name: string) => string) => void) {
  const tree = serveTree(options);
  try {
    body(tree, (name) => path.join(tree.mountPoint, name));
  } finally {
    tree.end();
  }
}

function errorOf(body: () => unknown): string {
  try {
    body();
    return "";
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code ?? String(thrown);
  }
}

describe("policy", () => {
  itServes("hidden paths are not there, cannot be made, and cannot be uncovered by moving what is above them", () =>
    withTree({ hidden: ["**/.secret", "data/private"], validMs: 0 }, (tree, at) => {
      mkdirSync(path.join(tree.source, "data"));
      mkdirSync(path.join(tree.source, "home"));
      for (const name of ["data/private", "data/public", "home/.secret"])
        writeFileSync(path.join(tree.source, name), "x");
      expect(readdirSync(at("data"))).toEqual(["public"]);
      expect(readdirSync(at("home"))).toEqual([]);
      expect(existsSync(at("data/private"))).toBe(false);
      expect(errorOf(() => readFileSync(at("home/.secret")))).toBe("ENOENT");
      expect(errorOf(() => writeFileSync(at("home/.secret"), ""))).toBe("EACCES");
      expect(errorOf(() => unlinkSync(at("data/private")))).toBe("ENOENT");
      expect(errorOf(() => renameSync(at("data/public"), at("data/private")))).toBe("EACCES");
      expect(errorOf(() => linkSync(at("data/public"), at("home/.secret")))).toBe("EACCES");
      expect(errorOf(() => renameSync(at("data"), at("uncovered")))).toBe("EXDEV");
      renameSync(at("home"), at("home2"));
      expect(readdirSync(at("home2"))).toEqual([]);
      expect(errorOf(() => rmdirSync(at("home2")))).toBe("ENOTEMPTY");
    }),
  );

  itServes("read-only paths are read and not changed, their neighbours are", () =>
    withTree({ readOnlyPaths: ["etc", "**/*.lock"], validMs: 0 }, (tree, at) => {
      mkdirSync(path.join(tree.source, "etc"));
      for (const name of ["etc/conf", "a.lock", "other"]) writeFileSync(path.join(tree.source, name), "x");
      expect(readFileSync(at("etc/conf"), "utf8")).toBe("x");
      const changes = [
        () => writeFileSync(at("etc/conf"), "y"),
        () => appendFileSync(at("a.lock"), "y"),
        () => truncateSync(at("etc/conf"), 0),
        () => writeFileSync(at("etc/new"), ""),
        () => unlinkSync(at("etc/conf")),
        () => renameSync(at("a.lock"), at("b")),
        () => renameSync(at("other"), at("etc/conf")),
        () => renameSync(at("etc"), at("etc2")),
        () => linkSync(at("a.lock"), at("b")),
        () => mkdirSync(at("etc/d")),
      ];
      expect(changes.map(errorOf)).toEqual(changes.map(() => "EROFS"));
      for (const command of ["chmod 600 etc/conf", "chown 1 a.lock", "touch a.lock"]) {
        const { stderr } = spawnSync("sh", ["-c", command], { cwd: tree.mountPoint, encoding: "utf8" });
        expect(stderr).toContain("Read-only");
      }
      expect(setXattr(at("etc/conf"), "user.a", Buffer.from("b"))).toBe(-constants.errno.EROFS);
      process.chdir("/");
      writeFileSync(at("other"), "y");
      expect(readFileSync(path.join(tree.source, "a.lock"), "utf8")).toBe("x");
    }),
  );
});

/** By copy_file_range(2), which may copy less than it is asked to. */
function copyInPieces(from: string, to: string): void {
  const [source, target] = [openSync(from, "r"), openSync(to, "w")];
  while (sys(NR.copy_file_range, source, null, target, null, 1 << 30, 0) > 0);
  closeSync(source);
  closeSync(target);
}

describe("quota", () => {
  itServes("of bytes: what is too much fails, what was removed can be used again, df tells", () =>
    withTree({ quotaBytes: 1 << 20 }, (tree, at) => {
      writeFileSync(path.join(tree.source, "there before"), Buffer.alloc(1 << 21));
      writeFileSync(at("a"), Buffer.alloc(900_000));
      expect(errorOf(() => writeFileSync(at("b"), Buffer.alloc(200_000)))).toBe("EDQUOT");
      expect(statfsSync(tree.mountPoint).bavail * statfsSync(tree.mountPoint).bsize).toBeLessThan(200_000);
      expect(errorOf(() => truncateSync(at("a"), 2_000_000))).toBe("EDQUOT");
      const fd = openSync(at("a"), "r");
      unlinkSync(at("a"));
      expect(errorOf(() => writeFileSync(at("b"), Buffer.alloc(200_000)))).toBe("EDQUOT");
      closeSync(fd);
      Bun.sleepSync(50);
      writeFileSync(at("b"), Buffer.alloc(1_000_000));
      writeFileSync(at("b"), Buffer.alloc(1_000_000));
      // A copy is counted once, in however many pieces it is made.
      unlinkSync(at("b"));
      Bun.sleepSync(50);
      writeFileSync(at("b"), Buffer.alloc(450_000));
      copyInPieces(at("b"), at("copy"));
      unlinkSync(at("copy"));
      Bun.sleepSync(50);
      writeFileSync(at("copy"), Buffer.alloc(550_000));
      // What was never counted is not given back either.
      for (let index = 0; index < 100; index++) {
        symlinkSync("x".repeat(4000), at("link"));
        unlinkSync(at("link"));
        mkdirSync(at("directory"));
        rmdirSync(at("directory"));
      }
      Bun.sleepSync(50);
      expect(errorOf(() => writeFileSync(at("c"), Buffer.alloc(200_000)))).toBe("EDQUOT");
    }),
  );

  itServes("of files: as many as there may be, and no more", () =>
    withTree({ quotaFiles: 10 }, (tree, at) => {
      for (let index = 0; index < 9; index++) writeFileSync(at(`f${index}`), "");
      mkdirSync(at("d"));
      expect(errorOf(() => mkdirSync(at("e")))).toBe("EDQUOT");
      expect(errorOf(() => writeFileSync(at("f"), ""))).toBe("EDQUOT");
      unlinkSync(at("f0"));
      Bun.sleepSync(50);
      writeFileSync(at("f"), "");
      expect(statfsSync(tree.mountPoint).ffree).toBe(0);
    }),
  );
});

describe("audit", () => {
  itServes("where it depends on the path what is told of, files are renamed, and directories copied", () => {
    const file = `/tmp/cloche-test-audit-moves-${process.pid}`;
    const fd = openSync(file, "a+");
    const tree = serveTree({ logged: ["secret/*.key"], auditContainer: "c1" }, "/tmp", fd);
    const at = (name: string) => path.join(tree.mountPoint, name);
    try {
      mkdirSync(at("secret"));
      writeFileSync(at("secret/new"), "");
      renameSync(at("secret/new"), at("secret/a.key"));
      expect(errorOf(() => renameSync(at("secret"), at("x")))).toBe("EXDEV");
    } finally {
      tree.end();
      closeSync(fd);
    }
    expect(readFileSync(file, "utf8")).toContain('"event":"rename","path":"secret/new"');
    rmSync(file);
  });

  itServes("a file with several names is told of if one of them is logged", () => {
    const file = `/tmp/cloche-test-audit-names-${process.pid}`;
    const fd = openSync(file, "a+");
    const tree = serveTree({ logged: ["logged"], auditContainer: "c1" }, "/tmp", fd);
    try {
      const commands = "mkdir logged; echo hi > logged/a; ln logged/a b; cat b logged/a; echo > c; cat c";
      expect(spawnSync("sh", ["-c", commands], { cwd: tree.mountPoint }).status).toBe(0);
      process.chdir("/");
    } finally {
      tree.end();
      closeSync(fd);
    }
    const lines = readFileSync(file, "utf8").trim().split("\n");
    rmSync(file);
    expect(lines.map((line) => JSON.parse(line)).map(({ event, path }) => `${event} ${path}`)).toEqual([
      "create logged",
      "create logged/a",
      "create b",
      "open b",
      // A node is called what it was last seen as.
      expect.stringMatching(/^open (b|logged\/a)$/),
    ]);
  });

  itServes("a line for what was opened, created, removed, renamed and denied, with path and process", () => {
    const file = `/tmp/cloche-test-audit-${process.pid}`;
    const fd = openSync(file, "a+");
    const tree = serveTree({ hidden: ["hidden"], logged: ["logged", "hidden"], auditContainer: "c1" }, "/tmp", fd);
    try {
      const commands =
        "mkdir logged other; echo hi > logged/\u00e9; cat logged/\u00e9; mv logged/\u00e9 logged/b; rm logged/b; cat hidden; echo > other/x";
      spawnSync("sh", ["-c", commands], { cwd: tree.mountPoint });
      process.chdir("/");
    } finally {
      tree.end();
      closeSync(fd);
    }
    const events = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    rmSync(file);
    expect(events.every(({ pid, time }) => pid > 1 && Math.abs(Date.parse(time) - Date.now()) < 60_000)).toBe(true);
    expect(events.every(({ container, mount }) => container === "c1" && mount === "")).toBe(true);
    expect(events.map(({ pid, time, container, mount, ...event }) => event)).toEqual([
      { event: "create", path: "logged" },
      { event: "create", path: "logged/\u00e9" },
      { event: "open", path: "logged/\u00e9", access: "read", bytes: 3 },
      { event: "rename", path: "logged/\u00e9", to: "logged/b" },
      { event: "unlink", path: "logged/b" },
      { event: "denied", path: "hidden", error: -2 },
    ]);
  });
});
