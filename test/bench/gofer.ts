/**
 * How much slower programs are on files that a gofer serves: the host's own root, as it is, served, and served with an audit
 * stream of everything, in turns.
 *
 *     taskset -c 0 bun test/bench/gofer.ts [ROUNDS] [OPTIONS]
 *
 * OPTIONS is JSON for the gofer. Prints the median of each workload in each, and the ratios to plain. On one processor:
 * across two, the time it takes to wake the other one up is most of what is measured (docs/GOFER.md).
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import path from "node:path";
import type { GoferOptions } from "../../gofer/options.ts";
import { startGofer } from "../../gofer/start.ts";
import { AT_FDCWD, O_CLOEXEC } from "../../specutils/syscall/constants.ts";
import { NR, sys, throwErrno, umount, waitPid } from "../../specutils/syscall.ts";
import { projectDirectory } from "../helpers/runtime-path.ts";

const rounds = Number(process.argv[2] ?? "5");
const options: Partial<GoferOptions> = JSON.parse(process.argv[3] ?? "{}");

/** In `$W`, a directory of the workload's own. What is before `--` prepares and is not measured. */
const workloads: Record<string, string> = {
  "read 256 MiB": "-- dd if=$D/big of=/dev/null bs=1M status=none",
  "map 256 MiB": `-- python3 -c 'import mmap,sys; m=mmap.mmap(open("'$D'/big","rb").fileno(),0,prot=1); [m[i] for i in range(0,len(m),4096)]'`,
  "write 256 MiB": "-- dd if=/dev/zero of=$W/new bs=1M count=256 status=none",
  "write 4 KiB x 20,000": "-- dd if=/dev/zero of=$W/new bs=4k count=20000 status=none",
  "git status": "-- git -C $D/repo status --short",
  find: "-- find $D/repo -newer /etc/passwd -type l",
  "tar x": "-- tar xf $D/tree.tar -C $W",
  "rm -rf": "tar xf $D/tree.tar -C $W -- rm -rf $W/tree",
  "cp -r": "-- cp -r $D/tree $W/copy",
  "C compile": "-- gcc -O1 -c $D/main.c -o $W/main.o",
  "import asyncio": "-- python3 -c 'import asyncio'",
  "git add and commit":
    "cp -r $D/tree $W && git -C $W init -q -- git -C $W -c user.name=a -c user.email=b add . && git -C $W -c user.name=a -c user.email=b commit -qm x",
  "/bin/true": "-- /bin/true",
};

const top = mkdtempSync("/var/tmp/cloche-bench-gofer-");
const [data, work] = ["data", "work"].map((name) => path.join(top, name)) as [string, string];
for (const directory of [data, work]) mkdirSync(directory);
/** 5,000 small files; a repository of them. */
const prepare = `cd ${data} && mkdir tree && cd tree && for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo "file $d $f" > d$d/f$f; done; done
cd .. && tar cf tree.tar tree && cp -r tree repo && git -C repo init -q && git -C repo add . && git -C repo -c user.name=a -c user.email=b commit -qm x
head -c 268435456 /dev/zero | tr '\\0' x > big
printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\nint main(void){puts("x");return 0;}\\n' > main.c; sync`;
run(["sh", "-c", prepare]);

/** The host's root, served. */
function serve(name: string, auditFd?: number) {
  const mountPoint = path.join(top, name);
  mkdirSync(mountPoint);
  const treeFd = throwErrno("open_tree", "/", sys(NR.open_tree, AT_FDCWD, "/", 1 | O_CLOEXEC));
  const gofer = startGofer([path.join(projectDirectory, "dist/cloche")], treeFd, options, 2, auditFd);
  closeSync(treeFd);
  throwErrno("move_mount", mountPoint, sys(NR.move_mount, gofer.mountFd, "", AT_FDCWD, mountPoint, 4));
  closeSync(gofer.mountFd);
  for (const what of ["/dev", "/proc"]) run(["mount", "--bind", what, mountPoint + what]);
  return { ...gofer, mountPoint };
}

const auditFd = openSync(path.join(top, "audit.jsonl"), "a", 0o600);
const served = [serve("served"), serve("audited", auditFd)];
closeSync(auditFd);

function run(command: string[]): void {
  const { status, stderr } = spawnSync(command[0] ?? "", command.slice(1), { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}

/** Milliseconds that a workload takes in a root. */
function measure(root: string, workload: string): number {
  const [before = "", measured = ""] = workload.split("-- ");
  rmSync(work, { recursive: true });
  mkdirSync(work);
  // The time is taken inside, so that neither the shell nor chroot is measured.
  const script = `D=${data}; W=${work}; ${before === "" ? "" : `${before};`} s=$(date +%s%N); ${measured}; e=$(date +%s%N); echo $(( (e - s) / 1000 ))`;
  const { stdout, stderr } = spawnSync("/usr/sbin/chroot", [root, "/bin/sh", "-c", script], {
    encoding: "utf8",
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", HOME: "/" },
  });
  const microseconds = Number(stdout.trim().split("\n").at(-1));
  if (!(microseconds > 0)) throw new Error(`${workload}: ${stdout}${stderr}`);
  return microseconds / 1000;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

try {
  const columns = ["plain", "served", "audited"];
  const cells = (texts: string[]) => texts.map((text) => text.padStart(10)).join("");
  console.log("workload".padEnd(22) + cells([...columns.map((name) => `${name} ms`), "served", "audited"]));
  for (const [name, workload] of Object.entries(workloads)) {
    const roots = ["/", ...served.map(({ mountPoint }) => mountPoint)];
    const times = roots.map((): number[] => []);
    // The first round fills the caches of all. Each begins another one: what one has written the next may have to wait for.
    for (let round = 0; round <= rounds; round++) {
      for (let turn = 0; turn < roots.length; turn++) {
        const index = (round + turn) % roots.length;
        times[index]?.push(measure(roots[index] ?? "/", workload));
      }
    }
    const [plain = 0, ...others] = times.map((each) => median(each.slice(1)));
    const ratios = others.map((time) => (time / plain).toFixed(2));
    console.log(name.padEnd(22) + cells([...[plain, ...others].map((time) => time.toFixed(1)), ...ratios]));
  }
} finally {
  for (const { mountPoint, controlFd, pid } of served) {
    for (const name of ["/dev", "/proc", ""]) umount(mountPoint + name, 2);
    closeSync(controlFd);
    waitPid(pid);
  }
  rmSync(top, { recursive: true });
}
