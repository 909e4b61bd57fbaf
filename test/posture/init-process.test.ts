/**
 * What a container can do to the process that is about to become its program, and through it to the host:
 * CVE-2016-9962 (getting into it), CVE-2019-5736 (its executable), CVE-2024-21626 (its descriptors).
 */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";
import { grant, mapIds } from "../helpers/container.ts";
import { installFixture } from "../helpers/fixture-program.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";
import { distDirectory, runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox");
const itHostile = requires("root", "busybox", "gcc", "cloche");

const SECONDS = 1.2;

const ATTEMPTS = 8;

/**
 * Runs `hostile MODE` as a container's program, and execs into it all the while; returns what it said, each line once. On a busy
 * machine it may come too late for every helper: then it is tried again.
 */
async function underAttack(
  runtime: Runtime,
  mode: "pry" | "overwrite",
  command: string[],
  change: (spec: BundleSpec) => void,
): Promise<string[]> {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sh", "-c", `/hostile ${mode} ${SECONDS} >> /output`];
    change(spec);
  });
  const rootfs = path.join(bundle, "rootfs");
  const output = path.join(rootfs, "output");
  installFixture("hostile", rootfs);
  writeFileSync(output, "");
  chmodSync(output, 0o666);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const id = runtime.id();
    runtime.ok(["run", "--detach", "--bundle", bundle, id]);
    const end = performance.now() + SECONDS * 800;
    while (performance.now() < end) runtime.run(["exec", id, ...command]);
    await runtime.reaches(id, "stopped");
    if (/^(seen|held) [1-9]/m.test(readFileSync(output, "utf8"))) break;
  }
  const lines = readFileSync(output, "utf8").trim().split("\n");
  return [...new Set(lines.filter((line) => !/^(seen|held) 0 /.test(line)))];
}

function digest(name: string): string {
  return createHash("sha256")
    .update(readFileSync(path.join(distDirectory, name)))
    .digest("hex");
}

itHostile(
  "CVE-2016-9962: root of a container cannot get into an exec's helper: no memory, descriptors, links, tracing",
  () =>
    withRuntime(async (runtime) => {
      const said = await underAttack(runtime, "pry", ["true"], () => {});
      // The attack came to pass: helpers were there to be looked at.
      expect(said).toEqual([expect.stringMatching(/^seen [1-9]\d* helpers$/)]);
    }),
);

itHostile("CVE-2016-9962: nor can root of a user namespace, with all capabilities in it", () =>
  withRuntime(async (runtime) => {
    const said = await underAttack(runtime, "pry", ["true"], (spec) => {
      mapIds(spec);
      grant(spec, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SETUID");
    });
    expect(said).toEqual([expect.stringMatching(/^seen [1-9]\d* helpers$/)]);
  }),
);

itHostile(
  "CVE-2016-9962: nor can a container that sees the host's processes get into sandboxes and created containers",
  () =>
    withRuntime(async (runtime) => {
      runtime.create();
      const said = await underAttack(runtime, "pry", ["true"], (spec) => {
        spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
      });
      expect(said.length).toBeGreaterThan(0);
      for (const line of said) expect(line).toMatch(/^seen [1-9]\d* helpers$/);
    }),
);

it("neighbour of CVE-2016-9962: a container traces and reads its own processes", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "sleep 9 & readlink /proc/$!/exe; ls /proc/$!/fd; kill $!"];
    });
    const { stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
    expect(stdout).toContain("/bin/busybox\n0\n1\n2\n");
  }));

for (const capabilities of [[], ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]]) {
  const who = capabilities.length === 0 ? "a usual container" : "a container with CAP_SYS_ADMIN and CAP_DAC_OVERRIDE";
  itHostile(`CVE-2019-5736: ${who} cannot write to the runtime's executable that it got to run`, () =>
    withRuntime(async (runtime) => {
      const before = [digest("cloche-init"), digest("cloche")];
      // The program is whatever the process was executed from: the helper, to begin with.
      const said = await underAttack(runtime, "overwrite", ["/proc/self/exe"], (spec) => grant(spec, ...capabilities));
      expect(said).toEqual([expect.stringMatching(/^held [1-9]\d* executables$/)]);
      expect([digest("cloche-init"), digest("cloche")]).toEqual(before);
    }),
  );
}

it("neighbour of CVE-2019-5736: a container's program executes itself through /proc/self/exe", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "exec -a busybox /proc/self/exe echo again"];
    });
    const { stdout, exitCode } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
    expect({ stdout, exitCode }).toEqual({ stdout: "again\n", exitCode: 0 });
  }));

/** Working directories and programs that reach the host if a descriptor of it is open at some number. */
const numbers = Array.from({ length: 14 }, (_, index) => index + 3);

it("CVE-2024-21626: process.cwd through a descriptor of the runtime's is refused or inside the root", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle();
    const config = path.join(bundle, "config.json");
    const text = readFileSync(config, "utf8");
    const rootfs = path.join(bundle, "rootfs");
    for (const number of numbers) {
      for (const cwd of [
        `/proc/self/fd/${number}`,
        `/proc/self/fd/${number}/..`,
        `/proc/thread-self/fd/${number}/../..`,
      ]) {
        const spec = JSON.parse(text);
        spec.process.cwd = cwd;
        spec.process.args = ["ls", "-d", "../../../../../../../work", "../../../../../../../usr/sbin/runc", "."];
        writeFileSync(config, JSON.stringify(spec));
        const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
        expect([cwd, exitCode, stdout]).not.toEqual([cwd, 0, expect.any(String)]);
        expect(stdout).not.toMatch(/work|runc/);
      }
    }
    // The same through a link that the image brings along.
    symlinkSync("/proc/self/fd/4", path.join(rootfs, "link"));
    const spec = JSON.parse(text);
    spec.process.cwd = "/link";
    writeFileSync(config, JSON.stringify(spec));
    expect(runtime.run(["run", "--bundle", bundle, runtime.id()]).exitCode).not.toBe(0);
  }));

it("CVE-2024-21626: process.args through a descriptor of the runtime's executes nothing of the host's", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      // With it the helper has the host's /proc open for a while.
      spec.linux.sysctl = { "net.ipv4.ip_forward": "0" };
    });
    const config = path.join(bundle, "config.json");
    const text = readFileSync(config, "utf8");
    for (const number of numbers) {
      for (const below of ["bin/bash", "../bin/bash", "1/root/bin/bash", "self/root/bin/bash"]) {
        const spec = JSON.parse(text);
        spec.process.args = [`/proc/self/fd/${number}/${below}`, "-c", "echo escaped"];
        writeFileSync(config, JSON.stringify(spec));
        const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
        expect(exitCode).not.toBe(0);
        expect(stdout).toBe("");
      }
    }
  }));

it("CVE-2024-21626: exec --cwd through a descriptor, or through a link that the container made, is refused", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.process.args = ["sh", "-c", "ln -s /proc/self/fd/5 /link; ln -s /proc/self/fd/7/../.. /link2; sleep 60"];
    });
    runtime.ok(["start", id]);
    const places = [...numbers.map((number) => `/proc/self/fd/${number}`), "/link", "/link2"];
    for (const cwd of places) {
      const { exitCode, stdout } = runtime.run(["exec", "--cwd", cwd, id, "pwd"]);
      expect([cwd, exitCode === 0, stdout]).toEqual([cwd, false, ""]);
    }
  }));

it("neighbour of CVE-2024-21626: working directories below a link inside the root", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.cwd = "/link/below";
      spec.process.args = ["pwd", "-P"];
    });
    mkdirSync(path.join(bundle, "rootfs/real/below"), { recursive: true });
    symlinkSync("/real", path.join(bundle, "rootfs/link"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("/real/below\n");
  }));

/** Runs the runtime with further open descriptors: a directory of the host's at 3 and 9. */
function withOpenDirectories(runtime: Runtime, ...args: string[]): string {
  const script = 'exec 3< /usr 9< /etc; exec "$0" "$@"';
  const { stdout, stderr } = spawnSync("bash", ["-c", script, runtimePath(), "--root", runtime.root, ...args], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return stdout + stderr;
}

it("CVE-2024-21626: descriptors of the caller's reach neither program nor exec", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"];
    });
    // ls itself has /proc/self/fd open.
    expect(withOpenDirectories(runtime, "run", "--bundle", bundle, runtime.id())).toBe("0 1 2 3 ");
    const id = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    expect(withOpenDirectories(runtime, "exec", id, "ls", "/proc/self/fd")).toBe("0\n1\n2\n3\n");
  }));

it("neighbour of CVE-2024-21626: descriptors that --preserve-fds counts do, and no more", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "ls -d /proc/self/fd/3/share; ls /proc/self/fd | tr '\\n' ' '"];
    });
    const output = withOpenDirectories(runtime, "run", "--preserve-fds", "1", "--bundle", bundle, runtime.id());
    expect(output).toBe("/proc/self/fd/3/share\n0 1 2 3 4 ");
  }));

for (const closed of [[0], [1], [2], [0, 1, 2]]) {
  requires(
    "root",
    "busybox",
    "cloche",
  )(`standard streams that the caller closed (${closed}) are not filled with descriptors of the runtime's`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", "for fd in 0 1 2 3 4 5 6; do readlink /proc/$$/fd/$fd; done > /output; true"];
      });
      const script = `exec ${closed.map((fd) => `${fd}>&-`).join(" ")}; exec "$0" "$@"`;
      const { status } = spawnSync(
        "bash",
        ["-c", script, runtimePath(), "--root", runtime.root, "run", "--bundle", bundle, runtime.id()],
        { stdio: "ignore", timeout: 20_000 },
      );
      const lines = readFileSync(path.join(bundle, "rootfs/output"), "utf8").trim().split("\n");
      expect(status).toBe(0);
      // What the shell redirects is /output; all others are the caller's /dev/null, or closed.
      expect(lines.filter((line) => line !== "/output" && line !== "/dev/null")).toEqual([]);
    }),
  );
}
