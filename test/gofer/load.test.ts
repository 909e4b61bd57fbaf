/**
 * That programs which ask much of a file system find nothing wrong with a served tree: fio, stress-ng, sqlite and git, each at the
 * same time in a plain directory beside it, with the same end.
 *
 * `CLOCHE_LOAD=20` makes everything twenty times as long.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { missing, type Requirement, requires } from "../helpers/requires.ts";
import { type ServedTree, serveTree } from "../helpers/served-tree.ts";

const needed: readonly Requirement[] = ["root", "CAP_SYS_ADMIN", "fuse"];
const canServe = missing(...needed).length === 0;
const times = Number(process.env["CLOCHE_LOAD"] ?? "1");
const TIMEOUT_MS = 60_000 * times;

/** `passed`: the kernel reads and writes files itself; `cached`: the gofer does, below the page cache. */
const trees: Record<string, ServedTree> = {};
const HOOK_TIMEOUT_MS = 60_000;
beforeAll(() => {
  if (!canServe) return;
  trees["passed"] = serveTree({}, "/var/tmp");
  trees["cached"] = serveTree({ passthrough: false }, "/var/tmp");
}, HOOK_TIMEOUT_MS);
afterAll(() => {
  for (const tree of Object.values(trees)) expect(tree.end()).toMatchObject({ exitCode: 0 });
}, HOOK_TIMEOUT_MS);

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a shell's script in a directory; timeout(1) ends what it has started, too. */
function run(directory: string, script: string): Promise<Ended> {
  const env = { PATH: process.env["PATH"] ?? "", HOME: directory, TIMES: String(times) };
  const args = ["--kill-after=1", String(TIMEOUT_MS / 1000 - 10), "bash", "-euc", script];
  const child = spawn("timeout", args, { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (text) => {
      texts[name] += text;
    });
  }
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}

let count = 0;

/** Runs a script in a new directory of a served tree and in a plain one beside it. */
async function both(kind: string, script: string): Promise<[served: Ended, plain: Ended]> {
  const tree = trees[kind];
  if (tree === undefined) throw new Error(`no tree is ${kind}`);
  count += 1;
  const directories = [tree.mountPoint, path.dirname(tree.source)].map((parent) => path.join(parent, `work-${count}`));
  for (const directory of directories) mkdirSync(directory);
  const [served, plain] = await Promise.all(directories.map((directory) => run(directory, script)));
  if (served === undefined || plain === undefined) throw new Error("nothing ran");
  return [served, plain];
}

/** The same, where both have to succeed and to print the same. */
async function expectSame(kind: string, script: string): Promise<void> {
  const [served, plain] = await both(kind, script);
  // What they say on stderr is shown if they fail, and else not compared: git tells there of races that it has won.
  const ends = [plain, served].map(({ status, stdout, stderr }) =>
    status === 0 ? { stdout } : { status, stdout, stderr },
  );
  expect(ends[0]).toEqual({ stdout: plain.stdout });
  expect(ends[1]).toEqual({ stdout: plain.stdout });
}

describe("fio --verify", () => {
  const itVerifies = requires(...needed, "fio");
  const jobs: Record<string, string> = {
    psync: "--ioengine=psync --rw=randrw --bs=4k",
    "psync, four jobs, other sizes": "--ioengine=psync --rw=randwrite --bsrange=512-64k --numjobs=4",
    "psync, what is appended and synced": "--ioengine=psync --rw=write --bs=4k --fsync=64 --end_fsync=1",
    "mmap, two jobs": "--ioengine=mmap --rw=randrw --bs=4k --numjobs=2",
    "O_DIRECT, 16 at a time": "--ioengine=libaio --direct=1 --iodepth=16 --rw=randrw --bs=4k",
    "O_DIRECT, three jobs": "--ioengine=psync --direct=1 --rw=randwrite --bs=16k --numjobs=3",
  };
  for (const kind of ["passed", "cached"]) {
    for (const [name, flags] of Object.entries(jobs)) {
      itVerifies(
        `${name} (${kind})`,
        async () => {
          const common =
            "--size=8m --verify=crc32c --verify_fatal=1 --loops=$TIMES --group_reporting --output-format=json";
          const [served, plain] = await both(kind, `fio --name=x --directory=. ${common} ${flags}`);
          expect([plain.status, served.status]).toEqual([0, 0]);
          expect(summary(served.stdout)).toEqual(summary(plain.stdout));
        },
        TIMEOUT_MS,
      );
    }
  }

  /** Errors, and how much was read and written. */
  function summary(output: string): unknown {
    const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as { jobs: Record<string, unknown>[] };
    return jobs.map((job) => {
      const [read, write] = [job["read"], job["write"]] as { io_bytes: number; total_ios: number }[];
      return [job["error"], job["total_err"], read?.io_bytes, read?.total_ios, write?.io_bytes, write?.total_ios];
    });
  }
});

/**
 * Its class `filesystem` but for what is about something else (bind-mount, binderfs, eventfd, ioprio, procfs), for what neither file
 * system has (verity) or FUSE has not (fiemap), and for `io`, which writes back all of the machine's file systems, over and over.
 */
const stressors = [
  "access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup",
  "fallocate fanotify fcntl file-ioctl filename flock fpunch fsize fstat getdent handle hdd",
  "inode-flags inotify iomix lease link locka lockf lockofd mknod open rename symlink sync-file touch utime xattr",
];

describe("stress-ng, one of each at once", () => {
  const itStresses = requires(...needed, "stress-ng");
  for (const group of stressors) {
    itStresses(
      group,
      async () => {
        const each = group.split(" ").map((name) => `--${name} 1`);
        // Few enough for a second: what it makes first is as large as this, whatever the time.
        const small = "--hdd-bytes 4m --iomix-bytes 4m --fallocate-bytes 4m --dirdeep-inodes 2000";
        const script = `stress-ng ${each.join(" ")} ${small} --timeout $((4 * TIMES))s --temp-path . --verify --metrics`;
        const [served, plain] = await both("passed", script);
        for (const { status, stdout, stderr } of [plain, served]) {
          const output = stdout + stderr;
          expect({ status, complaints: complaints(output) }).toEqual({ status: 0, complaints: [] });
          for (const name of group.split(" ")) expect(output).toMatch(new RegExp(`metrc: \\[\\d+\\] ${name} `));
        }
      },
      TIMEOUT_MS,
    );
  }

  /** dirdeep is over before its time when it has made as many directories as it may. */
  function complaints(output: string): string[] {
    return output
      .split("\n")
      .filter((line) => /stress-ng: (fail|error|warn)|skipp|terminated/.test(line))
      .filter((line) => !/dirdeep: WARNING: finished prematurely/.test(line));
  }
});

describe("sqlite", () => {
  const itCounts = requires(...needed, "sqlite3");
  /** Money goes from one account to the other in each transaction, while a reader looks whether some was lost on the way. */
  const bank = (mode: string) => `
sql() { sqlite3 -batch -bail -cmd '.timeout 60000' bank.db "$@"; }
sql "PRAGMA journal_mode=${mode}; CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER);
  CREATE TABLE note(id INTEGER PRIMARY KEY, writer INTEGER, text TEXT); CREATE INDEX notes ON note(writer);
  INSERT INTO account VALUES (1, 500000), (2, 500000);"
writer() { for n in $(seq $((50 * TIMES))); do
  echo "BEGIN IMMEDIATE; UPDATE account SET money = money - 3 WHERE id = 1; INSERT INTO note(writer, text) VALUES ($1, hex(zeroblob($n % 900)));
    UPDATE account SET money = money + 3 WHERE id = 2; COMMIT;"; done | sql; }
reader() { until [ -e done ]; do [ "$(sql 'SELECT sum(money) FROM account')" = 1000000 ]; done; }
reader & reader=$!
pids=""; for w in 1 2 3 4; do writer $w & pids="$pids $!"; done
for pid in $pids; do wait $pid; done
touch done; wait $reader
sql "PRAGMA integrity_check; SELECT id, money FROM account; SELECT writer, count(*), sum(length(text)) FROM note GROUP BY writer;
  VACUUM; PRAGMA integrity_check; PRAGMA journal_mode;"`;
  for (const mode of ["DELETE", "TRUNCATE", "PERSIST", "WAL"]) {
    for (const kind of ["passed", "cached"]) {
      itCounts(`four writers and a reader, journal ${mode} (${kind})`, () => expectSame(kind, bank(mode)), TIMEOUT_MS);
    }
  }

  /** It dies in the middle of a transaction that is too large for its memory: who comes next takes back what it has written. */
  const killed = (mode: string) => `
sql() { sqlite3 -batch -bail -cmd '.timeout 60000' bank.db "$@"; }
sql "PRAGMA journal_mode=${mode}; CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO note(text) VALUES ('kept');"
mkfifo in
for turn in $(seq $((5 * TIMES))); do
  rm -f out; touch out
  sqlite3 -batch bank.db < in > out & writer=$!
  exec 3> in
  echo "PRAGMA cache_size=1; BEGIN IMMEDIATE; UPDATE note SET text = 'lost'; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO note(text) SELECT hex(zeroblob(500)) FROM n; SELECT 'written';" >&3
  until grep -q written out; do sleep 0.01; done
  ls bank.db-* | wc -l
  kill -KILL $writer; exec 3>&-; wait $writer || true
  sql "PRAGMA integrity_check; SELECT text FROM note;"
done 2> /dev/null`;
  for (const mode of ["DELETE", "WAL"]) {
    itCounts(`a killed writer, journal ${mode}`, () => expectSame("passed", killed(mode)), TIMEOUT_MS);
  }
});

describe("git", () => {
  /** The hashes of all commits are the same wherever they are made: names and dates are given. */
  const work = `
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1
# What git fetch begins in the background would meet git gc.
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=gc.auto GIT_CONFIG_VALUE_0=0 GIT_CONFIG_KEY_1=maintenance.auto GIT_CONFIG_VALUE_1=false
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init -q -b main first; for d in $(seq 20); do mkdir first/d$d; for f in $(seq 10); do seq $d $((d * f + 50)) > first/d$d/f$f; done; done
ln -s d1/f1 first/link; git -C first add .; git -C first commit -qm first
git clone -q --bare first shared.git
# Packing removes empty directories of objects, at times before the eyes of who is about to put one there: git says to try again.
again() { for try in $(seq 20); do "$@" 2> /dev/null && return; done; "$@"; }
worker() { again git clone -q shared.git clone$1; cd clone$1; git checkout -qb branch$1; file=d6/f$1
  for n in $(seq $((6 * TIMES))); do
    echo $1 $n >> d$1/f$1; git mv $file d1/moved-$1-$n; file=d1/moved-$1-$n; git commit -qam "$1 $n"; again git push -q origin branch$1; again git fetch -q
  done; git gc -q; git fsck --strict --full --no-progress; [ -z "$(git status --porcelain)" ]; }
cleaner() { until [ -e done ]; do git -C shared.git gc -q; git -C shared.git repack -adq; git -C shared.git pack-refs --all; done; }
trap 'touch done' EXIT
cleaner & cleaner=$!
pids=""; for w in 1 2 3 4; do (worker $w) & pids="$pids $!"; done
for pid in $pids; do wait $pid; done
touch done; wait $cleaner
git -C shared.git fsck --strict --full --no-progress; git -C shared.git for-each-ref
for w in 1 2 3 4; do git -C clone$w log --oneline | wc -l; git -C clone$w ls-tree -r HEAD | sha1sum; done`;
  const itCommits = requires(...needed, "git");
  for (const kind of ["passed", "cached"]) {
    itCommits(`four clones push while their origin is packed (${kind})`, () => expectSame(kind, work), TIMEOUT_MS);
  }
});

describe("in the end", () => {
  requires(...needed)("both sides have the same files", () => {
    for (const tree of Object.values(trees)) {
      const works = readdirSync(tree.mountPoint).sort();
      expect(works).toEqual(readdirSync(tree.source).sort());
    }
  });
});
