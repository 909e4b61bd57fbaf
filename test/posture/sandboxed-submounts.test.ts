/** What lies below a bound directory or the root, as mounts of the host: a sandbox sees of it what runc shows, with its own ids. */
import { expect } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { statePath } from "../../statefile/names.ts";
import { type BundleSpec, makeRootfs } from "../helpers/bundle.ts";
import { requires } from "../helpers/requires.ts";
import { killChild, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche", "fuse", "runc");

const sandboxed = (access: string) => ({ env: { CLOCHE_ISOLATION: "sandboxed", CLOCHE_FILE_ACCESS: access } });

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync("mount", args, { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
}

/**
 * A directory `host` with a file beside and below of each of its mounts: an overlay, in that a tmpfs, a tmpfs that is read-only and
 * noexec, a tmpfs that another one covers, and a file over a file.
 */
function withMounts(runtime: Runtime, body: (directory: string) => void): void {
  const at = (...names: string[]) => path.join(runtime.directory, "host", ...names);
  const file = (name: string, text: string, mode = 0o644) => writeFileSync(at(name), text, { mode });
  const mounted: string[] = [];
  const put = (name: string, ...args: string[]) => {
    mount(...args, at(name));
    mounted.push(at(name));
  };
  const layer = (name: string) => path.join(runtime.directory, name);
  try {
    for (const name of ["overlay", "sealed", "covered/deep"]) mkdirSync(at(name), { recursive: true });
    for (const name of ["lower/deep", "upper", "work"]) mkdirSync(layer(name), { recursive: true });
    for (const name of ["top", "overlay/under", "sealed/under", "covered/under", "over-file"]) {
      file(name, "hidden on the host");
    }
    const layers = `lowerdir=${layer("lower")},upperdir=${layer("upper")},workdir=${layer("work")}`;
    put("overlay", "-t", "overlay", "overlay", "-o", layers);
    file("overlay/of-overlay", "o", 0o600);
    file("overlay/deep/under", "hidden on the host");
    put("overlay/deep", "-t", "tmpfs", "tmpfs");
    file("overlay/deep/of-deep", "d", 0o600);
    put("sealed", "-t", "tmpfs", "tmpfs");
    file("sealed/program", "#!/bin/sh\necho ran\n", 0o755);
    mount("-o", "remount,bind,ro,noexec", at("sealed"));
    put("covered/deep", "-t", "tmpfs", "tmpfs");
    put("covered", "-t", "tmpfs", "tmpfs");
    file("covered/of-cover", "c");
    put("over-file", "--bind", at("top"));
    body(at());
  } finally {
    for (const each of mounted.reverse()) spawnSync("umount", ["-l", each]);
  }
}

const LOOK = `rm -f /recursive/overlay/deep/new /plain/overlay/new
  for d in /recursive /plain; do find $d | sort; done
  cat /recursive/overlay/of-overlay /recursive/overlay/deep/of-deep; echo
  (echo x > /recursive/sealed/new) 2>&1; /recursive/sealed/program 2>&1; echo x > /recursive/overlay/deep/new; echo x > /plain/overlay/new
  ls /recursive/overlay/deep /plain/overlay
  stat -c %u:%a:%n /recursive/overlay /recursive/overlay/of-overlay /recursive/overlay/deep /recursive/sealed/program /plain/overlay`;

function binds(directory: string, script: string, more: string[] = []): (spec: BundleSpec) => void {
  return (spec) => {
    spec.process.args = ["sh", "-c", script];
    spec.mounts.push({ destination: "/recursive", type: "bind", source: directory, options: ["rbind", ...more] });
    spec.mounts.push({ destination: "/plain", type: "bind", source: directory, options: ["bind"] });
  };
}

/** What a program prints under runc. */
function underRunc(runtime: Runtime, bundle: string): string {
  const args = ["--root", path.join(runtime.directory, "runc"), "run", "--bundle", bundle, runtime.id()];
  const { status, stdout, stderr } = spawnSync("runc", args, { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

it("mounts below a bind mount: rbind shows them, bind what is below them, as runc does", () =>
  withRuntime((runtime) =>
    withMounts(runtime, (directory) => {
      const bundle = runtime.bundle(binds(directory, LOOK));
      const expected = underRunc(runtime, bundle);
      expect(expected).toContain("/recursive/overlay/of-overlay\n");
      expect(expected).toContain("/plain/overlay/under\n");
      expect(expected).not.toContain("/recursive/overlay/under\n");
      for (const access of ["auto", "served"]) {
        const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], sandboxed(access));
        expect([access, stdout]).toEqual([access, expected]);
        expect(stderr).toBe("");
      }
      expect(statSync(path.join(directory, "overlay/deep/new"))).toMatchObject({ uid: 0, gid: 0 });
    }),
  ));

it("mounts below a bind mount: served where they must be, mapped where they can be", () =>
  withRuntime((runtime) =>
    withMounts(runtime, (directory) => {
      const types = `awk '$2 ~ "^/recursive" { print $2, $3 }' /proc/mounts`;
      const bundle = runtime.bundle(binds(directory, types));
      const look = (access: string) =>
        runtime.ok(["run", "--bundle", bundle, runtime.id()], sandboxed(access)).split("\n").toSorted().slice(1);
      const points = ["", "/covered", "/over-file", "/overlay", "/overlay/deep", "/sealed"];
      const own = look("auto").map((line) => line.split(" "));
      expect(own.map(([point]) => point)).toEqual(points.map((each) => `/recursive${each}`));
      expect(own.filter(([, type]) => type === "fuse").map(([point]) => point)).toEqual(["/recursive/overlay"]);
      const served = look("served").filter((line) => line.endsWith(" fuse"));
      expect(served).toEqual(points.filter((each) => each !== "/over-file").map((each) => `/recursive${each} fuse`));
    }),
  ));

it("mounts below a bind mount: options for the whole tree hold in them, others do not", () =>
  withRuntime((runtime) =>
    withMounts(runtime, (directory) => {
      const script =
        "for f in /recursive/a /recursive/overlay/a /recursive/overlay/deep/a; do echo > $f; done 2>&1; exit 0";
      for (const option of ["ro", "rro"]) {
        const bundle = runtime.bundle(binds(directory, script, [option]));
        const expected = underRunc(runtime, bundle);
        expect(expected.trim().split("\n").length).toBe(option === "ro" ? 1 : 3);
        for (const access of ["auto", "served"]) {
          expect(runtime.ok(["run", "--bundle", bundle, runtime.id()], sandboxed(access))).toBe(expected);
        }
      }
    }),
  ));

it("mounts below a bind mount: what is unbindable is left out, as mount(8) leaves it out", () =>
  withRuntime((runtime) =>
    withMounts(runtime, (directory) => {
      mount("--make-unbindable", path.join(directory, "overlay"));
      const copy = path.join(runtime.directory, "copy");
      mkdirSync(copy);
      mount("--rbind", directory, copy);
      const expected = readdirSync(path.join(copy, "overlay"));
      spawnSync("umount", ["-l", copy]);
      expect(expected).toEqual(["under"]);
      const bundle = runtime.bundle(binds(directory, "ls /recursive/overlay"));
      for (const access of ["auto", "served"]) {
        expect(runtime.ok(["run", "--bundle", bundle, runtime.id()], sandboxed(access))).toBe("under\n");
      }
    }),
  ));

/** Mounts that come and go below a directory, as those of an engine do; the directory is `$1`. */
const COME_AND_GO = `cd "$1" && mkdir lower upper work lower/deep; n=0; while :; do n=$((n + 1))
    mkdir $n; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work $n
    mount -t tmpfs tmpfs $n/deep; sleep 0.1; umount $n/deep; umount $n; rmdir $n; sleep 0.1; done`;

function unmountBelow(directory: string): void {
  spawnSync("sh", ["-c", `grep -o " ${directory}[^ ]*" /proc/mounts | sort -r | xargs -r umount`]);
}

it("mounts below a bind mount: one that goes while the container is made is left out, the others are there", () =>
  withRuntime(async (runtime) => {
    const directory = path.join(runtime.directory, "host");
    const names = ["a", "b"].map((name) => path.join(directory, name));
    for (const each of [...names, path.join(directory, "kept")]) mkdirSync(each, { recursive: true });
    mount("-t", "tmpfs", "tmpfs", path.join(directory, "kept"));
    writeFileSync(path.join(directory, "kept/file"), "k");
    const others = names.map((each) => spawn("sh", ["-c", COME_AND_GO, "sh", each], { stdio: "ignore" }));
    try {
      const bundle = runtime.bundle(binds(directory, "cat /recursive/kept/file"));
      for (const access of Array(15).fill(["auto", "served"]).flat()) {
        const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], sandboxed(access));
        expect([stdout, stderr]).toEqual(["k", ""]);
      }
    } finally {
      for (const other of others) await killChild(other);
      unmountBelow(directory);
    }
  }));

it("mounts below a bind mount: a create that was deleted is not made once more, whatever comes and goes", () =>
  withRuntime(async (runtime) => {
    const directory = path.join(runtime.directory, "host");
    mkdirSync(directory);
    const log = path.join(runtime.directory, "log");
    const other = spawn("sh", ["-c", COME_AND_GO, "sh", directory], { stdio: "ignore" });
    try {
      const bundle = runtime.bundle(binds(directory, "sleep 60"));
      let failed = 0;
      for (let round = 0; round < 40; round++) {
        const id = runtime.id();
        const options = ["--debug", "--log", log, "create", "--bundle", bundle, id];
        const child = runtime.spawn(options, sandboxed("served"));
        child.stdout?.destroy();
        child.stderr?.destroy();
        const ended = new Promise((resolve) => child.once("exit", resolve));
        const file = statePath(runtime.root, id, id);
        await waitFor("it is on its way", () => existsSync(file) || child.exitCode !== null);
        runtime.ok(["delete", "--force", id]);
        failed += (await ended) === 0 ? 0 : 1;
        runtime.ok(["delete", "--force", id]);
      }
      const again = readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => line.includes("once more"));
      expect(failed).toBeGreaterThan(0);
      expect(again.filter((line) => line.includes("does not exist"))).toEqual([]);
    } finally {
      await killChild(other);
      unmountBelow(directory);
    }
  }));

it("mounts below the root: they are shown, and not what they hide", () =>
  withRuntime((runtime) => {
    const rootfs = path.join(runtime.directory, "image");
    makeRootfs(rootfs);
    mkdirSync(path.join(rootfs, "srv/deep"), { recursive: true });
    writeFileSync(path.join(rootfs, "srv/under"), "hidden on the host");
    mount("-t", "tmpfs", "tmpfs", path.join(rootfs, "srv"));
    try {
      writeFileSync(path.join(rootfs, "srv/over"), "shown");
      const bundle = runtime.bundle((spec) => {
        spec.root.path = rootfs;
        spec.process.args = ["sh", "-c", "ls -lA /srv | awk '{ print $3, $9 }'; cat /srv/over; echo x > /srv/new"];
      });
      const expected = underRunc(runtime, bundle);
      expect(expected).toContain("shown");
      for (const access of ["auto", "served"]) {
        spawnSync("rm", [path.join(rootfs, "srv/new")]);
        expect(runtime.ok(["run", "--bundle", bundle, runtime.id()], sandboxed(access))).toBe(expected);
        expect(readFileSync(path.join(rootfs, "srv/new"), "utf8")).toBe("x\n");
      }
    } finally {
      spawnSync("umount", ["-l", path.join(rootfs, "srv")]);
    }
    expect(existsSync(path.join(rootfs, "srv/new"))).toBe(false);
  }));

it("mounts below a bind mount: its policy holds in them, with paths and limits of the whole", () =>
  withRuntime((runtime) =>
    withMounts(runtime, (directory) => {
      const policy = path.join(runtime.directory, "policy.toml");
      const audit = path.join(runtime.directory, "audit");
      const rules = [
        'hidden = ["overlay/secret", "sealed"]',
        'read-only = ["overlay/deep"]',
        "max-files = 2",
        'logged = ["overlay/**"]',
      ];
      writeFileSync(policy, `audit = "${audit}"\n[mounts."/recursive"]\n${rules.join("\n")}\n`);
      writeFileSync(path.join(directory, "overlay/secret"), "s");
      const script = `cd /recursive; ls overlay; ls sealed 2>&1; (echo > overlay/deep/new) 2>&1; cat overlay/deep/of-deep; echo
        touch one overlay/two; touch three; touch overlay/four; exit 0`;
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", `{ ${script}; } 2>&1`];
        // A file over a file cannot have a policy.
        spec.mounts.push({ destination: "/recursive", type: "bind", source: directory, options: ["rbind"] });
      });
      const run = () =>
        runtime.run(["--gofer-policy", policy, "run", "--bundle", bundle, runtime.id()], sandboxed("auto"));
      expect(run().stderr).toContain("there is a gofer policy for it");
      spawnSync("umount", ["-l", path.join(directory, "over-file")]);
      expect(run().stdout.split("\n")).toEqual([
        ...["deep", "of-overlay", "ls: sealed: No such file or directory"],
        ...["sh: can't create overlay/deep/new: Read-only file system", "d"],
        ...["touch: three: Disk quota exceeded", "touch: overlay/four: Disk quota exceeded", ""],
      ]);
      const lines = readFileSync(audit, "utf8").trim().split("\n");
      const told = lines
        .map((line) => JSON.parse(line))
        .map(({ mount: name, event, path: file }) => [name, event, file]);
      expect(told).toContainEqual(["/recursive", "denied", "overlay/deep/new"]);
      expect(told).toContainEqual(["/recursive", "open", "overlay/deep/of-deep"]);
      expect(told).toContainEqual(["/recursive", "create", "overlay/two"]);
    }),
  ));
