/** What programs expect of a file system beyond single calls: sharing, mapping, executing, names without files and files without names. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { NR, sys } from "../../specutils/syscall.ts";
import { missing, requires } from "../helpers/requires.ts";
import { type ServedTree, serveTree } from "../helpers/served-tree.ts";

const needed = ["root", "CAP_SYS_ADMIN", "fuse"] as const;
const itServes = requires(...needed);
const itRunsPython = requires(...needed, "python3");

const HOOK_TIMEOUT_MS = 60_000;

let tree: ServedTree;
const served = (...names: string[]) => path.join(tree.mountPoint, ...names);
const source = (...names: string[]) => path.join(tree.source, ...names);

beforeAll(() => {
  if (missing(...needed).length === 0) tree = serveTree();
}, HOOK_TIMEOUT_MS);
afterAll(() => {
  if (missing(...needed).length === 0) tree.end();
}, HOOK_TIMEOUT_MS);

/** Runs a program of Python in the served tree; it has to succeed. */
function python(text: string, ...args: string[]): string {
  const options = { cwd: tree.mountPoint, encoding: "utf8", timeout: 50_000 } as const;
  const { status, stdout, stderr }: SpawnSyncReturns<string> = spawnSync("python3", ["-c", text, ...args], options);
  process.chdir("/");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.trim();
}

describe("opening", () => {
  itRunsPython("what the host has made since the kernel looked for it is opened by who may, and by nobody else", () => {
    const open = (file: string, user: number, flags: string) =>
      `
import os
absent, made = ${JSON.stringify([served(file), source(file)])}
assert not os.path.exists(absent)
if os.fork() == 0:
  os._exit(os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "umask 077; echo secret > " + made))
os.wait()
os.setgid(${user}); os.setuid(${user})
try: print(os.read(os.open(absent, ${flags}), 9))
except OSError as error: print(error.strerror)
`;
    for (const directory of [source(), path.dirname(source())]) chmodSync(directory, 0o777);
    expect(python(open("of-root", 1000, "os.O_CREAT | os.O_RDWR"))).toBe("Permission denied");
    expect(python(open("of-root2", 1000, "os.O_CREAT | os.O_RDWR | os.O_TRUNC"))).toBe("Permission denied");
    expect(python(open("of-root3", 1000, "os.O_CREAT | os.O_EXCL | os.O_RDWR"))).toBe("File exists");
    expect(python(open("of-root4", 0, "os.O_CREAT | os.O_RDWR"))).toBe("b'secret\\n'");
    expect(readFileSync(source("of-root2"), "utf8")).toBe("secret\n");
    for (const directory of [source(), path.dirname(source())]) chmodSync(directory, 0o700);
  });
});

function errnoOf(body: () => unknown): string {
  try {
    body();
    return "";
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code ?? String(thrown);
  }
}

function nodeFds(): number {
  return readdirSync(`/proc/${tree.gofer.pid}/fd`).length;
}

describe("files without names", () => {
  itServes("an unlinked file is read, written, measured and given another size while it is open", () => {
    writeFileSync(served("gone"), "before");
    const fd = openSync(served("gone"), "r+");
    unlinkSync(served("gone"));
    writeSync(fd, "after!!", 0);
    expect(fstatSync(fd).nlink).toBe(0);
    expect(fstatSync(fd).size).toBe(7);
    ftruncateSync(fd, 3);
    expect(fstatSync(fd).size).toBe(3);
    const text = Buffer.alloc(10);
    expect(text.toString("utf8", 0, readSync(fd, text, 0, 10, 0))).toBe("aft");
    closeSync(fd);
  });

  itServes("a file that is replaced by rename stays what it was for who has it open", () => {
    writeFileSync(served("old"), "old");
    writeFileSync(served("new"), "new");
    const fd = openSync(served("old"), "r");
    renameSync(served("new"), served("old"));
    expect(fstatSync(fd).nlink).toBe(0);
    expect(readFileSync(fd, "utf8")).toBe("old");
    expect(readFileSync(served("old"), "utf8")).toBe("new");
    closeSync(fd);
  });

  itServes("a removed directory can be held, and nothing made in it", () => {
    mkdirSync(served("hole"));
    const fd = openSync(served("hole"), "r");
    rmdirSync(served("hole"));
    expect(fstatSync(fd).nlink).toBe(0);
    expect(sys(NR.mkdirat, fd, "x", 0o700)).toBe(-2);
    closeSync(fd);
  });

  itServes("what is open outlives the renaming of the directories above it", () => {
    mkdirSync(served("d1/d2/d3"), { recursive: true });
    writeFileSync(served("d1/d2/d3/f"), "x");
    const fd = openSync(served("d1/d2/d3/f"), "r+");
    renameSync(served("d1/d2"), served("moved"));
    renameSync(served("moved/d3"), served("d1/d3"));
    writeSync(fd, "yz", 1);
    expect(readFileSync(served("d1/d3/f"), "utf8")).toBe("xyz");
    expect(readFileSync(source("d1/d3/f"), "utf8")).toBe("xyz");
    closeSync(fd);
  });
});

describe("many, deep and odd names", () => {
  itServes(
    "a directory of 10,000 files is listed whole, also while it is being emptied",
    () => {
      mkdirSync(source("many"));
      for (let index = 0; index < 10_000; index++) writeFileSync(source(`many/file-${index}`), "");
      expect(readdirSync(served("many")).length).toBe(10_000);
      expect(nodeFds()).toBeLessThan(8_000);
      rmSync(served("many"), { recursive: true });
      expect(existsSync(source("many"))).toBe(false);
    },
    60_000,
  );

  itServes("1,000 directories inside each other can be made, walked and removed", () => {
    let fd = openSync(tree.mountPoint, "r");
    for (let depth = 0; depth < 1_000; depth++) {
      expect(sys(NR.mkdirat, fd, "deep", 0o755)).toBe(0);
      const next = sys(NR.openat, fd, "deep", 0);
      closeSync(fd);
      fd = next;
    }
    closeSync(fd);
    const found = spawnSync("find", [served("deep"), "-name", "deep", "-printf", "x"], { encoding: "utf8" });
    expect(found.stdout.length).toBe(1_000);
    expect(spawnSync("rm", ["-rf", served("deep")]).status).toBe(0);
  });

  itServes("a name may be any bytes", () => {
    const names = [Buffer.from([0xff, 0xfe, 0x0a]), Buffer.from("\u{1f41a}".repeat(60)), Buffer.from('a\\b "c"')];
    mkdirSync(served("bytes"));
    for (const name of names) {
      const file = Buffer.concat([Buffer.from(`${served("bytes")}/`), name]);
      writeFileSync(file, name);
      expect(readFileSync(file)).toEqual(name);
    }
    const listed = readdirSync(served("bytes"), { encoding: "buffer" });
    expect(listed.map((name) => name.toString("hex")).sort()).toEqual(names.map((name) => name.toString("hex")).sort());
  });

  itServes("device nodes are refused, FIFOs are not", () => {
    expect(sys(NR.mknodat, -100, served("null"), 0o20666, 0x103)).toBe(-1);
    expect(sys(NR.mknodat, -100, served("disk"), 0o60666, 0x800)).toBe(-1);
    expect(sys(NR.mknodat, -100, served("fifo"), 0o10666, 0)).toBe(0);
    expect(statSync(served("fifo")).isFIFO()).toBe(true);
  });
});

describe("sharing", () => {
  itRunsPython("a shared mapping, reads and writes see each other at once, on both sides", () => {
    writeFileSync(served("map"), Buffer.alloc(8192));
    python(
      `import mmap, os, sys
f = open("map", "r+b"); m = mmap.mmap(f.fileno(), 8192)
g = open(sys.argv[1], "r+b", buffering=0)
m[100:105] = b"hello"
assert os.pread(f.fileno(), 5, 100) == b"hello"
assert os.pread(g.fileno(), 5, 100) == b"hello"
os.pwrite(f.fileno(), b"there", 5000)
assert m[5000:5005] == b"there"
os.pwrite(g.fileno(), b"again", 6000)
assert m[6000:6005] == b"again"
p = mmap.mmap(f.fileno(), 8192, flags=mmap.MAP_PRIVATE)
p[0:3] = b"own"
assert os.pread(f.fileno(), 3, 0) == bytes(3)
child = os.fork()
if child == 0:
    m[200:203] = b"kid"; os._exit(0)
os.wait()
assert m[200:203] == b"kid"`,
      source("map"),
    );
  });

  itRunsPython("locks hold between processes of the container", () => {
    writeFileSync(served("lock"), "");
    python(`import fcntl, os
f = open("lock", "r+")
def tries(call):
    child = os.fork()
    if child == 0:
        g = open("lock", "r+")
        try: call(g)
        except BlockingIOError: os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.wait()[1])
fcntl.flock(f, fcntl.LOCK_EX)
assert tries(lambda g: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)) == 7
fcntl.flock(f, fcntl.LOCK_UN)
assert tries(lambda g: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)) == 0
fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
assert tries(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)) == 7
assert tries(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 20)) == 0`);
  });

  itRunsPython("inotify tells of what happens inside", () => {
    mkdirSync(served("watched"));
    python(`import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(fd, b"watched", 0xfff) > 0
open("watched/f", "w").write("x"); os.rename("watched/f", "watched/g"); os.unlink("watched/g")
data = os.read(fd, 65536); masks = set(); at = 0
while at < len(data):
    wd, mask, cookie, length = struct.unpack_from("iIII", data, at); masks.add(mask & 0xfff); at += 16 + length
assert {0x100, 0x2, 0x8, 0x40, 0x80, 0x200} <= masks, masks`);
  });

  itRunsPython("unix sockets connect processes", () => {
    python(`import os, socket
s = socket.socket(socket.AF_UNIX); s.bind("socket"); s.listen(1)
if os.fork() == 0:
    c = socket.socket(socket.AF_UNIX); c.connect("socket"); c.send(b"through"); os._exit(0)
assert s.accept()[0].recv(10) == b"through"; os.wait(); os.unlink("socket")`);
  });
});

describe("executing", () => {
  itServes("a file can be executed as soon as it was written, on both sides, and not while somebody writes", () => {
    const program = readFileSync("/bin/true");
    writeFileSync(served("true"), program, { mode: 0o755 });
    expect(spawnSync(served("true")).status).toBe(0);
    expect(spawnSync(source("true")).status).toBe(0);
    const fd = openSync(served("true"), "r+");
    expect(spawnSync(served("true")).error).toMatchObject({ code: "ETXTBSY" });
    expect(spawnSync(source("true")).error).toMatchObject({ code: "ETXTBSY" });
    closeSync(fd);
    expect(spawnSync(source("true")).status).toBe(0);
  });

  itServes("set-user-ID is without effect on the mount, and goes with the first write of a user", () => {
    expect(readFileSync("/proc/self/mountinfo", "utf8")).toMatch(
      new RegExp(`${tree.mountPoint} rw,nosuid,nodev,\\S* .* fuse`),
    );
    writeFileSync(served("suid"), "x");
    chownSync(served("suid"), 1000, 1000);
    chmodSync(served("suid"), 0o6755);
    const written = spawnSync("sh", ["-c", `echo y >> '${served("suid")}'`], { uid: 1000, gid: 1000 });
    expect(written.status).not.toBe(0); // the test's directory is root's alone
    for (const directory of [source(), path.dirname(source())]) chmodSync(directory, 0o755);
    expect(spawnSync("sh", ["-c", `echo y >> '${served("suid")}'`], { uid: 1000, gid: 1000 }).status).toBe(0);
    expect(statSync(source("suid")).mode & 0o7777).toBe(0o755);
    expect(statSync(served("suid")).mode & 0o7777).toBe(0o755);
  });
});

describe("changes on the host", () => {
  /** A second, and what a busy machine takes to look. */
  const SEEN_WITHIN_MS = 1_500;

  /** Milliseconds after which `isSeen`, at most five seconds. */
  function delay(isSeen: () => boolean): number {
    const start = performance.now();
    while (!isSeen() && performance.now() - start < 5_000) Bun.sleepSync(10);
    return performance.now() - start;
  }

  itServes("are seen within a second: new, changed, removed and renamed files", () => {
    expect(existsSync(served("host-made"))).toBe(false);
    writeFileSync(source("host-made"), "one");
    expect(delay(() => existsSync(served("host-made")))).toBeLessThan(SEEN_WITHIN_MS);
    statSync(served("host-made"));
    appendFileSync(source("host-made"), "two");
    expect(readFileSync(served("host-made"), "utf8").slice(0, 3)).toBe("one");
    expect(delay(() => readFileSync(served("host-made"), "utf8") === "onetwo")).toBeLessThan(SEEN_WITHIN_MS);
    chmodSync(source("host-made"), 0o600);
    expect(delay(() => (statSync(served("host-made")).mode & 0o777) === 0o600)).toBeLessThan(SEEN_WITHIN_MS);
    renameSync(source("host-made"), source("host-renamed"));
    expect(delay(() => existsSync(served("host-renamed")) && !existsSync(served("host-made")))).toBeLessThan(
      SEEN_WITHIN_MS,
    );
    unlinkSync(source("host-renamed"));
    expect(delay(() => !existsSync(served("host-renamed")))).toBeLessThan(SEEN_WITHIN_MS);
    expect(delay(() => !readdirSync(tree.mountPoint).includes("host-renamed"))).toBeLessThan(SEEN_WITHIN_MS);
  });

  itServes("another file of the same name is another file", () => {
    writeFileSync(served("same"), "first");
    const fd = openSync(served("same"), "r");
    writeFileSync(source("other"), "second");
    renameSync(source("other"), source("same"));
    expect(delay(() => readFileSync(served("same"), "utf8") === "second")).toBeLessThan(SEEN_WITHIN_MS);
    expect(readFileSync(fd, "utf8")).toBe("first");
    closeSync(fd);
  });

  itServes("moving directories into each other behind its back loses nothing but time", () => {
    mkdirSync(served("x/y"), { recursive: true });
    writeFileSync(served("x/y/f"), "f");
    renameSync(source("x/y"), source("y"));
    renameSync(source("x"), source("y/x"));
    expect(
      delay(() => existsSync(served("y/f")) && existsSync(served("y/x")) && !existsSync(served("x"))),
    ).toBeLessThan(SEEN_WITHIN_MS);
    symlinkSync("y/f", served("to-f"));
    linkSync(served("y/f"), served("y/x/f2"));
    expect(readFileSync(served("y/x/f2"), "utf8")).toBe("f");
    expect(errnoOf(() => renameSync(served("y"), served("y/x/y")))).toBe("EINVAL");
  });
});
