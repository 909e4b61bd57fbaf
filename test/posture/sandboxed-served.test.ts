/** Files that a gofer serves to a sandbox, and the life of that process. */
import { expect } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";
import { makeRootfs } from "../helpers/bundle.ts";
import { programName, viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { killAfter, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";
import { getXattr, setXattr } from "../helpers/xattr.ts";

const it = requires("root", "busybox", "cloche");

const AUTO = { env: { CLOCHE_ISOLATION: "sandboxed" } };
const SERVED = { env: { CLOCHE_ISOLATION: "sandboxed", CLOCHE_FILE_ACCESS: "served" } };

/** Pid of the gofer that a container's record names. */
function goferOf(runtime: Runtime, id: string): number {
  const { gofer } = JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8"));
  return gofer.pid;
}

/** Whether a process is there, and not only as a zombie that nobody waits for. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** A container whose program runs, called `name`. */
async function sleeper(
  runtime: Runtime,
  change: (spec: BundleSpec) => void = () => {},
  name = "sleep",
): Promise<string> {
  const id = runtime.create((spec) => {
    spec.process.args = ["sleep", "60"];
    change(spec);
  }, SERVED);
  runtime.ok(["start", id]);
  await waitFor("the program runs", () => programName(runtime.state(id).pid) === name);
  return id;
}

it("served: a root file system on an overlay, whose ids the kernel cannot shift", () =>
  withRuntime((runtime) => {
    const at = (name: string) => path.join(runtime.directory, name);
    for (const name of ["upper", "work", "merged"]) mkdirSync(at(name));
    makeRootfs(at("lower"));
    const layers = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")}`;
    expect(spawnSync("mount", ["-t", "overlay", "overlay", "-o", layers, at("merged")]).status).toBe(0);
    try {
      const bundle = runtime.bundle((spec) => {
        spec.root.path = at("merged");
        spec.process.args = [
          "sh",
          "-c",
          "id -u; stat -c %u:%g /bin /etc/passwd; echo new > /new; rm /bin/zcat; head -n1 /proc/mounts",
        ];
      });
      const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], AUTO);
      expect(stderr).toBe("");
      expect(stdout).toMatch(/^0\n0:0\n0:0\ncloche \/ fuse rw,nosuid,nodev,/);
      expect(readdirSync(at("upper")).toSorted()).toEqual(["bin", "new"]);
      expect(statSync(path.join(at("upper"), "new"))).toMatchObject({ uid: 0, gid: 0 });
      const donated = runtime.run(["--file-access", "donated", "run", "--bundle", bundle, runtime.id()], AUTO);
      expect(donated.stderr).toContain("cannot be shifted on its file system (overlay is one of them)");
    } finally {
      spawnSync("umount", ["-l", at("merged")]);
    }
  }));

it("served: names of one file in a lower layer of an overlay are files apart as soon as one is changed", () =>
  withRuntime((runtime) => {
    const script = `cd /data; cat a > before; echo new > b; chmod 600 c; sleep 1; cat before a b c d; stat -c "%n %a %h" a b c d
      mv d e; echo more >> e; ln b f; echo both >> f; chmod 640 b; cat b; stat -c "%n %a %h" b f; rm a; mv c a; cat a e; ls; sleep 1; cat *`;
    const outcomes = ["native", "served"].map((name) => {
      const at = (part: string) => path.join(runtime.directory, `${name}-${part}`);
      makeRootfs(at("lower"));
      const data = path.join(at("lower"), "data");
      mkdirSync(data);
      for (const part of ["upper", "work", "merged"]) mkdirSync(at(part));
      writeFileSync(path.join(data, "a"), "old\n");
      for (const link of ["b", "c", "d"]) linkSync(path.join(data, "a"), path.join(data, link));
      const layers = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")},index=off`;
      expect(spawnSync("mount", ["-t", "overlay", "overlay", "-o", layers, at("merged")]).status).toBe(0);
      try {
        if (name === "native") return spawnSync("chroot", [at("merged"), "sh", "-c", script], { encoding: "utf8" });
        const bundle = runtime.bundle((spec) => {
          spec.root = { path: at("merged"), readonly: false };
          spec.process.args = ["sh", "-c", script];
        });
        return runtime.run(["run", "--bundle", bundle, runtime.id()], AUTO);
      } finally {
        spawnSync("umount", ["-l", at("merged")]);
      }
    });
    const [native, served] = outcomes.map(({ stdout, stderr }) => ({ stdout, stderr }));
    expect(native?.stdout).toContain("old\nold\nnew\nold\nold\n");
    expect(served).toEqual(native);
  }));

it("served: root and bind mounts, with the rights that config.json gives them", () =>
  withRuntime((runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(path.join(data, "file"), "of root", { mode: 0o600 });
    const bundle = runtime.bundle((spec) => {
      spec.process.args = [
        "sh",
        "-c",
        "cat /data/file; touch /data/x || echo; touch /rw/x /x && grep -c fuse /proc/mounts",
      ];
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["bind", "ro"] });
      spec.mounts.push({ destination: "/rw", type: "bind", source: data, options: ["rbind"] });
    });
    const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], SERVED);
    expect(stdout).toBe("of root\n3\n");
    expect(stderr).toBe("touch: /data/x: Read-only file system\n");
    for (const file of [path.join(data, "x"), path.join(bundle, "rootfs/x")]) {
      expect(statSync(file)).toMatchObject({ uid: 0, gid: 0 });
    }
  }));

it("served: what root of the host makes in a running container is root's inside, and given to whom it says", () =>
  withRuntime(async (runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data);
    const id = await sleeper(runtime, (spec) => {
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["rbind"] });
    });
    const inside = `/proc/${runtime.state(id).pid}/root/data`;
    mkdirSync(`${inside}/directory`);
    writeFileSync(`${inside}/directory/file`, "of the host");
    symlinkSync("file", `${inside}/directory/link`);
    writeFileSync(`${inside}/given`, "");
    chownSync(`${inside}/given`, 1000, 100);
    // ACL_USER of id 1000 may read.
    const acl = Buffer.from(
      "0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff",
      "hex",
    );
    expect(setXattr(`${inside}/given`, "system.posix_acl_access", acl)).toBe(0);
    // cap_net_raw+ep (capabilities(7), VFS_CAP_REVISION_2)
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    expect(setXattr(`${inside}/directory/file`, "security.capability", capability)).toBe(0);
    const owners = runtime.ok(["exec", id, "sh", "-c", "cd /data; stat -c %u:%g . directory directory/* given"]);
    expect(owners).toBe("0:0\n0:0\n0:0\n0:0\n1000:100\n");
    for (const file of ["directory", "directory/file"]) {
      expect(statSync(path.join(data, file))).toMatchObject({ uid: 0, gid: 0 });
    }
    expect(statSync(path.join(data, "given"))).toMatchObject({ uid: 1000, gid: 100 });
    expect(getXattr(path.join(data, "given"), "system.posix_acl_access")).toEqual(acl);
    expect(getXattr(path.join(data, "directory/file"), "security.capability")).toEqual(capability);
    expect(() => chownSync(`${inside}/given`, 70_000, 0)).toThrow("EOVERFLOW");
    runtime.ok(["exec", "--user", "1000:100", id, "sh", "-c", "echo mine > /data/given; cat /data/directory/file"]);
  }));

it("served: more mounts than a gofer takes are refused with the remedy, and nothing is left", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      for (let index = 0; index < 60; index++) {
        const source = path.join(runtime.directory, `source${index}`);
        mkdirSync(source);
        spec.mounts.push({ destination: `/data${index}`, type: "bind", source, options: ["bind"] });
      }
    });
    const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()], SERVED);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^.*mounts\[\d+\]: more than 40 mounts of the container would have to be served .*: use fewer, .*\n$/,
    );
    expect(runtime.run(["run", "--bundle", bundle, runtime.id()], AUTO).stderr).toBe("");
  }));

it("served: the gofer has the container's oom_score_adj, none of its cgroups, and nothing of ours open", () =>
  withRuntime(async (runtime) => {
    const id = await sleeper(runtime, (spec) => {
      spec.process.oomScoreAdj = 432;
    });
    const gofer = goferOf(runtime, id);
    const view = viewProcess(gofer);
    expect(view.oomScoreAdj).toBe(432);
    expect(view.cgroups).toEqual(readFileSync("/proc/self/cgroup", "utf8").trim().split("\n"));
    expect(view).toMatchObject({ noNewPrivs: true, root: "/", name: "cloche" });
    // The connection, and files of the tree: no socket, pipe or file of the caller's.
    expect(Object.values(view.fds).filter((link) => !link.startsWith("/"))).toEqual([]);
    expect(view.environment).toEqual([]);
  }));

it("served: the gofer goes with the container: on its end, on delete, and when its making fails", () =>
  withRuntime(async (runtime) => {
    const id = await sleeper(runtime);
    const gofer = goferOf(runtime, id);
    expect(isRunning(gofer)).toBe(true);
    runtime.ok(["kill", id, "KILL"]);
    await waitFor("the gofer ends with the container's mounts", () => !isRunning(gofer));
    const created = runtime.create(undefined, SERVED);
    const second = goferOf(runtime, created);
    expect(isRunning(second)).toBe(true);
    runtime.ok(["delete", "--force", created]);
    expect(isRunning(second)).toBe(false);
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["/nope"];
    });
    const failed = runtime.id();
    expect(runtime.run(["create", "--bundle", bundle, failed], SERVED).exitCode).toBe(1);
    await waitFor("no gofer is left", () => ownGofers(runtime).length === 0);
  }));

it("served: a create that is killed at any moment leaves no gofer", () =>
  withRuntime(async (runtime) => {
    const bundle = runtime.bundle();
    for (let attempt = 0; attempt < 8; attempt++) {
      const id = runtime.id();
      await killAfter(runtime.spawn(["create", "--bundle", bundle, id], SERVED), 10 + attempt * 8);
      runtime.run(["delete", "--force", id], SERVED);
    }
    await waitFor("no gofer is left", () => ownGofers(runtime).length === 0);
  }));

it("served: a gofer that is killed ends the container, which says so, with no hanging process", () =>
  withRuntime(async (runtime) => {
    const data = path.join(runtime.directory, "data");
    mkdirSync(data);
    const id = await sleeper(runtime, (spec) => {
      spec.process.args = [
        "sh",
        "-c",
        "for i in 1 2 3 4; do (while :; do echo x > /data/$i; done) 2>/dev/null & done; exec sleep 60",
      ];
      spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["bind"] });
    });
    await waitFor("files are written", () => existsSync(path.join(data, "4")));
    // One serves the root and the bind mounts, so that the end of what serves any file is the container's.
    expect(ownGofers(runtime).length).toBe(1);
    process.kill(goferOf(runtime, id), "SIGKILL");
    await runtime.reaches(id, "stopped");
    const { exit } = JSON.parse(runtime.ok(["state", id]));
    expect(exit).toMatchObject({ signal: 9, reason: "gofer-ended" });
    expect(ownGofers(runtime)).toEqual([]);
    runtime.ok(["delete", id], { timeoutMs: 10_000 });
  }));

it("served: delete --force ends the gofer of a container whose record cannot be read, and no other process", () =>
  withRuntime(async (runtime) => {
    const id = await sleeper(runtime);
    const other = await sleeper(runtime);
    const [gofer, others] = [goferOf(runtime, id), goferOf(runtime, other)];
    const stateFile = path.join(runtime.root, `${id}_${id}.state`);
    const options = JSON.stringify({ stateFile });
    // Called the same and in the record, but another program.
    const script = `exec -a cloche-gofer bash -c 'read -r line' gofer --options "$0"`;
    const imitation = spawn("bash", ["-c", script, options], { stdio: ["pipe", "ignore", "ignore"] });
    const { pid = 0 } = imitation;
    try {
      await waitFor("it has its name", () => readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("cloche-gofer"));
      const ref = JSON.stringify({ pid, startTime: readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[21] });
      const text = readFileSync(stateFile, "utf8").replace(/"gofer":\s*\{[^}]*\}/, `"gofer":${ref}`);
      expect(text).toContain(ref);
      writeFileSync(stateFile, text.trimEnd().slice(0, -1));
      // Stopped, it does not end with its mounts.
      process.kill(gofer, "SIGSTOP");
      runtime.ok(["delete", "--force", id]);
      expect([gofer, others, pid].map(isRunning)).toEqual([false, true, true]);
      expect(runtime.state(other).status).toBe("running");
    } finally {
      imitation.kill("SIGKILL");
    }
  }));

it("served: a gofer that does not answer keeps no container from being deleted", () =>
  withRuntime(async (runtime) => {
    const id = await sleeper(
      runtime,
      (spec) => {
        spec.process.args = ["sh", "-c", "while :; do echo x > /f; done"];
      },
      "sh",
    );
    const gofer = goferOf(runtime, id);
    const { pid } = runtime.state(id);
    process.kill(gofer, "SIGSTOP");
    await waitFor("the program waits for it", () =>
      /fuse|wait_answer/.test(readFileSync(`/proc/${pid}/wchan`, "latin1")),
    );
    runtime.ok(["delete", "--force", id], { timeoutMs: 8_000 });
    expect([gofer, pid].map(isRunning)).toEqual([false, false]);
  }));

it("served: what the kernel is asked to forget when nothing happens is nothing that is in use", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      // Mount points, a working directory and an open file among a thousand others.
      const script =
        "exec 3</many/d/5; cd /many/d; find / -xdev | wc -l; sleep 4; pwd; cat <&3; ls | wc -l; wc -l </proc/mounts";
      spec.process.args = ["sh", "-c", `wc -l </proc/mounts; ${script}`];
    });
    const many = path.join(bundle, "rootfs/many/d");
    mkdirSync(many, { recursive: true });
    for (let index = 0; index < 1_000; index++) writeFileSync(path.join(many, String(index)), `${index}\n`);
    const lines = runtime.ok(["run", "--bundle", bundle, runtime.id()], SERVED).trim().split("\n");
    const [mounts = "", , ...rest] = lines;
    expect(rest).toEqual(["/many/d", "5", "1000", mounts]);
  }));

/** Gofers of containers of this test: they are told the state file. */
function ownGofers(runtime: Runtime): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      return (
        /^\d+$/.test(name) &&
        readFileSync(`/proc/${name}/cmdline`, "latin1").startsWith("cloche-gofer\0gofer") &&
        readFileSync(`/proc/${name}/cmdline`, "latin1").includes(`"stateFile":"${runtime.root}/`) &&
        isRunning(Number(name))
      );
    } catch {
      return false;
    }
  });
}

it("--rootfs-overlay: what is written to the root goes to memory, or to a directory, and not to the image", () =>
  withRuntime((runtime) => {
    const directory = path.join(runtime.directory, "layers");
    const bundle = runtime.bundle((spec) => {
      const script =
        "id -u; touch /new; rm -r /var; mkdir /var; rm /bin/zcat; stat -c %u:%g /bin /new; grep ' / ' /proc/mounts";
      spec.process.args = ["sh", "-c", script];
    });
    const run = (overlay: string, id: string) =>
      runtime.ok(["--rootfs-overlay", overlay, "run", "--bundle", bundle, id], AUTO);
    const before = readdirSync(path.join(bundle, "rootfs/bin")).length;
    for (const overlay of ["memory", directory]) {
      const id = runtime.id();
      expect(run(overlay, id)).toMatch(/^0\n0:0\n0:0\noverlay \/ overlay rw,nosuid,nodev,/);
      expect(readdirSync(path.join(bundle, "rootfs"))).not.toContain("new");
      expect(readdirSync(path.join(bundle, "rootfs/bin")).length).toBe(before);
      if (overlay === directory)
        expect(readdirSync(path.join(directory, id, "upper")).toSorted()).toEqual(["bin", "new", "var"]);
    }
    const served = runtime.run(["--rootfs-overlay", "memory", "run", "--bundle", bundle, runtime.id()], SERVED);
    expect(served.stderr).toContain("no layer can be laid over");
  }));
