/**
 * Bundles that somebody else filled: a config.json that is wrong in every small way, and bundles whose parts are not what
 * they should be. Each call ends in time, leaves nothing, and says at most one clear line.
 * (The reader alone takes 20,000 mutated configs in specutils/config.property.test.ts.)
 */
import { expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeRootfs, specToJson } from "../helpers/bundle.ts";
import { mutateText, mutateValue, randomNumbers } from "../helpers/mutate.ts";
import { requires } from "../helpers/requires.ts";
import { type Result, type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche");

const ROUNDS = 80;
const LONGEST_LINE = 2000;

/**
 * Expects an end of its own, at most one line without control characters, and an empty state root. Of a container that ran,
 * what was left out, an unknown capability say, is logged as a warning (config.md#linux-process).
 */
function expectClean(runtime: Runtime, { exitCode, signal, stdout, stderr }: Result, what: string): void {
  expect([what, signal, stdout]).toEqual([what, null, ""]);
  const said = stderr.replace(/^time="[^"]*" level=warning msg=.*\n/gm, "");
  if (exitCode === 0) expect([what, said]).toEqual([what, ""]);
  if (said !== "") expect([what, stderr]).toEqual([what, said]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  const isOneLine = /^[^\x00-\x1f\x7f]*\n?$/.test(said) && said.length < LONGEST_LINE;
  expect([what, isOneLine ? "" : stderr]).toEqual([what, ""]);
  expect([what, stderr.includes("internal error")]).toEqual([what, false]);
  const left = readdirSync(runtime.root).filter((name) => name !== ".seccomp");
  expect([what, left]).toEqual([what, []]);
}

for (const seed of [0xc10c, 0xbe11, 0x5a1d]) {
  it(`${ROUNDS} mutated configs (seed ${seed}): run, or refused in one line, and nothing left of either`, () =>
    withRuntime((runtime) => {
      const random = randomNumbers(seed);
      const bundle = runtime.bundle((spec) => {
        spec.process.user = { uid: 1, gid: 2, additionalGids: [3], umask: 18 };
        spec.annotations = { "org.example.key": "value" };
        spec.linux.seccomp = {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["swapon"], action: "SCMP_ACT_ERRNO" }],
        };
        spec.linux.resources.memory = { limit: 100000000n };
        spec.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 438, uid: 0, gid: 0 }];
      });
      const config = path.join(bundle, "config.json");
      const text = readFileSync(config, "utf8");
      let ran = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const mutated = random(4) === 0 ? mutateText(text, random) : mutateValue(text, random);
        writeFileSync(config, mutated);
        const result = runtime.run(["run", "--bundle", bundle, runtime.id()], { timeoutMs: 10_000 });
        if (result.exitCode === 0) ran++;
        expectClean(runtime, result, mutated);
      }
      // Some are harmless, most are not: both sides were tried.
      expect(ran).toBeGreaterThan(0);
      expect(ran).toBeLessThan(ROUNDS);
    }));
}

const CONFIGS: Record<string, (config: string) => void> = {
  "is missing": (config) => rmSync(config),
  "is a FIFO": (config) => {
    rmSync(config);
    execFileSync("mkfifo", [config]);
  },
  "is a directory": (config) => {
    rmSync(config);
    mkdirSync(config);
  },
  "is a device that never ends": (config) => {
    rmSync(config);
    symlinkSync("/dev/zero", config);
  },
  "is a link to itself": (config) => {
    rmSync(config);
    symlinkSync("config.json", config);
  },
  "is a terminal": (config) => {
    rmSync(config);
    symlinkSync("/dev/tty", config);
  },
  "is empty": (config) => truncateSync(config, 0),
  "is a terabyte": (config) => truncateSync(config, 2 ** 40),
  "is nested a million deep": (config) => writeFileSync(config, "[".repeat(1_000_000)),
  "is a long list": (config) => writeFileSync(config, `{"ociVersion":"1.0.2","mounts":[${"{},".repeat(500_000)}{}]}`),
  "is not UTF-8": (config) => writeFileSync(config, Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])),
  "has a message for the terminal": (config) =>
    writeFileSync(config, '{"ociVersion":"1.0.2","root":{"path":"\\u001b[2J\\u009b31m\\nlevel=error forged"}}'),
};

for (const [name, change] of Object.entries(CONFIGS)) {
  it(`a bundle whose config.json ${name} is refused in time, in one line`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle();
      change(path.join(bundle, "config.json"));
      for (const command of ["create", "run"]) {
        const result = runtime.run([command, "--bundle", bundle, runtime.id()], { timeoutMs: 10_000 });
        expect(result.exitCode).not.toBe(0);
        expectClean(runtime, result, name);
      }
    }));
}

const ROOTS: Record<string, (rootfs: string) => void> = {
  "is missing": (rootfs) => rmSync(rootfs, { recursive: true }),
  "is a file": (rootfs) => {
    rmSync(rootfs, { recursive: true });
    writeFileSync(rootfs, "");
  },
  "is a FIFO": (rootfs) => {
    rmSync(rootfs, { recursive: true });
    execFileSync("mkfifo", [rootfs]);
  },
  "is a link to itself": (rootfs) => {
    rmSync(rootfs, { recursive: true });
    symlinkSync("rootfs", rootfs);
  },
  "is empty": (rootfs) => {
    rmSync(rootfs, { recursive: true });
    mkdirSync(rootfs);
  },
};

for (const [name, change] of Object.entries(ROOTS)) {
  it(`a bundle whose rootfs ${name} is refused in time, in one line`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle();
      change(path.join(bundle, "rootfs"));
      const result = runtime.run(["run", "--bundle", bundle, runtime.id()], { timeoutMs: 10_000 });
      expect(result.exitCode).not.toBe(0);
      expectClean(runtime, result, name);
    }));
}

const NAMESPACE_FILES: Record<string, (file: string) => void> = {
  "is missing": () => {},
  "is a FIFO": (file) => execFileSync("mkfifo", [file]),
  "is a regular file": (file) => writeFileSync(file, ""),
  "is a directory": (file) => mkdirSync(file),
  "is a link to itself": (file) => symlinkSync("file", file),
  "is a device": (file) => symlinkSync("/dev/zero", file),
  "is a namespace of another type": (file) => symlinkSync("/proc/self/ns/uts", file),
};

for (const [name, make] of Object.entries(NAMESPACE_FILES)) {
  it(`a namespace whose path ${name} is refused in time, in one line that names it`, () =>
    withRuntime((runtime) => {
      const file = path.join(runtime.directory, "file");
      make(file);
      const bundle = runtime.bundle((spec) => {
        spec.linux.namespaces = spec.linux.namespaces.map((entry) =>
          entry.type === "network" ? { type: "network", path: file } : entry,
        );
      });
      const result = runtime.run(["run", "--bundle", bundle, runtime.id()], { timeoutMs: 10_000 });
      expect(result.exitCode).not.toBe(0);
      expect(result.stderr).toContain("linux.namespaces");
      expectClean(runtime, result, name);
    }));
}

const SOURCES: Record<string, (file: string) => void> = {
  "a FIFO": (file) => execFileSync("mkfifo", [file]),
  "a device": (file) => execFileSync("mknod", [file, "c", "1", "5"]),
  "a link to a file": (file) => symlinkSync("/etc/hostname", file),
};

for (const [name, make] of Object.entries(SOURCES)) {
  it(`neighbour: the source of a bind mount may be ${name}, which is bound and not opened`, () =>
    withRuntime((runtime) => {
      const file = path.join(runtime.directory, "file");
      make(file);
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["test", "-e", "/target"];
        spec.mounts.push({ destination: "/target", type: "bind", source: file, options: ["bind"] });
      });
      expect(runtime.run(["run", "--bundle", bundle, runtime.id()], { timeoutMs: 10_000 })).toMatchObject({
        exitCode: 0,
        stderr: "",
      });
    }));
}

it("a bundle that is gone, no directory, or named with control characters is refused in one line", () =>
  withRuntime((runtime) => {
    writeFileSync(path.join(runtime.directory, "file"), "");
    for (const bundle of ["nowhere", "file", "a\nb\u001b[2J", "x".repeat(5000)]) {
      const result = runtime.run(["run", "--bundle", path.join(runtime.directory, bundle), runtime.id()]);
      expect(result.exitCode).not.toBe(0);
      expectClean(runtime, result, bundle);
    }
  }));

for (const id of ["..", ".", "", "../../etc", "a/b", "a b", "a\nb", "\u001b[2J", "é", "a".repeat(5000)]) {
  it(`container id ${JSON.stringify(id.slice(0, 20))} is refused before anything happens`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle();
      for (const args of [["run", "--bundle", bundle], ["state"], ["kill"], ["delete", "--force"], ["exec"]]) {
        const result = runtime.run([...args, "--", id, ...(args[0] === "exec" ? ["true"] : [])]);
        expect([args, result.exitCode === 0]).toEqual([args, false]);
        expectClean(runtime, result, id);
      }
    }));
}

it("neighbour: a bundle whose config.json and rootfs are links to true ones runs", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["echo", "runs"];
    });
    const real = makeRootfs(path.join(runtime.directory, "real"));
    rmSync(path.join(bundle, "rootfs"), { recursive: true });
    symlinkSync(real, path.join(bundle, "rootfs"));
    const config = path.join(bundle, "config.json");
    const text = readFileSync(config, "utf8");
    writeFileSync(path.join(runtime.directory, "other.json"), specToJson(JSON.parse(text)));
    rmSync(config);
    symlinkSync(path.join(runtime.directory, "other.json"), config);
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("runs\n");
  }));
