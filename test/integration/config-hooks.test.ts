/** config.md#posix-platform-hooks, runtime.md#lifecycle: the six points, what hooks get, and what becomes of their failures. */
import { expect } from "bun:test";
import { existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { HOOK_NAMES } from "../../specutils/kernel-names.ts";
import type { Hook, State } from "../../specutils/spec.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { lines } from "../helpers/container.ts";
import { programName } from "../helpers/process-view.ts";
import { requires } from "../helpers/requires.ts";
import { killChild, type Runtime, waitFor, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itIsOurs = requires("root", "busybox", "cloche");
const itIsOursOci = requires("root", "busybox", "cloche", "oci");

type HookName = (typeof HOOK_NAMES)[number];

/** Where each hook's own shell is: startContainer hooks are looked up inside (config.md#posix-platform-hooks). */
const SHELL = "/bin/sh";

function hook(script: string, more: Partial<Hook> = {}): Hook {
  return { path: SHELL, args: ["sh", "-c", script], env: ["PATH=/usr/bin:/bin"], ...more };
}

/** A directory that is at the same place on the host and in the container, for hooks to write to. */
function shared(runtime: Runtime, spec: BundleSpec): string {
  spec.mounts.push({ destination: runtime.directory, type: "bind", source: runtime.directory, options: ["bind"] });
  return runtime.directory;
}

/** Adds one hook to each point, made by `make`. */
function everywhere(spec: BundleSpec, make: (name: HookName) => Hook): void {
  spec.hooks = Object.fromEntries(HOOK_NAMES.map((name) => [name, [make(name)]]));
}

const text = (file: string) => readFileSync(file, "utf8");

/** The namespaces in which a hook at that point runs are the runtime's, and not the container's. */
const isOutside = (name: HookName) => name !== "createContainer" && name !== "startContainer";

// runc 1.1 calls poststart hooks in `create`, leaves poststop hooks after a failing one out, and does not report startContainer
// hooks that fail.
itIsOursOci("hooks: run in order, between the right operations", () =>
  withRuntime((runtime) => {
    const log = path.join(runtime.directory, "log");
    const id = runtime.create((spec) => {
      shared(runtime, spec);
      everywhere(spec, (name) => hook(`echo ${name} >> ${log}`));
      for (const name of HOOK_NAMES) spec.hooks?.[name]?.push(hook(`echo ${name} again >> ${log}`));
      spec.process.args = ["sh", "-c", `echo program >> ${log}; sleep 60`];
    });
    const twice = (...names: string[]) => names.flatMap((name) => [name, `${name} again`]);
    const created = twice("prestart", "createRuntime", "createContainer");
    expect(lines(text(log))).toEqual(created);
    runtime.ok(["start", id]);
    // A program and the hooks after its start run side by side.
    expect(lines(text(log)).filter((line) => line !== "program")).toEqual([
      ...created,
      ...twice("startContainer", "poststart"),
    ]);
    runtime.ok(["delete", "--force", id]);
    expect(lines(text(log)).slice(-2)).toEqual(twice("poststop"));
  }),
);

itOci("hooks: get the state on stdin, with the status and the pid of their time and place", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      const directory = shared(runtime, spec);
      everywhere(spec, (name) => hook(`cat > ${directory}/${name}`));
      spec.annotations = { "org.example.key": "value" };
      spec.process.args = ["sleep", "60"];
    });
    const { pid, bundle } = runtime.state(id);
    runtime.ok(["start", id]);
    runtime.ok(["delete", "--force", id]);
    const states = Object.fromEntries(
      HOOK_NAMES.map((name): [string, State] => [name, JSON.parse(text(path.join(runtime.directory, name)))]),
    );
    for (const state of Object.values(states)) {
      expect(state).toMatchObject({ id, bundle, annotations: { "org.example.key": "value" } });
      expect(state.ociVersion).toMatch(/^1\.\d+\.\d+/);
    }
    const seen = Object.fromEntries(Object.entries(states).map(([name, state]) => [name, [state.status, state.pid]]));
    expect(seen).toMatchObject({
      createRuntime: ["creating", pid],
      createContainer: ["creating", 1],
      startContainer: ["created", 1],
    });
    expect(states["poststop"]?.status).toBe("stopped");
    expect(states["prestart"]?.pid).toBe(pid);
  }),
);

itIsOurs("hooks: poststart hooks see a running container", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      everywhere(spec, (name) => hook(isOutside(name) ? `cat > ${runtime.directory}/${name}` : "true"));
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const statusAt = (name: HookName) => JSON.parse(text(path.join(runtime.directory, name))).status;
    expect(statusAt("poststart")).toBe("running");
    runtime.ok(["delete", "--force", id]);
  }),
);

itOci("hooks: run in the runtime's or the container's namespaces, before and after the root has changed", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      const directory = shared(runtime, spec);
      // A file of the bundle's, at its path on the host: createContainer hooks still see it, startContainer hooks do not.
      everywhere(spec, (name) =>
        hook(`(readlink /proc/self/ns/net; test ! -e /etc/debian_version || echo host) > ${directory}/${name}`),
      );
      spec.process.args = ["sleep", "60"];
    });
    const id = runtime.id();
    runtime.ok(["create", "--bundle", bundle, id]);
    const inside = readlinkSync(`/proc/${runtime.state(id).pid}/ns/net`);
    runtime.ok(["start", id]);
    runtime.ok(["delete", "--force", id]);
    const outside = readlinkSync("/proc/self/ns/net");
    for (const name of HOOK_NAMES) {
      const [net, root] = lines(text(path.join(runtime.directory, name)));
      expect([name, net]).toEqual([name, isOutside(name) ? outside : inside]);
      expect([name, root]).toEqual([name, name === "startContainer" ? undefined : "host"]);
    }
  }),
);

itOci("hooks: get their own arguments, argv[0] too, and their own environment", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      const directory = shared(runtime, spec);
      const script = (name: string) =>
        `tr '\\0' '|' < /proc/self/cmdline > ${directory}/${name}; env >> ${directory}/${name}`;
      everywhere(spec, (name) => ({
        path: SHELL,
        args: ["-sh", "-c", script(name), "zero", "", "two words"],
        env: ["ONLY=this", "AND=that"],
      }));
      spec.process.args = ["true"];
    });
    runtime.ok(["start", id]);
    runtime.ok(["delete", "--force", id]);
    for (const name of HOOK_NAMES) {
      const [args = "", ...env] = text(path.join(runtime.directory, name)).split(/(?<=\|two words\|)/);
      expect([name, args]).toEqual([name, expect.stringMatching(/^-sh\|-c\|.*\|zero\|\|two words\|$/s)]);
      const variables = env
        .join("")
        .split("\n")
        .filter((line) => line !== "" && !/^(PWD|SHLVL|_|OLDPWD|PATH)=/.test(line));
      expect([name, ...variables.toSorted()]).toEqual([name, "AND=that", "ONLY=this"]);
    }
  }),
);

for (const name of ["prestart", "createRuntime", "createContainer"] as const) {
  it(`hooks: a failing ${name} hook fails create, and nothing is left`, () =>
    withRuntime((runtime) => {
      const id = runtime.id();
      const bundle = runtime.bundle((spec) => {
        spec.hooks = { [name]: [hook("echo why it failed >&2; exit 7"), hook(`touch ${runtime.directory}/second`)] };
      });
      const { exitCode, stderr } = runtime.run(["create", "--bundle", bundle, id]);
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain("exit status 7");
      expect(stderr).toContain("why it failed");
      expect(existsSync(path.join(runtime.directory, "second"))).toBe(false);
      expect(runtime.run(["state", id]).exitCode).not.toBe(0);
      expect(runtime.leftovers()).toEqual([]);
    }));
}

itIsOurs("runtime.md#lifecycle: a failing hook destroys the container and then calls its poststop hooks", () =>
  withRuntime((runtime) => {
    for (const name of HOOK_NAMES) {
      if (name === "poststop") continue;
      const id = runtime.id();
      const stopped = path.join(runtime.directory, `stopped-${name}`);
      const bundle = runtime.bundle((spec) => {
        spec.hooks = { [name]: [hook("exit 7")], poststop: [hook("exit 3"), hook(`cat > ${stopped}`)] };
        spec.process.args = ["sleep", "60"];
      });
      const created = runtime.run(["create", "--bundle", bundle, id]);
      const failed = created.exitCode === 0 ? runtime.run(["start", id]) : created;
      expect([name, failed.exitCode]).toEqual([name, 1]);
      expect(failed.stderr).toContain(name);
      expect(failed.stderr).toContain("exit status 7");
      expect(JSON.parse(text(stopped))).toMatchObject({ id, status: "stopped" });
      expect(runtime.run(["state", id]).stderr).toContain("does not exist");
      expect(runtime.leftovers()).toEqual([]);
    }
  }),
);

itIsOurs("run: a failing hook leaves nothing, and poststop hooks are called", () =>
  withRuntime((runtime) => {
    for (const name of ["createRuntime", "startContainer", "poststart"] as const) {
      const stopped = path.join(runtime.directory, `stopped-${name}`);
      const bundle = runtime.bundle((spec) => {
        spec.hooks = { [name]: [hook("exit 7")], poststop: [hook(`echo stopped >> ${stopped}`)] };
        spec.process.args = ["sleep", "60"];
      });
      const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      expect([name, exitCode]).toEqual([name, 1]);
      expect(stderr).toContain("exit status 7");
      expect(text(stopped)).toBe("stopped\n");
      expect(runtime.leftovers()).toEqual([]);
    }
  }),
);

itIsOurs(
  "hooks: when start is killed before the last startContainer hook has ended, the program runs and is said to",
  () =>
    withRuntime(async (runtime) => {
      const id = runtime.create((spec) => {
        const script = "touch /begun; until [ -e /gate ]; do sleep 0.02; done";
        spec.hooks = { startContainer: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin"] }] };
        spec.process.args = ["sleep", "60"];
        spec.root.readonly = false;
      });
      const rootfs = path.join(runtime.state(id).bundle, "rootfs");
      const starting = runtime.spawn(["start", id]);
      await waitFor("the hook runs", () => existsSync(path.join(rootfs, "begun")));
      await killChild(starting);
      expect(runtime.state(id).status).toBe("created");
      writeFileSync(path.join(rootfs, "gate"), "");
      await waitFor("the program runs", () => programName(runtime.state(id).pid) === "sleep");
      expect(runtime.state(id).status).toBe("running");
      expect(runtime.run(["delete", id]).stderr).toContain("not stopped");
      runtime.ok(["delete", "--force", id]);
    }),
);

itIsOurs("hooks: failing poststop hooks are warnings, and all of them are called", () =>
  withRuntime((runtime) => {
    const second = path.join(runtime.directory, "second");
    const id = runtime.create((spec) => {
      spec.hooks = { poststop: [hook("exit 7"), hook(`touch ${second}`)] };
    });
    const { exitCode } = runtime.run(["delete", "--force", id]);
    expect({ exitCode, second: existsSync(second) }).toEqual({ exitCode: 0, second: true });
  }),
);

itIsOurs("hooks: one that runs past its timeout is killed, and fails", () =>
  withRuntime((runtime) => {
    for (const name of ["createRuntime", "createContainer", "startContainer"] as const) {
      const id = runtime.id();
      const bundle = runtime.bundle((spec) => {
        spec.hooks = { [name]: [hook("exec sleep 63", { timeout: 1 })] };
      });
      const begun = performance.now();
      const created = runtime.run(["create", "--bundle", bundle, id]);
      const { exitCode, stderr } = created.exitCode === 0 ? runtime.run(["start", id]) : created;
      expect([name, exitCode]).toEqual([name, 1]);
      expect(stderr).toContain("timeout");
      expect(performance.now() - begun).toBeWithin(1000, 20_000);
      expect(runtime.leftovers()).toEqual([]);
    }
  }),
);

it("hooks: one that is not there is an error that names it", () =>
  withRuntime((runtime) => {
    for (const name of ["createRuntime", "createContainer"] as const) {
      const bundle = runtime.bundle((spec) => {
        spec.hooks = { [name]: [{ path: "/no/such/hook" }] };
      });
      const { exitCode, stderr } = runtime.run(["create", "--bundle", bundle, runtime.id()]);
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain("/no/such/hook");
    }
  }));

itIsOurs("hooks: a startContainer hook is a program of the container's", () =>
  withRuntime((runtime) => {
    const id = runtime.id();
    const bundle = runtime.bundle((spec) => {
      spec.hooks = { startContainer: [{ path: "/opt/hook", args: ["hook", "argument"] }] };
      spec.process.args = ["sh", "-c", "cat /tmp/made; sleep 60"];
    });
    runtime.ok(["create", "--bundle", bundle, id]);
    // The program is looked up when the container is started.
    writeFileSync(path.join(bundle, "rootfs/tmp/hook"), "");
    const rootfs = path.join(bundle, "rootfs");
    writeFileSync(path.join(rootfs, "bin/hook"), "#!/bin/sh\necho $1 > /tmp/made\n", { mode: 0o755 });
    const missing = runtime.run(["start", id]);
    expect(missing.exitCode).not.toBe(0);
    runtime.run(["delete", "--force", id]);
    const again = runtime.bundle((spec) => {
      spec.hooks = { startContainer: [{ path: "/bin/hook", args: ["hook", "argument"] }] };
      spec.root.path = rootfs;
      spec.process.args = ["cat", "/tmp/made"];
    });
    expect(runtime.ok(["run", "--bundle", again, runtime.id()])).toBe("argument\n");
  }),
);

itIsOurs("hooks: may ask for the state of their container", () =>
  withRuntime((runtime) => {
    const output = path.join(runtime.directory, "asked");
    const id = runtime.id();
    const program = path.resolve("dist/cloche");
    const bundle = runtime.bundle((spec) => {
      const ask = hook(`${program} --root ${runtime.root} state ${id} >> ${output}`, { timeout: 20 });
      spec.hooks = { createRuntime: [ask], poststart: [ask] };
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["create", "--bundle", bundle, id]);
    runtime.ok(["start", id]);
    expect([...text(output).matchAll(/"status": ?"(\w+)"/g)].map(([, status]) => status)).toEqual([
      "creating",
      "running",
    ]);
    runtime.ok(["delete", "--force", id]);
  }),
);

it("hooks: what a createContainer hook mounts below the root on the host is there in the container, and not on the host", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      const script = `mount -t tmpfs tmpfs ${runtime.directory}/bundle-1/rootfs/home && touch ${runtime.directory}/bundle-1/rootfs/home/made`;
      spec.hooks = { createContainer: [hook(script)] };
      spec.process.args = ["sh", "-c", "ls /home; grep -c ' /home ' /proc/self/mountinfo"];
    });
    expect(bundle).toEndWith("bundle-1");
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("made\n1\n");
    expect(existsSync(path.join(bundle, "rootfs/home/made"))).toBe(false);
  }));

itIsOurs("hooks: what a startContainer hook prints is told, in run too, and nothing else", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.hooks = {
        createContainer: [hook("echo from-create")],
        startContainer: [{ path: "/bin/sh", args: ["sh", "-c", "echo from-start; exit 3"] }],
      };
    });
    const id = runtime.id();
    const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, id]);
    expect([exitCode, stderr]).toEqual([
      1,
      `cannot start container "${id}": hooks.startContainer[0]: run "/bin/sh": exit status 3: from-start\n`,
    ]);
    expect(runtime.leftovers()).toEqual([]);
  }),
);
