/** What is left when a gofer dies or does not answer: errors, and nothing that hangs. */
import { describe, expect } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { kill } from "../../specutils/syscall.ts";
import { requires } from "../helpers/requires.ts";
import { serveTree } from "../helpers/served-tree.ts";

const itDies = requires("root", "CAP_SYS_ADMIN", "fuse", "python3");
const [SIGKILL, SIGSTOP] = [9, 19];

/** A thousand threads that write, create and look until each has seen an error; prints how many saw which. */
const WRITERS = `
import collections, errno, os, threading, time
seen = collections.Counter(); started = threading.Barrier(1001)
def work(n):
    fd = None
    try:
        fd = os.open(f"file-{n}", os.O_RDWR | os.O_CREAT)
        started.wait()
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            os.write(fd, b"x" * 4096)
            os.rename(f"file-{n}", f"renamed-{n}"); os.rename(f"renamed-{n}", f"file-{n}")
            os.ftruncate(fd, 0)
        seen["timeout"] += 1
    except OSError as e: seen[errno.errorcode[e.errno]] += 1
    finally:
        if fd is not None: os.close(fd)
threads = [threading.Thread(target=work, args=(n,)) for n in range(1000)]
threading.stack_size(65536)
for t in threads: t.start()
started.wait(); print("started", flush=True)
for t in threads: t.join()
print(dict(seen), flush=True)
`;

/** Tasks of a process that wait in a way that no signal ends. */
function uninterruptible(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).filter((task) =>
    / D /.test(readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8")),
  );
}

describe("a gofer that is gone", () => {
  itDies(
    "killed amid 1,000 parallel writers: all get errors, none hangs, the mount goes",
    async () => {
      const tree = serveTree({ passthrough: false });
      try {
        const writers = spawn("python3", ["-c", WRITERS], {
          cwd: tree.mountPoint,
          stdio: ["ignore", "pipe", "inherit"],
        });
        process.chdir("/");
        let output = "";
        writers.stdout.on("data", (text) => {
          output += text;
        });
        while (!output.includes("started")) await once(writers.stdout, "data");
        await Bun.sleep(200);
        kill(tree.gofer.pid, SIGKILL);
        const killed = performance.now();
        await once(writers, "close");
        expect(performance.now() - killed).toBeLessThan(20_000);
        expect(output).toMatch(/\{.*\}/);
        expect(output).not.toContain("timeout");
        const counts = [...output.matchAll(/'(E\w+)': (\d+)/g)];
        expect(counts.every(([, name = ""]) => ["ECONNABORTED", "ENOTCONN", "EIO"].includes(name))).toBe(true);
        expect(counts.reduce((sum, [, , count]) => sum + Number(count), 0)).toBe(1_000);
        expect(() => statSync(`${tree.mountPoint}/file-1`)).toThrow("ENOTCONN");
      } finally {
        expect(tree.end()).toMatchObject({ signal: SIGKILL });
      }
    },
    90_000,
  );

  itDies("what is open keeps its data, and programs that run go on", () => {
    const tree = serveTree();
    try {
      writeFileSync(`${tree.mountPoint}/data`, "kept");
      const script = `import os, signal
f = open("data", "r+b", buffering=0); os.kill(${tree.gofer.pid}, signal.SIGKILL)
while os.path.exists("/proc/${tree.gofer.pid}/fd/0"): pass
f.write(b"more"); f.seek(0); print(f.read().decode())
try: os.stat("data")
except OSError as e: print(e.errno)`;
      const { stdout, stderr } = spawnSync("python3", ["-c", script], { cwd: tree.mountPoint, encoding: "utf8" });
      process.chdir("/");
      expect(stderr).toBe("");
      expect(stdout).toBe("more\n107\n");
    } finally {
      tree.end();
    }
  });

  itDies(
    "stopped: requests end by themselves after the time that was set",
    async () => {
      const tree = serveTree({ requestTimeoutSeconds: 15 });
      try {
        kill(tree.gofer.pid, SIGSTOP);
        const start = performance.now();
        const client = spawn("ls", [tree.mountPoint], { stdio: "ignore" });
        await once(client, "exit");
        expect(client.exitCode).toBe(2);
        // The kernel looks every 15 seconds.
        expect(performance.now() - start).toBeLessThan(50_000);
        expect(uninterruptible(process.pid)).toEqual([]);
      } finally {
        kill(tree.gofer.pid, SIGKILL);
        tree.end();
      }
    },
    90_000,
  );
});
