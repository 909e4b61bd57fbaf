/** The isolation level that nobody chose: what containers get, and what is left of it where a sandbox cannot have ids of its own. */
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type BundleSpec, makeRootfs } from "../helpers/bundle.ts";
import { member, saved } from "../helpers/pod.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("root", "busybox", "cloche");

/** Nothing is chosen, whatever level the suite is run at. */
const UNSET = { env: { CLOCHE_ISOLATION: undefined } };

/** What a container tells of how it is confined: map of ids, no_new_privs, filters, the options of its root and of a volume. */
const TELL = `read first start count < /proc/self/uid_map; echo ids $first $start $count
  grep -E '^(NoNewPrivs|Seccomp_filters)' /proc/self/status; cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^/(data)? '`;

/** As root's program without config.json's own no_new_privs, with a volume. */
function telling(runtime: Runtime, change: (spec: BundleSpec) => void = () => {}): string {
  const data = path.join(runtime.directory, "data");
  mkdirSync(data, { recursive: true });
  return runtime.bundle((spec) => {
    delete spec.process.noNewPrivileges;
    spec.process.args = ["sh", "-c", TELL];
    spec.mounts.push({ destination: "/data", type: "bind", source: data, options: ["bind"] });
    change(spec);
  });
}

/** Runs cloche after `prepare` in a mount namespace of its own, where a part of the host can be made to look different. */
function runAfter(prepare: string, runtime: Runtime, args: string[], flags: string[] = []) {
  const script = `set -e; ${prepare}; exec "$@"`;
  const words = [...flags, "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
  const { CLOCHE_ISOLATION: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync("unshare", [...words, runtimePath(), "--root", runtime.root, ...args], {
    encoding: "utf8",
    env,
    timeout: 30_000,
  });
  return { exitCode: status, stdout, stderr };
}

/** A bundle whose root is on an overlay, mounted by `mount`. */
function overlaid(runtime: Runtime): { bundle: string; mount: string } {
  const at = (name: string) => path.join(runtime.directory, name);
  for (const name of ["upper", "work", "merged"]) mkdirSync(at(name));
  makeRootfs(at("lower"));
  const bundle = telling(runtime, (spec) => {
    spec.root.path = at("merged");
  });
  const layers = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")}`;
  return { bundle, mount: `mount -t overlay overlay -o ${layers} ${at("merged")}` };
}

/** As hardening guides have it. */
const NO_USER_NAMESPACES = "echo 0 > /proc/self/fd/3; mount --bind /proc/self/fd/3 /proc/sys/user/max_user_namespaces";

/** A host whose /dev has what containers need, and no FUSE. */
const NO_FUSE = `d=$(mktemp -d); mount -t tmpfs tmpfs $d; for n in null zero full random urandom tty ptmx; do touch $d/$n; mount --bind /dev/$n $d/$n; done
  mkdir $d/pts $d/shm; mount --bind /dev/pts $d/pts; mount --move $d /dev; rmdir $d`;

it("by default: a user namespace with ids of its own, no_new_privs, the baseline filter, nothing set-user-ID", () =>
  withRuntime((runtime) => {
    const { stdout, stderr } = runtime.run(["run", "--bundle", telling(runtime), runtime.id()], UNSET);
    expect(stderr).toBe("");
    expect(stdout).toMatch(
      /^ids 0 [1-9]\d{4,} 65536\nNoNewPrivs:\t1\nSeccomp_filters:\t1\n\/ rw,nosuid,nodev,.*idmapped\n\/data rw,nosuid,nodev,.*idmapped\n$/,
    );
  }));

it("by default, and level oci by flag, variable and file: nothing but what config.json asks for", () =>
  withRuntime((runtime) => {
    const file = path.join(runtime.directory, "config.toml");
    writeFileSync(file, 'isolation = "oci"\n');
    const bundle = telling(runtime);
    const outputs = [
      runtime.run(["--isolation", "oci", "run", "--bundle", bundle, runtime.id()], UNSET),
      runtime.run(["run", "--bundle", bundle, runtime.id()], { env: { CLOCHE_ISOLATION: "oci" } }),
      runtime.run(["--config", file, "run", "--bundle", bundle, runtime.id()], UNSET),
    ];
    for (const { stdout, stderr } of outputs) {
      expect(stderr).toBe("");
      expect(stdout).toStartWith("ids 0 0 4294967295\nNoNewPrivs:\t0\nSeccomp_filters:\t0\n/ rw,");
      expect(stdout).not.toMatch(/nosuid|nodev/);
    }
  }));

it("by default, as root of a user namespace: its ids stay, all else holds, and nothing is said", () =>
  withRuntime((runtime) => {
    chmodSync(runtime.root, 0o700);
    const bundle = telling(runtime, (spec) => {
      Reflect.deleteProperty(spec.linux, "resources");
      for (const mount of spec.mounts) mount.options = mount.options?.filter((option) => option !== "gid=5") ?? [];
    });
    const flags = ["--user", "--map-root-user"];
    const { stdout, stderr } = runAfter(":", runtime, ["run", "--bundle", bundle, runtime.id()], flags);
    expect(stderr).toBe("");
    expect(stdout).toMatch(
      /^ids 0 0 1\nNoNewPrivs:\t1\nSeccomp_filters:\t1\n\/ rw,nosuid,nodev,.*\n\/data rw,nosuid,nodev,.*\n$/,
    );
    const chosen = runAfter(":", runtime, ["--isolation", "sandboxed", "run", "--bundle", bundle, runtime.id()], flags);
    expect(chosen.stderr).toContain(
      'isolation level "sandboxed" needs ids of its own: cloche is not root with the host\'s ids: use --isolation oci',
    );
    expect(chosen.exitCode).toBe(1);
  }));

it("by default, where user namespaces are forbidden: root of the host is confined by all else, and a warning says so", () =>
  withRuntime((runtime) => {
    const bundle = telling(runtime);
    const forbid = `exec 3<> ${path.join(runtime.directory, "zero")}; ${NO_USER_NAMESPACES}`;
    const { stdout, stderr } = runAfter(forbid, runtime, ["run", "--bundle", bundle, runtime.id()]);
    expect(stderr).toMatch(
      /level=warning msg="isolation: root of the container is root of the host: user\.max_user_namespaces is 0; the rest of level \\"sandboxed\\" holds/,
    );
    expect(stdout).toMatch(
      /^ids 0 0 4294967295\nNoNewPrivs:\t1\nSeccomp_filters:\t1\n\/ rw,nosuid,nodev,.*\n\/data rw,nosuid,nodev,.*\n$/,
    );
    const annotated = telling(runtime, (spec) => {
      spec.annotations = { "dev.cloche.isolation": "sandboxed" };
    });
    for (const args of [
      ["--isolation", "sandboxed", "run", "--bundle", bundle],
      ["run", "--bundle", annotated],
    ]) {
      const chosen = runAfter(forbid, runtime, [...args, runtime.id()]);
      expect(chosen.stderr).toContain("user.max_user_namespaces is 0: use --isolation oci");
      expect(chosen.exitCode).toBe(1);
    }
    const audited = ["--gofer-audit", path.join(runtime.directory, "audit"), "run", "--bundle", bundle, runtime.id()];
    expect(runAfter(forbid, runtime, audited).stderr).toContain(
      "gofer-policy: files are served only to a sandbox with ids of its own: user.max_user_namespaces is 0",
    );
  }));

it("do, where user namespaces are forbidden: runs all the same, without a sandbox", () =>
  withRuntime((runtime) => {
    const forbid = `exec 3<> ${path.join(runtime.directory, "zero")}; ${NO_USER_NAMESPACES}`;
    const script = "cut -c 12- /proc/self/uid_map; echo x > /etc/new";
    const { stdout, stderr, exitCode } = runAfter(forbid, runtime, ["do", "--", "sh", "-c", script]);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toMatch(/^ *0 +4294967295\n$/);
  }));

it("by default, where the files of an image cannot be served: the same", () =>
  withRuntime((runtime) => {
    const { bundle, mount } = overlaid(runtime);
    const args = ["run", "--bundle", bundle, runtime.id()];
    const { stdout, stderr } = runAfter(`${mount}; ${NO_FUSE}`, runtime, args);
    expect(stderr).toContain("root.path: the ids of its file system cannot be shifted without /dev/fuse; the rest of");
    expect(stdout).toStartWith("ids 0 0 4294967295\nNoNewPrivs:\t1\nSeccomp_filters:\t1\n/ rw,nosuid,nodev,");
    const chosen = runAfter(`${mount}; ${NO_FUSE}`, runtime, ["--isolation", "sandboxed", ...args]);
    expect(chosen.stderr).toContain("cannot be shifted without /dev/fuse: use --isolation oci");
    const served = runAfter(mount, runtime, args);
    expect(served.stderr).toBe("");
    expect(served.stdout).toMatch(/^ids 0 [1-9]\d{4,} 65536\n/);
  }));

it("by default without ids of its own: exec and the containers of a pod are confined like the first", () =>
  withRuntime((runtime) => {
    const forbid = `exec 3<> ${path.join(runtime.directory, "zero")}; ${NO_USER_NAMESPACES}`;
    const make = (change: (spec: BundleSpec) => void) => {
      const id = runtime.id();
      const bundle = telling(runtime, (spec) => {
        spec.process.args = ["sleep", "60"];
        change(spec);
      });
      const log = path.join(runtime.directory, `${id}.log`);
      const detached = `${forbid}; exec < /dev/null > ${log} 2>&1`;
      expect([runAfter(detached, runtime, ["create", "--bundle", bundle, id]).exitCode, id]).toEqual([0, id]);
      runtime.ok(["start", id], UNSET);
      return id;
    };
    const root = make(() => {});
    // Where there are user namespaces again, it joins what is there.
    const other = make((spec) => member(runtime, spec, root));
    expect(saved(runtime, other, root).isolation).toEqual({ level: "sandboxed", allowed: [] });
    for (const id of [root, other]) {
      expect(runtime.ok(["exec", id, "sh", "-c", TELL], UNSET)).toStartWith(
        "ids 0 0 4294967295\nNoNewPrivs:\t1\nSeccomp_filters:\t1\n/ rw,nosuid,nodev,",
      );
      const { pid } = runtime.state(id);
      expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(/^Seccomp_filters:\t1$/m);
    }
  }));

it("namespaces of others, in which a sandbox has no rights, are refused with the remedy", () =>
  withRuntime((runtime) => {
    const oci = runtime.create(
      (spec) => {
        spec.process.args = ["sleep", "60"];
      },
      { env: { CLOCHE_ISOLATION: "oci" } },
    );
    const { pid } = runtime.state(oci);
    const joining = (type: "pid" | "mount" | "uts", file: string) =>
      runtime.bundle((spec) => {
        const others = spec.linux.namespaces.filter((namespace) => namespace.type !== type);
        spec.linux.namespaces = [...others, { type, path: `/proc/${pid}/ns/${file}` }];
      });
    for (const [type, file] of [
      ["pid", "pid"],
      ["mount", "mnt"],
      ["uts", "uts"],
    ] as const) {
      const refused = runtime.run(["run", "--bundle", joining(type, file), runtime.id()], UNSET);
      expect(refused.stderr).toContain(`linux.namespaces: the ${type} namespace "/proc/${pid}/ns/${file}" is not the`);
      expect(refused.stderr).toContain("use --isolation oci");
    }
    // A sandbox's own are shared, and with them its user namespace.
    const sandbox = runtime.create((spec) => {
      spec.process.args = ["sleep", "60"];
    }, UNSET);
    const shared = runtime.bundle((spec) => {
      const others = spec.linux.namespaces.filter(({ type }) => type !== "uts");
      spec.linux.namespaces = [...others, { type: "uts", path: `/proc/${runtime.state(sandbox).pid}/ns/uts` }];
      spec.hostname = "renamed";
      spec.process.args = ["hostname"];
    });
    const { stdout, stderr } = runtime.run(["run", "--bundle", shared, runtime.id()], UNSET);
    expect([stderr, stdout]).toEqual(["", "renamed\n"]);
  }));
