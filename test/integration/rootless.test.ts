/** Containers of an ordinary user: without root anywhere on the host, and as root of a user namespace (rootless engines). */
import { afterAll, beforeAll, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { Nest } from "../engines/daemon.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { mapSubIds, OrdinaryUser, SUB_IDS, USER_ID } from "../helpers/ordinary-user.ts";
import { missing, requires } from "../helpers/requires.ts";

const it = requires("root", "busybox");
const itOfCloche = requires("root", "busybox", "cloche");
const itOfCgroup1 = requires("root", "busybox", "cloche", "cgroup1");
const itWithRanges = requires("root", "busybox", "newuidmap", "cloche");

let nest: Nest;
let user: OrdinaryUser;

beforeAll(async () => {
  if (missing("root", "busybox").length > 0) return;
  nest = await Nest.open();
  user = await OrdinaryUser.add(nest);
});

afterAll(async () => {
  await nest?.close();
});

let count = 0;
const newId = () => `${nest.word}-${++count}`;

/** Runs a shell script in a container of the user's and returns what it prints. */
function sh(script: string, change: (spec: BundleSpec) => void = () => {}): Promise<string> {
  const bundle = user.bundle((spec) => {
    spec.process.args = ["sh", "-c", script];
    change(spec);
  });
  return user.ok(["run", "--bundle", bundle, newId()]);
}

/** Creates a container of the user's; its pid is that of the nest. */
async function create(args: string[], change: (spec: BundleSpec) => void = () => {}) {
  const id = newId();
  const bundle = user.bundle((spec) => {
    spec.process.args = args;
    change(spec);
  });
  // Its program keeps what `create` has for output: a pipe would be waited for until it ends.
  const detached = '"$@" < /dev/null > create.log 2>&1 || { cat create.log; exit 1; }';
  const { exitCode, stdout } = await user.run([
    "sh",
    "-c",
    detached,
    "sh",
    user.runtime,
    "create",
    "--bundle",
    bundle,
    id,
  ]);
  if (exitCode !== 0) throw new Error(`create: ${stdout}`);
  const { pid } = JSON.parse(await user.ok(["state", id])) as { pid: number };
  return { id, pid };
}

/** A file as the nest's root sees it. */
const read = (file: string) => nest.ok(["cat", file]);

async function status(id: string): Promise<string> {
  return JSON.parse(await user.ok(["state", id])).status;
}

it("an ordinary user is root in its own container, and itself on the host", async () => {
  expect(await sh("id -u; cat /proc/self/uid_map; touch /dev/shm/x && stat -c %u /dev/shm/x")).toMatch(
    new RegExp(`^0\n\\s+0\\s+${USER_ID}\\s+1\n0\n$`),
  );
  const { id, pid } = await create(["sleep", "100"]);
  await user.ok(["start", id]);
  expect(await read(`/proc/${pid}/status`)).toMatch(new RegExp(`^Uid:(\t${USER_ID}){4}$`, "m"));
  await user.ok(["delete", "--force", id]);
});

it("an ordinary user's containers live through create, start, exec, kill and delete", async () => {
  const { id } = await create(["sleep", "100"]);
  expect(await status(id)).toBe("created");
  await user.ok(["start", id]);
  expect(await status(id)).toBe("running");
  expect((await user.cloche(["exec", id, "sh", "-c", "id -u; exit 9"])).exitCode).toBe(9);
  expect(await user.ok(["exec", id, "id", "-u"])).toBe("0\n");
  await user.ok(["kill", id, "KILL"]);
  for (let tries = 0; (await status(id)) !== "stopped" && tries < 100; tries++) await Bun.sleep(20);
  await user.ok(["delete", id]);
  expect((await user.cloche(["state", id])).exitCode).not.toBe(0);
  expect(await user.ok(["list", "--quiet"])).toBe("");
});

itOfCloche("an ordinary user's state root is $XDG_RUNTIME_DIR/cloche, closed to others", async () => {
  const { id } = await create(["sleep", "100"]);
  expect(await nest.ok(["stat", "-c", "%a %u", `${user.runtimeDirectory}/cloche`])).toBe(`700 ${USER_ID}\n`);
  await user.ok(["delete", "--force", id]);
  const nowhere = await user.cloche(["list"], { env: { XDG_RUNTIME_DIR: "" } });
  expect(nowhere.exitCode).toBe(0);
  const refused = await user.cloche(["run", "--bundle", user.bundle(), newId()], { env: { XDG_RUNTIME_DIR: "" } });
  expect(refused.stderr).toContain("/run/cloche");
  expect(refused.exitCode).toBe(1);
});

itOfCloche("an ordinary user's container is confined by default, with the ids that config.json gives it", async () => {
  const bundle = user.bundle((spec) => {
    delete spec.process.noNewPrivileges;
    spec.process.args = [
      "sh",
      "-c",
      "cat /proc/self/uid_map; grep -E '^(NoNewPrivs|Seccomp_filters)' /proc/self/status",
    ];
  });
  const tell = async (level: string, ...flags: string[]) => {
    const env = { CLOCHE_ISOLATION: level };
    return (await user.ok([...flags, "run", "--bundle", bundle, newId()], { env })).replaceAll(/[ \t]+/g, " ");
  };
  const confined = ` 0 ${USER_ID} 1\nNoNewPrivs: 1\nSeccomp_filters: 1\n`;
  expect(await tell("")).toBe(confined);
  expect(await tell("", "--isolation", "sandboxed")).toBe(confined);
  expect(await tell("oci")).toBe(` 0 ${USER_ID} 1\nNoNewPrivs: 0\nSeccomp_filters: 0\n`);
  expect((await user.cloche(["delete", "--force", newId()], { env: { CLOCHE_ISOLATION: "" } })).exitCode).toBe(0);
});

itWithRanges("ids of /etc/subuid are mapped by newuidmap", async () => {
  const script = "chown 5:6 /tmp && stat -c %u:%g /tmp; chown 0:0 /tmp; id -G";
  expect(
    await sh(script, (spec) => {
      mapSubIds(spec);
      spec.process.user.additionalGids = [7];
      for (const set of ["bounding", "effective", "permitted"] as const) {
        spec.process.capabilities?.[set]?.push("CAP_CHOWN");
      }
    }),
  ).toBe("5:6\n0 7\n");
});

itWithRanges("ids that /etc/subuid does not give are refused, and nothing is left", async () => {
  const id = newId();
  const bundle = user.bundle((spec) => {
    mapSubIds(spec);
    spec.linux.uidMappings = [{ containerID: 0, hostID: SUB_IDS.first - 1, size: 10 }];
  });
  const { exitCode, stderr } = await user.cloche(["run", "--bundle", bundle, id]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("newuidmap");
  expect((await user.cloche(["state", id])).exitCode).toBe(1);
});

itOfCloche("somebody else's id is refused without newuidmap, too", async () => {
  const bundle = user.bundle((spec) => {
    spec.linux.uidMappings = [{ containerID: 0, hostID: 0, size: 1 }];
  });
  const { exitCode, stderr } = await user.cloche(["run", "--bundle", bundle, newId()]);
  expect(stderr).toContain("linux.uidMappings: cannot map ids");
  expect(exitCode).toBe(1);
});

it("with one group mapped, the user cannot leave its groups", async () => {
  expect(await sh("cat /proc/self/setgroups")).toBe("deny\n");
  const bundle = user.bundle((spec) => {
    spec.process.user.additionalGids = [0];
  });
  expect((await user.cloche(["run", "--bundle", bundle, newId()])).exitCode).toBe(1);
});

itOfCloche("without a user namespace an ordinary user is told what is missing", async () => {
  const bundle = user.bundle((spec) => {
    spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "user");
    delete spec.linux.uidMappings;
    delete spec.linux.gidMappings;
  });
  const { exitCode, stderr } = await user.cloche(["run", "--bundle", bundle, newId()]);
  expect(stderr).toContain('linux.namespaces: an ordinary user needs a user namespace: add one of type "user"');
  expect(exitCode).toBe(1);
});

itOfCloche("limits are refused where the user may make no cgroup, and without them there is none", async () => {
  const bundle = user.bundle((spec) => {
    spec.linux.resources = { pids: { limit: 10n } };
  });
  const { stderr } = await user.cloche(["run", "--bundle", bundle, newId()]);
  expect(stderr).toContain("cannot set linux.resources.pids.limit: this user may not make a cgroup");
  const { id, pid } = await create(["sleep", "100"]);
  expect(await read(`/proc/${pid}/cgroup`)).toBe(readFileSync("/proc/self/cgroup", "utf8"));
  await user.ok(["start", id]);
  expect((await user.cloche(["pause", id])).stderr).toContain("it has no cgroup to freeze");
  await user.ok(["delete", "--force", id]);
});

itOfCloche("the user cannot look into a container process that waits for start, only into its program", async () => {
  const { id, pid } = await create(["sleep", "100"]);
  expect((await user.run(["readlink", `/proc/${pid}/exe`])).exitCode).toBe(1);
  await user.ok(["start", id]);
  expect((await user.run(["readlink", `/proc/${pid}/exe`])).exitCode).toBe(0);
  await user.ok(["delete", "--force", id]);
});

it("devices are the host's, and no others can be made", async () => {
  expect(
    await sh("echo x > /dev/null && head -c 3 /dev/zero | wc -c; mknod /dev/shm/n c 1 3 2>/dev/null || echo refused"),
  ).toBe("3\nrefused\n");
});

it("files of the user's can be bound, read-only too", async () => {
  const source = user.makeDirectory("bound");
  const bind = (...options: string[]) =>
    sh("touch /mnt/file 2>/dev/null && echo made || echo refused", (spec) => {
      spec.mounts.push({ destination: "/mnt", type: "bind", source, options: ["rbind", ...options] });
    });
  expect(await bind("ro")).toBe("refused\n");
  expect(await bind()).toBe("made\n");
  expect(await nest.ok(["stat", "-c", "%u", `${source}/file`])).toBe(`${USER_ID}\n`);
});

it("what the user may not read cannot be bound", async () => {
  await nest.ok(["sh", "-c", "mkdir -m 700 /run/secret && mkdir /run/secret/inner"]);
  const bundle = user.bundle((spec) => {
    spec.mounts.push({ destination: "/mnt", type: "bind", source: "/run/secret/inner", options: ["rbind"] });
  });
  const { exitCode, stderr } = await user.cloche(["run", "--bundle", bundle, newId()]);
  expect(stderr.toLowerCase()).toContain("permission denied");
  expect(exitCode).toBe(1);
});

it("containers of a user share namespaces by path", async () => {
  const first = await create(["sleep", "100"], (spec) => {
    spec.hostname = "shared";
  });
  await user.ok(["start", first.id]);
  const shared = ["user", "network", "ipc", "uts"] as const;
  const file = (type: string) => (type === "network" ? "net" : type);
  const output = await sh("hostname; id -u", (spec) => {
    delete spec.hostname;
    spec.linux.namespaces = spec.linux.namespaces.map((namespace) =>
      shared.some((type) => type === namespace.type)
        ? { ...namespace, path: `/proc/${first.pid}/ns/${file(namespace.type)}` }
        : namespace,
    );
  });
  expect(output).toBe("shared\n0\n");
  await user.ok(["delete", "--force", first.id]);
});

itOfCloche("an ordinary user cannot join a sandbox, and its containers of a pod have one each", async () => {
  const first = await create(["sleep", "100"]);
  const asked = user.bundle((spec) => {
    spec.annotations = { "dev.cloche.sandbox": first.id };
  });
  const { exitCode, stderr } = await user.cloche(["run", "--bundle", asked, newId()]);
  expect(stderr).toContain("an ordinary user may not enter the pid namespace of a sandbox");
  expect(exitCode).toBe(1);
  const output = await sh("echo alone", (spec) => {
    spec.annotations = {
      "io.kubernetes.cri.container-type": "container",
      "io.kubernetes.cri.sandbox-id": first.id,
    };
  });
  expect(output).toBe("alone\n");
  await user.ok(["delete", "--force", first.id]);
});

itOfCgroup1("limits hold in a part of the cgroup tree that was given to the user", async () => {
  const place = `${nest.cgroupParent}-given`;
  const directories = (await nest.ok(["sh", "-c", `awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts`]))
    .trim()
    .split("\n");
  const give = directories.map((mount) => `mkdir ${mount}${place} && chown -R ${USER_ID} ${mount}${place}`);
  const set = ["cpus", "mems"].map((name) => `cat $d/cpuset.${name} > $d${place}/cpuset.${name}`).join("; ");
  await nest.ok(["sh", "-c", `${give.join(" && ")}; d=/sys/fs/cgroup/cpuset; ${set}`]);
  try {
    const limited = (spec: BundleSpec) => {
      spec.linux.cgroupsPath = `${place}/one`;
      spec.linux.resources = { pids: { limit: 7n } };
    };
    const { id, pid } = await create(["sleep", "100"], limited);
    expect(await read(`/proc/${pid}/cgroup`)).toContain(`pids:${place}/one\n`);
    expect(await read(`/sys/fs/cgroup/pids${place}/one/pids.max`)).toBe("7\n");
    await user.ok(["start", id]);
    await user.ok(["pause", id]);
    expect(await status(id)).toBe("paused");
    await user.ok(["resume", id]);
    await user.ok(["delete", "--force", id]);
    expect((await nest.run(["test", "-e", `/sys/fs/cgroup/pids${place}/one`])).exitCode).toBe(1);
  } finally {
    await nest.run([
      "sh",
      "-c",
      directories.map((mount) => `find ${mount}${place} -depth -type d -exec rmdir {} +`).join("; "),
    ]);
  }
});

itOfCloche("clock offsets are written together with the mappings", async () => {
  const uptime = await sh("cut -d. -f1 /proc/uptime", (spec) => {
    spec.linux.namespaces.push({ type: "time" });
    spec.linux.timeOffsets = { boottime: { secs: 1_000_000_000n, nanosecs: 0 } };
  });
  expect(Number(uptime)).toBeGreaterThan(1_000_000_000);
});

it("hooks run as the user", async () => {
  const mark = `${user.makeDirectory("hooks")}/mark`;
  await sh("true", (spec) => {
    spec.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `id -u > ${mark}`] }] };
  });
  expect(readFileSync(mark, "utf8")).toBe(`${USER_ID}\n`);
});

it("root of a user namespace needs no other one, and keeps its state with the user's", async () => {
  const id = newId();
  const bundle = user.bundle((spec) => {
    spec.process.args = ["sh", "-c", "id -u; ls -l /dev/null | cut -c1"];
    spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "user");
    delete spec.linux.uidMappings;
    delete spec.linux.gidMappings;
  });
  const inside = ["unshare", "--user", "--map-root-user", "--mount"];
  const { exitCode, stdout, stderr } = await user.run([...inside, user.runtime, "run", "--bundle", bundle, id]);
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "0\nc\n", stderr: "" });
  expect((await nest.run(["test", "-e", "/run/cloche"])).exitCode).toBe(1);
});

itOfCloche("the cgroup mount of a container without a cgroup shows the caller's", async () => {
  const output = await sh(
    "ls /sys/fs/cgroup | head -1; cat /sys/fs/cgroup/*/cgroup.procs | head -1 | wc -l",
    (spec) => {
      spec.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro", "nosuid"] });
    },
  );
  expect(output).not.toBe("\n0\n");
});
