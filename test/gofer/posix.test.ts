/**
 * Corner cases of POSIX, one by one: each is done in a served tree and in a plain directory beside it and must say the same, step by
 * step. What is said is written down here where a program may rely on it.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { NR, sys } from "../../specutils/syscall.ts";
import { missing, type Requirement, requires } from "../helpers/requires.ts";
import { type ServedTree, serveTree } from "../helpers/served-tree.ts";

const needed: readonly Requirement[] = ["root", "CAP_SYS_ADMIN", "fuse"];
const itServes = requires(...needed);
const itRunsPython = requires(...needed, "python3");
const canServe = missing(...needed).length === 0;
const HOOK_TIMEOUT_MS = 60_000;

/** `passed`: the kernel reads and writes files itself; `cached`: the gofer does, below the page cache. */
const kinds = ["passed", "cached"] as const;
const trees = new Map<string, ServedTree>();

beforeAll(() => {
  if (!canServe) return;
  for (const kind of kinds) {
    const tree = serveTree({ passthrough: kind === "passed" }, "/var/tmp");
    // Users have to get in.
    chmodSync(path.dirname(tree.source), 0o755);
    trees.set(kind, tree);
  }
}, HOOK_TIMEOUT_MS);
afterAll(() => {
  for (const tree of trees.values()) expect(tree.end()).toMatchObject({ exitCode: 0 });
}, HOOK_TIMEOUT_MS);

let count = 0;

/** What `body` says of a new directory of a served tree, after it has said the same of a plain one. */
function inBoth<T>(kind: string, body: (directory: string) => T): T {
  const tree = trees.get(kind);
  if (tree === undefined) throw new Error(`no tree is ${kind}`);
  count += 1;
  const [served, plain] = [tree.mountPoint, path.dirname(tree.source)].map((parent) => {
    const directory = path.join(parent, `case-${count}`);
    mkdirSync(directory);
    chmodSync(directory, 0o755);
    return body(directory);
  }) as [T, T];
  expect(served).toEqual(plain);
  return served;
}

function python(directory: string, text: string): string {
  const options = { cwd: directory, encoding: "utf8", timeout: 50_000 } as const;
  const { status, stdout, stderr } = spawnSync("python3", ["-c", text], options);
  if (status !== 0) throw new Error(`python3: ${status}\n${stdout}${stderr}`);
  return stdout.trim();
}

/** What a shell says that runs as a user. */
function shell(directory: string, id: number, script: string): string {
  // The users' PATH must not be root's, where others may not look.
  const env = { PATH: "/usr/bin:/bin", LC_ALL: "C" };
  const { stdout, stderr } = spawnSync("sh", ["-c", script], {
    cwd: directory,
    uid: id,
    gid: id,
    encoding: "utf8",
    env,
  });
  return (stdout + stderr).trim();
}

describe("rename", () => {
  const RENAME_NOREPLACE = 1;
  const RENAME_EXCHANGE = 2;
  const makers: Record<string, (name: string) => void> = {
    nothing: () => {},
    file: (name) => writeFileSync(name, name.slice(-3)),
    "empty directory": (name) => mkdirSync(name),
    "full directory": (name) => {
      mkdirSync(name);
      writeFileSync(`${name}/in`, "in");
    },
    "symbolic link": (name) => symlinkSync("nowhere", name),
    FIFO: (name) => sys(NR.mknodat, -100, name, 0o10644, 0),
  };

  for (const kind of kinds) {
    itServes(`of everything over everything (${kind})`, () => {
      const results = inBoth(kind, (directory) => {
        const said: Record<string, string> = {};
        for (const [from, makeFrom] of Object.entries(makers)) {
          for (const [to, makeTo] of Object.entries(makers)) {
            for (const flags of [0, RENAME_NOREPLACE, RENAME_EXCHANGE]) {
              const at = path.join(directory, "turn");
              mkdirSync(at);
              makeFrom(`${at}/one`);
              makeTo(`${at}/two`);
              const result = sys(NR.renameat2, -100, `${at}/one`, -100, `${at}/two`, flags);
              const left = readdirSync(at).map((name) => `${name} ${lstatSync(`${at}/${name}`).mode.toString(8)}`);
              said[`${from} -> ${to} ${flags}`] = `${result}: ${left.sort().join(", ")}`;
              rmSync(at, { recursive: true });
            }
          }
        }
        return said;
      });
      expect(results["file -> file 0"]).toBe("0: two 100644");
      expect(results["file -> file 1"]).toBe("-17: one 100644, two 100644");
      expect(results["file -> empty directory 0"]).toBe("-21: one 100644, two 40755");
      expect(results["empty directory -> file 0"]).toBe("-20: one 40755, two 100644");
      expect(results["full directory -> empty directory 0"]).toBe("0: two 40755");
      expect(results["empty directory -> full directory 0"]).toBe("-39: one 40755, two 40755");
      expect(results["symbolic link -> full directory 2"]).toBe("0: one 40755, two 120777");
      expect(results["nothing -> file 0"]).toBe("-2: two 100644");
    });

    itServes(`into itself, onto its own other name, across and through directories (${kind})`, () => {
      const said = inBoth(kind, (directory) => {
        // Not path.join, which would take the dots out.
        const at = (name: string) => `${directory}/${name}`;
        for (const name of ["a/b/c", "d"]) mkdirSync(at(name), { recursive: true });
        writeFileSync(at("a/f"), "f");
        linkSync(at("a/f"), at("d/g"));
        symlinkSync("a", at("s"));
        const move = (from: string, to: string, flags = 0) => sys(NR.renameat2, -100, at(from), -100, at(to), flags);
        return {
          intoItself: [move("a", "a/b/x"), move("a", "a/a"), move("a/b", "a", RENAME_EXCHANGE), move("a/b/c", "a")],
          dots: [move("a/.", "x"), move("a/b/..", "x"), move("d", "a/b/."), move("d/", "x"), move("x/", "d")],
          // Nothing happens, and both names stay.
          sameFile: [move("a/f", "d/g"), existsSync(at("a/f")), existsSync(at("d/g")), move("a/f", "a/f")],
          throughLink: [move("s/f", "s/b/f"), existsSync(at("a/b/f")), move("s/", "x"), move("s/b/f/", "x")],
          nlinks: ["a", "a/b", "d", "."].map((name) => lstatSync(at(name)).nlink),
          up: [move("a/b", "b"), existsSync(at("b/c")), lstatSync(at("a")).nlink, lstatSync(at(".")).nlink],
        };
      });
      expect(said.intoItself).toEqual([-22, -22, -22, -39]);
      expect(said.sameFile).toEqual([0, true, true, 0]);
    });
  }
});

describe("link counts", () => {
  for (const kind of kinds) {
    itServes(`are right at once, by name and for who has the file open (${kind})`, () => {
      const said = inBoth(kind, (directory) => {
        const at = (name: string) => path.join(directory, name);
        const counts: number[][] = [];
        writeFileSync(at("f"), "f");
        const fd = openSync(at("f"), "r");
        const look = (...names: string[]) =>
          counts.push([fstatSync(fd).nlink, ...names.map((n) => statSync(at(n)).nlink)]);
        look("f", ".");
        linkSync(at("f"), at("g"));
        look("f", "g");
        mkdirSync(at("d"));
        linkSync(at("g"), at("d/h"));
        look("f", "g", "d/h", ".", "d");
        unlinkSync(at("f"));
        look("g", "d/h");
        writeFileSync(at("other"), "o");
        renameSync(at("other"), at("g"));
        look("g", "d/h");
        renameSync(at("d"), at("e"));
        look("e/h", "e", ".");
        unlinkSync(at("e/h"));
        look("e");
        rmdirSync(at("e"));
        look(".");
        // What had a name once gets none again; what never had one may.
        counts.push([sys(NR.linkat, -100, `/proc/self/fd/${fd}`, -100, at("again"), 0x400)]);
        closeSync(fd);
        return counts;
      });
      expect(said.map(([open]) => open)).toEqual([1, 2, 3, 2, 1, 1, 0, 0, -2]);
    });
  }
});

describe("times", () => {
  for (const kind of kinds) {
    itServes(`move by what POSIX says that they move by (${kind})`, () => {
      const said = inBoth(kind, (directory) => {
        const at = (name: string) => path.join(directory, name);
        const moved: Record<string, string> = {};
        /** Which times `change` moves, of names that are there before and after. */
        const by = (what: string, names: string[], change: () => void) => {
          for (const name of names) {
            sys(
              NR.utimensat,
              -100,
              at(name),
              new Uint8Array(new BigInt64Array([1n, 5n, 1_000_000n, 7n]).buffer),
              0x100,
            );
          }
          const before = names.map((name) => lstatSync(at(name), { bigint: true }));
          Bun.sleepSync(8);
          change();
          moved[what] = names
            .map((name, index) => {
              const [then, now] = [before[index], lstatSync(at(name), { bigint: true })];
              const which = [
                now.atimeNs === then?.atimeNs ? "" : "a",
                now.mtimeNs === then?.mtimeNs ? "" : "m",
                now.ctimeNs === then?.ctimeNs ? "" : "c",
              ];
              return `${name} ${which.join("")}`.trim();
            })
            .join(", ");
        };
        for (const name of ["d", "e"]) mkdirSync(at(name));
        writeFileSync(at("d/f"), "12345");
        symlinkSync("f", at("d/s"));
        const withFile = (flags: string, body: (fd: number) => void) => () => {
          const fd = openSync(at("d/f"), flags);
          body(fd);
          closeSync(fd);
        };
        const buffer = new Uint8Array(new ArrayBuffer(16));
        by(
          "open",
          ["d/f"],
          withFile("r+", () => {}),
        );
        by(
          "read",
          ["d/f"],
          withFile("r", (fd) => sys(NR.pread64, fd, buffer, 5, 0)),
        );
        by(
          "write",
          ["d/f", "d"],
          withFile("r+", (fd) => sys(NR.pwrite64, fd, buffer, 5, 0)),
        );
        by(
          "write nothing",
          ["d/f"],
          withFile("r+", (fd) => sys(NR.pwrite64, fd, buffer, 0, 0)),
        );
        by(
          "ftruncate to the same",
          ["d/f"],
          withFile("r+", (fd) => sys(NR.ftruncate, fd, 5)),
        );
        by("truncate", ["d/f"], () => sys(NR.truncate, at("d/f"), 3));
        by("open to truncate", ["d/f", "d"], () => closeSync(openSync(at("d/f"), "w")));
        by("chmod", ["d/f", "d"], () => chmodSync(at("d/f"), 0o600));
        by("chown", ["d/f"], () => chownSync(at("d/f"), 0, 0));
        by("create", ["d"], () => writeFileSync(at("d/g"), ""));
        by("link", ["d/f", "d", "e"], () => linkSync(at("d/f"), at("e/f")));
        by("rename", ["e/f", "d", "e"], () => renameSync(at("d/f"), at("e/f2")));
        by("unlink", ["e/f2", "e"], () => unlinkSync(at("e/f")));
        by("mkdir", ["d"], () => mkdirSync(at("d/new")));
        by("rmdir", ["d"], () => rmdirSync(at("d/new")));
        by("setxattr", ["e/f2"], () => sys(NR.setxattr, at("e/f2"), "user.x", buffer, 1, 0));
        by("symlink's own", ["d/s"], () => chownSync(at("e"), 0, 0));
        by("utimens of a link", ["d/s"], () => sys(NR.utimensat, -100, at("d/s"), null, 0x100));
        return moved;
      });
      expect(said).toMatchObject({
        open: "d/f",
        read: "d/f a",
        write: "d/f mc, d",
        "write nothing": "d/f",
        "open to truncate": "d/f mc, d",
        chmod: "d/f c, d",
        link: "d/f c, d, e mc",
        rename: "e/f c, d mc, e mc",
        unlink: "e/f2 c, e mc",
        mkdir: "d mc",
        setxattr: "e/f2 c",
        "utimens of a link": "d/s amc",
      });
    });

    itServes(`are kept to the nanosecond, before 1970 and after 2038 (${kind})`, () => {
      inBoth(kind, (directory) => {
        const file = path.join(directory, "f");
        writeFileSync(file, "");
        return [-86_400n, -1n, 0n, 2_147_483_647n, 4_294_967_296n].map((seconds) => {
          const given = new BigInt64Array([seconds, 1n, seconds, 999_999_999n]);
          const result = sys(NR.utimensat, -100, file, new Uint8Array(given.buffer), 0);
          const { atimeNs, mtimeNs } = statSync(file, { bigint: true });
          expect([result, atimeNs, mtimeNs]).toEqual([
            0,
            seconds * 1_000_000_000n + 1n,
            seconds * 1_000_000_000n + 999_999_999n,
          ]);
          return [atimeNs, mtimeNs];
        });
      });
    });
  }
});

describe("directories with the sticky and the set-group-ID bit", () => {
  for (const kind of kinds) {
    itServes(`sticky: only who owns a file or the directory removes and renames it (${kind})`, () => {
      const said = inBoth(kind, (directory) => {
        const at = path.join(directory, "tmp");
        mkdirSync(at);
        chmodSync(at, 0o1777);
        chownSync(at, 1002, 1002);
        const results: string[] = [];
        const tries = (id: number, script: string) =>
          results.push(
            `${id} ${script}: ${shell(at, id, `if ${script} 2> /dev/null; then echo yes; else echo no; fi`)}`,
          );
        shell(at, 1000, "touch mine yours third; mkdir dir");
        tries(1001, "rm -f mine");
        tries(1001, "mv mine stolen");
        tries(1001, "rmdir dir");
        tries(1001, "touch new && mv -f new mine");
        tries(1001, "ln yours linked");
        tries(1000, "rm -f mine");
        tries(1000, "mv yours ours");
        tries(1002, "rm -f third");
        tries(1002, "rmdir dir");
        return [...results, ...readdirSync(at).sort()];
      });
      expect(said.map((line) => /(yes|no)$/.exec(line)?.[1]).filter(Boolean)).toEqual([
        ...["no", "no", "no", "no"],
        said[4]?.endsWith("yes") === true ? "yes" : "no", // /proc/sys/fs/protected_hardlinks
        ...["yes", "yes", "yes", "yes"],
      ]);
    });

    itServes(`set-group-ID: what is made has the directory's group, directories the bit as well (${kind})`, () => {
      const said = inBoth(kind, (directory) => {
        const at = path.join(directory, "shared");
        mkdirSync(at);
        chownSync(at, 0, 2000);
        chmodSync(at, 0o2777);
        const script = `umask 027; touch f; mkdir d; mkfifo p; ln -s x l; touch d/g; touch x; chmod 2755 x; mv d/g moved
          stat -c '%n %A %u %g' f d p l moved x . | sort`;
        return shell(at, 1000, script).split("\n");
      });
      expect(said).toEqual([
        ". drwxrwsrwx 0 2000",
        "d drwxr-s--- 1000 2000",
        "f -rw-r----- 1000 2000",
        "l lrwxrwxrwx 1000 2000",
        "moved -rw-r----- 1000 2000",
        "p prw-r----- 1000 2000",
        // Not of the group: who is no member does not get the bit.
        "x -rwxr-xr-x 1000 2000",
      ]);
    });
  }
});

describe("locks", () => {
  const script = `import fcntl, os, signal, struct, time
open("f", "w").write("x" * 100)
f = open("f", "r+")
said = []
def child(body):
    pid = os.fork()
    if pid == 0:
        try: body(open("f", "r+"))
        except OSError as e: os._exit(e.errno)
        os._exit(0)
    return pid
def ended(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def tells(body): said.append(ended(child(body)))
# One that waits gets the lock when it is let go of, and when its holder is killed.
for call in (fcntl.flock, fcntl.lockf):
    call(f, fcntl.LOCK_EX)
    waiter = child(lambda g: call(g, fcntl.LOCK_EX))
    time.sleep(0.1); said.append(os.waitpid(waiter, os.WNOHANG)[0]); call(f, fcntl.LOCK_UN); said.append(ended(waiter))
    r, w = os.pipe()
    holder = child(lambda g: (call(g, fcntl.LOCK_EX), os.write(w, b"1"), time.sleep(60)))
    os.read(r, 1); os.kill(holder, signal.SIGKILL); ended(holder); call(f, fcntl.LOCK_EX | fcntl.LOCK_NB); call(f, fcntl.LOCK_UN)
# Shared ones go together, and become exclusive only alone.
fcntl.flock(f, fcntl.LOCK_SH)
tells(lambda g: fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)); tells(lambda g: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB))
fcntl.flock(f, fcntl.LOCK_UN)
# A record lock goes with any descriptor of the file that its owner closes; that of an open file description does not.
fcntl.lockf(f, fcntl.LOCK_EX, 10, 0); tells(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0))
open("f").close(); tells(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0))
ofd = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0)
fcntl.fcntl(f, fcntl.F_OFD_SETLK, ofd); open("f").close(); tells(lambda g: fcntl.fcntl(g, fcntl.F_OFD_SETLK, ofd))
tells(lambda g: fcntl.fcntl(g, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 10, 10, 0)))
fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 10, 0))
# Two that wait for each other are told.
fcntl.lockf(f, fcntl.LOCK_EX, 1, 0); r, w = os.pipe()
other = child(lambda g: (fcntl.lockf(g, fcntl.LOCK_EX, 1, 1), os.write(w, b"1"), fcntl.lockf(g, fcntl.LOCK_EX, 1, 0)))
os.read(r, 1); time.sleep(0.1)
try: fcntl.lockf(f, fcntl.LOCK_EX, 1, 1)
except OSError as e: said.append(e.errno)
fcntl.lockf(f, fcntl.LOCK_UN); said.append(ended(other))
print(said)`;
  for (const kind of kinds) {
    itRunsPython(`wait, upgrade, end with their holder, and say when they block each other (${kind})`, () => {
      const said = inBoth(kind, (directory) => python(directory, script));
      expect(said).toBe("[0, 0, 0, 0, 0, 11, 11, 0, 11, 0, 35, 0]");
    });
  }
});

describe("mappings", () => {
  const script = `import mmap, os, signal
f = open("f", "w+b"); f.truncate(16384)
said = []
def child(body):
    pid = os.fork()
    if pid == 0: body(); os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
m = mmap.mmap(f.fileno(), 16384)
m[0:4] = b"mmap"; said.append(os.pread(f.fileno(), 4, 0))
os.pwrite(f.fileno(), b"pwrite", 8192); said.append(m[8192:8198])
# Cut off: what was mapped beyond is gone, and zeros when it comes back.
m[8192:8196] = b"lost"; os.ftruncate(f.fileno(), 4096)
said.append(child(lambda: m[8192]) == -signal.SIGBUS)
os.ftruncate(f.fileno(), 16384); said.append(m[8192:8196])
# Through another opening, another mapping, and after the name is gone.
g = open("f", "r+b"); n = mmap.mmap(g.fileno(), 16384); n[100:103] = b"two"; said.append(m[100:103])
os.unlink("f"); n[200:204] = b"anon"; said.append(m[200:204]); g.close(); said.append(n[200:204]); m.flush()
said.append(os.pread(f.fileno(), 4, 200)); said.append(os.fstat(f.fileno()).st_nlink)
# A private one keeps to itself what it writes, and a hole reads as zeros.
p = mmap.mmap(f.fileno(), 16384, flags=mmap.MAP_PRIVATE); p[0:4] = b"mine"; said.append(m[0:4]); said.append(p[12288:12290])
# Read into what is mapped from the same file.
os.pwrite(f.fileno(), b"self", 300); os.preadv(f.fileno(), [memoryview(m)[400:404]], 300); said.append(os.pread(f.fileno(), 4, 400))
print(said)`;
  for (const kind of kinds) {
    itRunsPython(`agree with reading, writing and cutting (${kind})`, () => {
      const said = inBoth(kind, (directory) => python(directory, script));
      expect(said).toBe(
        String.raw`[b'mmap', b'pwrite', True, b'\x00\x00\x00\x00', b'two', b'anon', b'anon', b'anon', 0, b'mmap', b'\x00\x00', b'self']`,
      );
    });
  }
});

describe("appending", () => {
  const script = `import os, sys
child = os.fork()
name = sys.argv[1] if child == 0 else sys.argv[2]
fd = os.open(name, os.O_WRONLY | os.O_APPEND)
for i in range(5000): os.write(fd, (("a" if child == 0 else "b") * 30 + "\\n").encode())
if child: os.wait()
else: os._exit(0)`;
  for (const kind of kinds) {
    itRunsPython(`from both sides loses no line and mixes none (${kind})`, () => {
      const tree = trees.get(kind);
      const logs = [tree?.mountPoint, tree?.source].map((directory) => path.join(directory ?? "", "log"));
      const [served = "", source = ""] = logs;
      writeFileSync(served, "");
      expect(spawnSync("python3", ["-c", script, served, source], { encoding: "utf8" })).toMatchObject({ status: 0 });
      for (const log of logs) {
        const lines = readFileSync(log, "utf8").trim().split("\n");
        const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length;
        expect([lines.length, count(/^a{30}$/), count(/^b{30}$/)]).toEqual([10_000, 5_000, 5_000]);
      }
    });
  }
});
