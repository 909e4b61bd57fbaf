/** A gofer policy as a container sees it: hidden and read-only paths, quotas, the audit stream, and who may set it. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import type { BundleSpec } from "../helpers/bundle.ts";
import { programName, viewProcess } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox", "cloche", "fuse");

const env = { CLOCHE_ISOLATION: "sandboxed" };

interface Case {
  policy?: string;
  script?: string;
  flags?: string[];
  change?: (spec: BundleSpec) => void;
}

/** A bundle with `data` of the test's directory bound to /data, and a policy. */
function prepare(runtime: Runtime, { policy, script = "true", flags = [], change }: Case) {
  const data = path.join(runtime.directory, "data");
  mkdirSync(data, { recursive: true });
  const file = path.join(runtime.directory, "policy.toml");
  if (policy !== undefined) writeFileSync(file, policy);
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sh", "-c", script];
    spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["bind"] });
    change?.(spec);
  });
  const id = runtime.id();
  const given = policy === undefined ? flags : ["--gofer-policy", file, ...flags];
  return { data, bundle, id, args: [...given, "run", "--bundle", bundle, id] };
}

function run(runtime: Runtime, wanted: Case) {
  return runtime.run(prepare(runtime, wanted).args, { env });
}

/** Reads an audit stream. */
function linesOf(file: string): Record<string, unknown>[] {
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

it("hidden paths do not exist inside, whichever way they are looked for, and cannot be made", () =>
  withRuntime((runtime) => {
    const policy = '[mounts."/data"]\nhidden = ["private", "**/*.key"]\n[mounts."/"]\nhidden = ["root/token"]\n';
    const script = `cd /data
      ls -a; ls sub; find / -xdev -name token; find . -name '*.key'; cat private/file; cat sub/a.key; cat link; stat private
      echo > private; mkdir private; ln -s x private; mkfifo new.key; ln open open.key; mv open private; mv open sub/b.key
      rm private; rmdir private; mv private public; mv sub/a.key here; cp -r sub copy; ls copy
      mv sub moved && ls moved; rmdir moved; cat /root/token; ls /root; exit 0`;
    const { data, bundle, args } = prepare(runtime, { policy, script });
    mkdirSync(path.join(data, "private"));
    mkdirSync(path.join(data, "sub"));
    for (const name of ["private/file", "sub/a.key", "sub/other", "open"]) writeFileSync(path.join(data, name), name);
    symlinkSync("private/file", path.join(data, "link"));
    writeFileSync(path.join(bundle, "rootfs/root/token"), "secret");
    const { stdout, stderr } = runtime.run(args, { env });
    expect(stdout.split("\n")).toEqual([".", "..", "link", "open", "sub", "other", "other", "other", ""]);
    const [missing, denied] = ["No such file or directory", "Permission denied"];
    expect(stderr.split("\n").map((line) => line.replace(/^.*: /, ""))).toEqual([
      ...[missing, missing, missing, missing],
      ...[denied, denied, denied, denied, denied, denied, denied],
      ...[missing, missing, missing, missing],
      ...["Directory not empty", missing, ""],
    ]);
    expect(readdirSync(data).toSorted()).toEqual(["copy", "link", "moved", "open", "private"]);
    expect(readFileSync(path.join(data, "moved/a.key"), "utf8")).toBe("sub/a.key");
  }));

it("read-only globs fail with EROFS whatever is tried, also for root with all capabilities; their neighbours do not", () =>
  withRuntime((runtime) => {
    const policy = '[mounts."/data"]\nread-only = ["etc", "**/*.lock"]\n';
    const tries = ["echo x > etc/conf", "echo x >> a.lock", "truncate -s 0 a.lock", "chmod 600 etc/conf"];
    tries.push("chown 1 a.lock", "touch a.lock", "rm etc/conf", "mv a.lock b", "mv other etc/conf", "mv etc etc2");
    tries.push("ln a.lock b", "mkdir etc/d", "touch etc/new", "mkfifo new.lock", "ln -s x etc/l", "rmdir etc");
    const script = `cd /data; ${tries.map((each) => `(${each})`).join("; ")}; cat etc/conf a.lock; echo y > other; rm gone; mkdir d`;
    const change = ({ process }: BundleSpec) => {
      const all = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_SETUID"];
      process.capabilities = { bounding: all, effective: all, permitted: all };
    };
    const { data, args } = prepare(runtime, { policy, script, change });
    mkdirSync(path.join(data, "etc"));
    for (const name of ["etc/conf", "a.lock", "other", "gone"]) writeFileSync(path.join(data, name), `${name}\n`);
    const { stdout, stderr } = runtime.run(args, { env });
    expect(stdout).toBe("etc/conf\na.lock\n");
    const failures = stderr.trim().split("\n");
    expect(failures.filter((line) => !line.endsWith("Read-only file system"))).toEqual([]);
    expect(failures.length).toBe(tries.length);
    expect(readdirSync(data).toSorted()).toEqual(["a.lock", "d", "etc", "other"]);
    expect(readFileSync(path.join(data, "other"), "utf8")).toBe("y\n");
  }));

it("max-bytes and max-files end with EDQUOT, for one mount; what is removed can be used again", () =>
  withRuntime((runtime) => {
    const policy = '[mounts."/data"]\nmax-bytes = 1_000_000\nmax-files = 3\n';
    const script = `cd /data; write() { dd if=/dev/zero of=$1 bs=1000 count=$2 2>&1 | grep -o 'quota exceeded'; }
      write a 900; write b 200; rm a b; sleep 0.1; write c 900; mkdir d; touch e; touch f; ls
      dd if=/dev/zero of=/elsewhere bs=100000 count=20 2>/dev/null && touch /1 /2 /3 /4 && echo elsewhere`;
    const { data, args } = prepare(runtime, { policy, script });
    writeFileSync(path.join(data, "before"), Buffer.alloc(2_000_000));
    const { stdout, stderr } = runtime.run(args, { env });
    expect(stdout).toBe("quota exceeded\nbefore\nc\nd\ne\nelsewhere\n");
    expect(stderr).toBe("touch: f: Disk quota exceeded\n");
  }));

it("the audit stream has a line for each opening, creation, removal, renaming and denial, with mount, path, pid and bytes", () =>
  withRuntime((runtime) => {
    const audit = path.join(runtime.directory, "audit.jsonl");
    const policy = `audit = "${audit}"\n[mounts."/data"]\nlogged = ["**"]\nhidden = ["hidden"]\nread-only = ["fixed"]\n`;
    const script = `cd /data; echo hello > a; cat a; ln a b; mv a c; rm b; mkdir d; rmdir d; cat hidden; echo > fixed; touch /root/x
      ls /proc/self/fd -l | grep -c audit; exit 0`;
    const { data, id, args } = prepare(runtime, { policy, script });
    writeFileSync(path.join(data, "hidden"), "");
    writeFileSync(path.join(data, "fixed"), "");
    expect(runtime.run(args, { env }).stdout).toBe("hello\n0\n");
    expect(statSync(audit)).toMatchObject({ mode: 0o100600, uid: 0, gid: 0 });
    const lines = linesOf(audit);
    expect(lines.every(({ container, mount }) => container === id && mount === "/data")).toBe(true);
    expect(lines.every(({ time, pid }) => Date.parse(String(time)) > Date.now() - 60_000 && Number(pid) > 1)).toBe(
      true,
    );
    expect(lines.map(({ time, container, mount, pid, ...event }) => event)).toEqual([
      { event: "create", path: "a" },
      { event: "open", path: "a", access: "read", bytes: 6 },
      { event: "create", path: "b" },
      { event: "rename", path: "a", to: "c" },
      { event: "unlink", path: "b" },
      { event: "create", path: "d" },
      { event: "unlink", path: "d" },
      { event: "denied", path: "hidden", error: -2 },
      { event: "denied", path: "fixed", error: -30 },
    ]);
    // A second container appends.
    const { args: again } = prepare(runtime, { policy, script: "cat /data/c" });
    runtime.ok(again, { env });
    expect(linesOf(audit).length).toBe(lines.length + 1);
  }));

it("the pids of the audit stream are the host's, and several containers append whole lines to one file", () =>
  withRuntime(async (runtime) => {
    const audit = path.join(runtime.directory, "audit.jsonl");
    const script = "for i in $(seq 200); do echo > /data/$HOSTNAME-$i; done; exec sleep 60";
    const ids = await Promise.all(
      [1, 2].map(async (number) => {
        const { bundle, id } = prepare(runtime, { script: `HOSTNAME=${number}; ${script}` });
        runtime.ok(["--gofer-audit", audit, "create", "--bundle", bundle, id], { env });
        runtime.ok(["start", id]);
        return id;
      }),
    );
    const isDone = (id: string) => programName(runtime.state(id).pid) === "sleep";
    await waitFor("all is written", () => ids.every(isDone), 20_000);
    await waitFor("and told", () => /"2-200"/.test(readFileSync(audit, "utf8")));
    const made = linesOf(audit).filter(({ event, mount }) => event === "create" && mount === "/data");
    for (const [index, id] of ids.entries()) {
      const own = made.filter(({ container }) => container === id);
      expect(own.map(({ path: name }) => name)).toEqual(Array.from({ length: 200 }, (_, i) => `${index + 1}-${i + 1}`));
      expect(new Set(own.map(({ pid }) => pid))).toEqual(new Set([runtime.state(id).pid]));
    }
  }));

it("a mount with a policy is served where it could be donated, the others are not, and without all are donated", () =>
  withRuntime((runtime) => {
    const count = "awk '$3 == \"fuse\" { print $2 }' /proc/mounts";
    const policy = '[mounts."/data"]\nhidden = ["x"]\n';
    expect(run(runtime, { policy, script: count }).stdout).toBe("/data\n");
    expect(run(runtime, { policy: '[mounts."*"]\nhidden = ["x"]\n', script: count }).stdout).toBe("/\n/data\n");
    expect(run(runtime, { policy: "", script: count }).stdout).toBe("");
    expect(run(runtime, { script: count }).stdout).toBe("");
    expect(run(runtime, { policy: '[mounts."/"]\nfile-access = "served"\n', script: count }).stdout).toBe("/\n");
    const change = (spec: BundleSpec) => {
      spec.annotations = { "dev.cloche.file-access": "/data=served" };
    };
    expect(run(runtime, { script: count, change }).stdout).toBe("/data\n");
    const served = run(runtime, { script: count, change, policy: '[mounts."/"]\nhidden = ["x"]\n' });
    expect(served.stdout).toBe("/\n/data\n");
  }));

it("level oci refuses a policy by name, from wherever it comes, and an annotation takes it away from nobody", () =>
  withRuntime((runtime) => {
    const policy = '[mounts."/data"]\nhidden = ["x"]\n';
    const refused = (wanted: Case, more: Record<string, string> = {}) => {
      const result = runtime.run(prepare(runtime, wanted).args, { env: { ...env, ...more } });
      expect(result.exitCode).toBe(1);
      return result.stderr;
    };
    const flags = ["--isolation", "oci"];
    const oci = 'isolation level "oci" serves no files, and so has no policy for them: use --isolation sandboxed';
    expect(refused({ policy, flags })).toContain(`gofer-policy: ${oci}`);
    expect(refused({ flags }, { CLOCHE_GOFER_AUDIT: "/tmp/x" })).toContain(`gofer-audit: ${oci}`);
    const config = path.join(runtime.directory, "config.toml");
    const file = path.join(runtime.directory, "policy.toml");
    writeFileSync(config, `gofer-policy = "${file}"\nisolation = "sandboxed"\n`);
    expect(refused({ flags }, { CLOCHE_CONFIG: config })).toContain(`gofer-policy: ${oci}`);
    const annotated = (annotations: Record<string, string>): Case => ({
      script: "ls /data",
      change: (spec) => {
        spec.annotations = annotations;
      },
    });
    const asking = annotated({ "dev.cloche.gofer-policy": file });
    expect(refused(asking)).toContain('annotations["dev.cloche.gofer-policy"]: an administrator may allow it');
    expect(refused({ ...asking, flags })).toContain(`annotations["dev.cloche.gofer-policy"]: ${oci}`);
    expect(refused({ policy, ...annotated({ "dev.cloche.file-access": "donated" }) })).toContain(
      "it has a gofer policy",
    );
    appendFileSync(config, "isolation-annotation = true\n");
    const toOci = annotated({ "dev.cloche.isolation": "oci" });
    expect(refused(toOci, { CLOCHE_CONFIG: config })).toContain(`gofer-policy: ${oci}`);
    writeFileSync(config, "isolation-annotation = true\n");
    writeFileSync(path.join(runtime.directory, "data/x"), "");
    writeFileSync(path.join(runtime.directory, "data/y"), "");
    const { stdout } = runtime.run(prepare(runtime, asking).args, { env: { ...env, CLOCHE_CONFIG: config } });
    expect(stdout).toBe("y\n");
  }));

it("a policy that cannot hold, or is wrong, is an error by name, and no container", () =>
  withRuntime((runtime) => {
    const refused = (wanted: Case) => {
      const { args, id } = prepare(runtime, wanted);
      const result = runtime.run(args, { env });
      expect(result.exitCode).toBe(1);
      expect(runtime.run(["state", id]).exitCode).toBe(1);
      expect(result.stderr.trim().split("\n").length).toBe(1);
      return result.stderr;
    };
    const named = (destination: string) => `[mounts."${destination}"]\nhidden = ["x"]\n`;
    const change = (spec: BundleSpec) => {
      const file = path.join(runtime.directory, "file");
      writeFileSync(file, "");
      spec.mounts.push({ destination: "/etc/file", type: "bind", source: file, options: ["bind"] });
      spec.mounts.push({ destination: "/scratch", type: "tmpfs", source: "tmpfs" });
      spec.mounts.push({ destination: "/dev/shared", type: "bind", source: "/dev/shm", options: ["bind"] });
    };
    for (const destination of ["/etc/file", "/scratch", "/proc"]) {
      expect(refused({ policy: named(destination), change })).toMatch(/mounts\[\d+\]: there is a gofer policy for it/);
    }
    expect(refused({ policy: named("*"), change })).toMatch(/mounts\[\d+\]: there is a gofer policy for it/);
    const ownIds = (spec: BundleSpec) => {
      spec.linux.namespaces.push({ type: "user" });
      spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    };
    expect(refused({ policy: named("/data"), change: ownIds })).toContain("not served to a user namespace");
    expect(refused({ policy: '[mounts."/data"]\nhide = ["x"]\n' })).toContain('mounts."/data".hide: unknown key');
    expect(refused({ policy: '[mounts."/data"]\nlogged = ["x"]\n' })).toContain(
      'mounts."/data".logged: there is no audit',
    );
    expect(refused({ flags: ["--gofer-policy", "/nope.toml"] })).toContain('cannot read gofer policy "/nope.toml"');
    expect(refused({ policy: named("/"), flags: ["--rootfs-overlay", "memory"] })).toContain(
      "no layer can be laid over",
    );
  }));

it("the audit stream goes to a regular file and follows no link, and is not in the container", () =>
  withRuntime(async (runtime) => {
    const at = (name: string) => path.join(runtime.directory, name);
    const victim = at("victim");
    writeFileSync(victim, "");
    symlinkSync(victim, at("link"));
    expect(spawnSync("mkfifo", [at("fifo")]).status).toBe(0);
    for (const name of ["link", "fifo", "missing/file", "."]) {
      const { exitCode, stderr } = run(runtime, { flags: ["--gofer-audit", at(name)] });
      expect([name, exitCode]).toEqual([name, 1]);
      expect(stderr).toContain(`cannot open audit stream ${JSON.stringify(at(name))}: `);
    }
    expect(readFileSync(victim, "utf8")).toBe("");
    const { bundle, id } = prepare(runtime, { script: "exec sleep 60" });
    runtime.ok(["--gofer-audit", at("log"), "create", "--bundle", bundle, id], { env });
    runtime.ok(["start", id]);
    const { pid } = runtime.state(id);
    await waitFor("the program runs", () => programName(pid) === "sleep");
    const saved = JSON.parse(readFileSync(path.join(runtime.root, `${id}_${id}.state`), "utf8"));
    const holders = (file: string) =>
      [pid, saved.sandbox.pid, saved.gofer.pid].map(
        (each) => Object.values(viewProcess(each).fds).filter((link) => link === file).length,
      );
    expect(holders(at("log"))).toEqual([0, 0, 1]);
    // It is appended to the file that was opened, wherever that is moved.
    renameSync(at("log"), at("log.1"));
    runtime.ok(["exec", id, "touch", "/late"]);
    await waitFor("it is told", () => readFileSync(at("log.1"), "utf8").includes('"late"'));
    expect(existsSync(at("log"))).toBe(false);
  }));
