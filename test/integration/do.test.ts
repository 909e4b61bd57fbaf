/** `do`: a command in a throw-away container on the host's own files. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { requires } from "../helpers/requires.ts";
import { killChild, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("cloche", "root");

/** Runs a shell script in such a container. */
function run(runtime: Runtime, script: string, ...flags: string[]) {
  return runtime.run(["do", ...flags, "--", "sh", "-c", script]);
}

describe("do", () => {
  it("runs the command on the host's files and hands on output and exit code", () =>
    withRuntime((runtime) => {
      const release = readFileSync("/etc/os-release", "utf8");
      expect(run(runtime, "cat /etc/os-release; echo oops >&2; exit 7")).toMatchObject({
        exitCode: 7,
        stdout: release,
        stderr: "oops\n",
      });
    }));

  it("keeps changes in memory", () =>
    withRuntime((runtime) => {
      const file = `/etc/${runtime.word}`;
      const script = `echo x > ${file} && rm /etc/os-release && cat ${file} && ! test -e /etc/os-release`;
      expect(run(runtime, script)).toMatchObject({ exitCode: 0, stdout: "x\n" });
      expect(existsSync(file)).toBe(false);
      expect(existsSync("/etc/os-release")).toBe(true);
    }));

  it("is a sandbox whose root is nobody on the host, unless another level is asked for", () =>
    withRuntime((runtime) => {
      const ids = "cut -c 12- /proc/self/uid_map; grep ' / ' /proc/mounts | cut -d' ' -f1,2";
      expect(run(runtime, ids).stdout).toMatch(/^ *[1-9]\d+ +65536\noverlay \/\n$/);
      expect(runtime.run(["--isolation", "oci", "do", "--", "sh", "-c", ids]).stdout).toMatch(/^ *0 +4294967295\n/);
    }));

  it("leaves nothing behind, also when it is killed", () =>
    withRuntime(async (runtime) => {
      run(runtime, "true");
      expect(readdirSync(runtime.root).filter((name) => name !== ".seccomp")).toEqual([]);
      const child = runtime.spawn(["do", "--", "sleep", "1000"]);
      await waitFor("the container runs", () => runtime.ok(["list", "--format", "json"]).includes('"running"'));
      await killChild(child);
      expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(runtime.word);
    }));

  it("has the host's network only when asked to", () =>
    withRuntime((runtime) => {
      const devices = "tail -n +3 /proc/net/dev | cut -d: -f1";
      expect(run(runtime, devices).stdout.trim()).toBe("lo");
      const host = readFileSync("/proc/self/net/dev", "utf8").trim().split("\n").length - 2;
      expect(run(runtime, devices, "--network", "host").stdout.trim().split("\n")).toHaveLength(host);
    }));

  it("sees no sockets in /run, an empty /tmp, and its own processes only", () =>
    withRuntime((runtime) => {
      expect(run(runtime, "ls -A /run /tmp; echo $$").stdout).toBe("/run:\n\n/tmp:\n1\n");
    }));

  it("sets working directory and environment", () =>
    withRuntime((runtime) => {
      expect(run(runtime, "pwd; echo $A", "--cwd", "/usr", "-e", "A=1=2").stdout).toBe("/usr\n1=2\n");
      expect(runtime.run(["do", "pwd"], { cwd: "/usr/share" }).stdout).toBe("/usr/share\n");
      expect(runtime.run(["do", "pwd"], { cwd: runtime.directory }).stdout).toBe("/\n");
    }));

  it("has no privileges to gain or to use on the host", () =>
    withRuntime((runtime) => {
      const { stdout } = run(
        runtime,
        "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; mount -t tmpfs x /mnt; echo $?",
      );
      const mask = BigInt(`0x${/CapBnd:\t(\w+)/.exec(stdout)?.[1]}`);
      expect(stdout).toContain("NoNewPrivs:\t1");
      expect((mask >> 21n) & 1n).toBe(0n);
      expect(stdout.trim().split("\n").at(-1)).not.toBe("0");
    }));

  it("fails on a command that is not there as run does, with one line", () =>
    withRuntime((runtime) => {
      const result = runtime.run(["do", "--", runtime.word]);
      expect(result.stderr).toContain("executable file not found in $PATH");
      expect(result.stderr.indexOf("\n")).toBe(result.stderr.length - 1);
      expect(result.exitCode).toBe(1);
      expect(readdirSync(runtime.root).filter((name) => name !== ".seccomp")).toEqual([]);
    }));
});
