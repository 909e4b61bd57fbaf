/** Pods by containerd's CRI plugin, with `cloche` and `runc` as handlers. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { byDesign, confinement, ownInSandbox } from "./by-design.ts";
import { type Cri, criSuite, programs } from "./cri.ts";
import { failure } from "./cri-client.ts";

const { samePod } = criSuite();

samePod("a container in a pod: from creation to removal", async (cri) => {
  const pod = await cri.pod();
  expect(await pod.status()).toMatchObject({ state: "SANDBOX_READY", runtime_handler: cri.side.name });
  const id = await pod.create([
    "sh",
    "-c",
    "echo out; echo error >&2; trap 'exit 17' TERM; while :; do sleep 0.1; done",
  ]);
  expect((await cri.status(id)).state).toBe("CONTAINER_CREATED");
  await cri.startContainer(id);
  expect((await cri.status(id)).state).toBe("CONTAINER_RUNNING");
  const exec = await cri.exec(id, ["sh", "-c", "echo a; echo b >&2; exit 5"]);
  expect(exec).toEqual({ stdout: "a\n", stderr: "b\n", exit_code: 5 });
  await cri.stopContainer(id);
  const status = await cri.status(id);
  expect(status).toMatchObject({ state: "CONTAINER_EXITED", exit_code: 17, reason: "Error" });
  expect(status.finished_at).toBeGreaterThan(status.started_at);
  expect(pod.log("c1").split("\n").sort()).toEqual(["error", "out"]);
  await cri.removeContainer(id);
  expect(await failure(cri.status(id))).toContain("not found");
  await pod.stop();
  expect((await pod.status()).state).toBe("SANDBOX_NOTREADY");
  await pod.remove();
  expect(await failure(pod.status())).toContain("not found");
});

/** Names of the namespaces that a container's programs are in. */
async function namespaces(cri: Cri, id: string): Promise<Record<string, string>> {
  const script =
    "for n in net ipc uts mnt cgroup user; do echo $n $(readlink /proc/self/ns/$n); done; readlink /proc/self/ns/pid";
  const lines = (await cri.sh(id, script)).trim().split("\n");
  const pid = lines.pop() ?? "";
  return { ...Object.fromEntries(lines.map((line) => line.split(" "))), pid };
}

samePod("three containers: share network, ipc and hostname, each has its own processes and files", async (cri) => {
  const pod = await cri.pod({ network: "POD", pid: "CONTAINER", ipc: "POD" });
  const ids = [];
  for (const seconds of ["801", "802", "803"]) {
    ids.push(await pod.start(["sleep", seconds], { namespaces: { pid: "CONTAINER" } }));
  }
  const seen = await Promise.all(ids.map((id) => namespaces(cri, id)));
  for (const name of ["net", "ipc", "uts", "user"]) expect(new Set(seen.map((all) => all[name])).size).toBe(1);
  for (const name of ["pid", "mnt"]) expect(new Set(seen.map((all) => all[name])).size).toBe(3);
  for (const [index, id] of ids.entries()) {
    expect(await cri.sh(id, "tr '\\0' ' ' < /proc/1/cmdline")).toBe(`sleep 80${index + 1} `);
    expect((await programs(cri, id)).filter((line) => line.startsWith("sleep"))).toEqual([`sleep 80${index + 1}`]);
    await cri.sh(id, "echo $HOSTNAME > /own; ls /own");
  }
  const names = await Promise.all(ids.map((id, index) => cri.sh(id, `touch /dev/shm/${index}; hostname`)));
  expect(new Set(names).size).toBe(1);
  expect(await cri.sh(ids[0] ?? "", "ls /dev/shm")).toBe("0\n1\n2\n");
});

samePod("pid namespace of the pod: every container sees every program of the pod, and may signal it", async (cri) => {
  const pod = await cri.pod({ network: "NODE", pid: "POD" });
  const first = await pod.start(["sleep", "811"]);
  const second = await pod.start(["sh", "-c", "trap 'exit 18' TERM; while :; do sleep 0.1; done"]);
  expect((await namespaces(cri, first))["pid"]).toBe((await namespaces(cri, second))["pid"]);
  const seen = await programs(cri, second);
  expect(seen).toContain("sleep 811");
  expect(seen.filter((line) => line.startsWith("/bin/sh -c trap 'exit 0' TERM")).length).toBeGreaterThan(0);
  expect(await cri.sh(first, "tr '\\0' ' ' < /proc/1/cmdline")).toContain("trap 'exit 0' TERM");
  await cri.sh(
    first,
    "for p in /proc/[0-9]*; do grep -q '[e]xit 18' $p/cmdline && kill -TERM $(basename $p); done; true",
  );
  expect(await cri.exited(second)).toMatchObject({ exit_code: 18 });
  // What the ended container has left is ended with it; the other goes on.
  expect((await cri.status(first)).state).toBe("CONTAINER_RUNNING");
});

samePod("pid namespace of the pod: stopping a container ends what it has started, and nothing else", async (cri) => {
  const pod = await cri.pod({ network: "NODE", pid: "POD" });
  const first = await pod.start(["sh", "-c", "setsid sleep 821 & trap 'exit 0' TERM; while :; do sleep 0.1; done"]);
  const second = await pod.start(["sleep", "822"]);
  await cri.exec(first, ["sh", "-c", "sleep 823 > /dev/null 2>&1 &"]);
  expect(await programs(cri, second)).toEqual(expect.arrayContaining(["sleep 821", "sleep 822", "sleep 823"]));
  await cri.stopContainer(first);
  const left = await programs(cri, second);
  expect(left.filter((line) => /^sleep 82\d/.test(line))).toEqual(["sleep 822"]);
});

samePod("pid namespace of another container: a debugger sees its programs", async (cri) => {
  const pod = await cri.pod({ network: "NODE", pid: "CONTAINER" });
  const target = await pod.start(["sleep", "831"]);
  const debug = await pod.start(["sleep", "832"], { namespaces: { pid: "TARGET", target_id: target } });
  expect((await programs(cri, debug)).filter((line) => line.startsWith("sleep")).sort()).toEqual([
    "sleep 831",
    "sleep 832",
  ]);
  expect(await cri.sh(debug, "readlink /proc/1/root > /dev/null && tr '\\0' ' ' < /proc/1/cmdline")).toBe("sleep 831 ");
  await cri.stopContainer(debug, 0);
  expect((await cri.status(target)).state).toBe("CONTAINER_RUNNING");
});

samePod("namespaces of the node: network, ipc and processes of whoever runs containerd", async (cri) => {
  const pod = await cri.pod({ network: "NODE", pid: "NODE", ipc: "NODE" });
  const id = await pod.start(["sh", "-c", "setsid sleep 842 & exec sleep 841"]);
  const { nest } = cri.containerd;
  const script = "for n in net ipc pid; do readlink /proc/self/ns/$n; done";
  expect(await cri.sh(id, script)).toBe(await nest.ok(["sh", "-c", script]));
  expect((await programs(cri, id)).some((line) => line.includes("containerd --config"))).toBe(true);
  const { exitCode } = await nest.run(["pgrep", "-f", "^sleep 841"]);
  expect(exitCode).toBe(0);
  await cri.stopContainer(id, 0);
  expect(await cri.status(id)).toMatchObject({ state: "CONTAINER_EXITED", exit_code: 137 });
});

samePod(
  "network of the pod: an address, reached from another pod; loopback is shared by the pod's containers",
  async (cri) => {
    const [server, client] = [await cri.pod({ network: "POD" }), await cri.pod({ network: "POD" })];
    const { network } = await server.status();
    expect(network?.ip).toStartWith("10.198.0.");
    await server.start(["sh", "-c", "while :; do echo hello | nc -l -p 7777; done"]);
    const neighbour = await server.start();
    const other = await client.start();
    const ask = (address: string) => `until nc -w 1 ${address} 7777 < /dev/null 2> /dev/null; do sleep 0.05; done`;
    expect(await cri.sh(neighbour, ask("127.0.0.1"))).toBe("hello\n");
    expect(await cri.sh(other, ask(network?.ip ?? ""))).toBe("hello\n");
    expect((await cri.exec(other, ["sh", "-c", "nc -w 1 127.0.0.1 7777 < /dev/null"])).exit_code).toBe(1);
  },
);

samePod("a container that ends is started again, as a new one, while its neighbours go on", async (cri) => {
  const pod = await cri.pod();
  const neighbour = await pod.start(["sleep", "851"]);
  const pid = await cri.pid(neighbour);
  for (const attempt of [0, 1, 2]) {
    const id = await pod.start(["sh", "-c", `echo attempt ${attempt}; exit ${attempt + 3}`], {
      name: "again",
      attempt,
    });
    expect(await cri.exited(id)).toMatchObject({ exit_code: attempt + 3, reason: "Error" });
    expect(pod.log("again", attempt)).toBe(`attempt ${attempt}`);
    await cri.removeContainer(id);
  }
  const id = await pod.start(["true"], { name: "again", attempt: 3 });
  expect(await cri.exited(id)).toMatchObject({ exit_code: 0, reason: "Completed" });
  expect((await cri.status(neighbour)).state).toBe("CONTAINER_RUNNING");
  expect(await cri.pid(neighbour)).toBe(pid);
  expect((await pod.status()).state).toBe("SANDBOX_READY");
});

samePod("two pods of three containers, at the same time; stopping one leaves the other", async (cri) => {
  const pods = await Promise.all([cri.pod(), cri.pod({ network: "NODE", pid: "POD" })]);
  const ids = await Promise.all(pods.map((pod) => Promise.all(["1", "2", "3"].map(() => pod.start(["sleep", "861"])))));
  const states = async (index: number) =>
    new Set(await Promise.all((ids[index] ?? []).map(async (id) => (await cri.status(id)).state)));
  expect([await states(0), await states(1)]).toEqual([new Set(["CONTAINER_RUNNING"]), new Set(["CONTAINER_RUNNING"])]);
  await pods[0]?.stop();
  expect([await states(0), await states(1)]).toEqual([new Set(["CONTAINER_EXITED"]), new Set(["CONTAINER_RUNNING"])]);
  for (const id of ids[1] ?? []) expect((await cri.exec(id, ["true"])).exit_code).toBe(0);
  await Promise.all(pods.map((pod) => pod.remove()));
});

samePod("a container out of memory: OOMKilled, and only that one", async (cri) => {
  const pod = await cri.pod();
  const neighbour = await pod.start();
  const fill = ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"];
  const id = await pod.start(fill, { resources: { memory_limit_in_bytes: 33554432 } });
  expect(await cri.exited(id)).toMatchObject({ exit_code: 137, reason: "OOMKilled" });
  expect((await cri.status(neighbour)).state).toBe("CONTAINER_RUNNING");
});

samePod("resources: in the container's cgroup, updated, and counted", async (cri) => {
  const pod = await cri.pod();
  const resources = { memory_limit_in_bytes: 67108864, cpu_quota: 20000, cpu_period: 100000, cpu_shares: 512 };
  const id = await pod.start(["sh", "-c", "while :; do :; done"], { resources });
  const at = (controller: string, file: string) =>
    readFileSync(`/sys/fs/cgroup/${controller}${cri.containerd.nest.cgroupParent}/${id}/${file}`, "utf8").trim();
  const read = () => [at("memory", "memory.limit_in_bytes"), at("cpu", "cpu.cfs_quota_us"), at("cpu", "cpu.shares")];
  expect(read()).toEqual(["67108864", "20000", "512"]);
  const update = { container_id: id, linux: { memory_limit_in_bytes: 134217728, cpu_quota: 30000, cpu_shares: 256 } };
  await cri.client.call("UpdateContainerResources", update);
  expect(read()).toEqual(["134217728", "30000", "256"]);
  const stats = await cri.stats(id);
  expect(stats.cpuNanoseconds).toBeGreaterThan(0);
  expect(stats.memoryBytes).toBeGreaterThan(0);
});

samePod("security: user, groups, capabilities, read-only root, no_new_privs, seccomp, privileged", async (cri) => {
  const pod = await cri.pod({ network: "NODE" }, {});
  const script = `id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; touch /x || echo refused
    ls /dev; mount | grep -E ' /(sys|proc)' | sed 's/ type.*(/ (/' | sort`;
  const seen = [];
  for (const security of [
    {},
    { run_as_user: { value: 1234 }, supplemental_groups: [5, 6] },
    { capabilities: { add_capabilities: ["SYS_ADMIN"], drop_capabilities: ["CHOWN"] }, no_new_privs: true },
    { readonly_rootfs: true, seccomp: { profile_type: "RuntimeDefault" } },
  ]) {
    const id = await pod.start(["sh", "-c", "sleep 1000"], { security });
    seen.push(await cri.sh(id, script));
  }
  const privileged = { security: { privileged: true } };
  const open = await cri.pod(
    { network: "NODE" },
    { security_context: { privileged: true, namespace_options: { network: "NODE" } } },
  );
  const all = await cri.sh(await open.start(["sleep", "1000"], privileged), script);
  expect(seen[1]).toContain("uid=1234 gid=0(root) groups=0(root),5,6");
  expect(seen[3]).toMatch(/Seccomp:\t2\nrefused/);
  // runc leaves the directory of the cgroups writable, whatever config.json says. In a sandbox it belongs to the sandbox's root.
  const alike = (text: string) =>
    text.replace(/(tmpfs on \/sys\/fs\/cgroup \()r[ow](.*?)(,uid=\d+,gid=\d+)?\)/, "$1ro$2)");
  const { name } = cri.side;
  const own = ownInSandbox(name, alike(all), (text) => {
    expect(text).toContain("\nNoNewPrivs:\t1\nSeccomp:\t2\n");
    // Of the node's devices those that everybody may open.
    expect(text).toContain("\nnull\n");
    expect(text).not.toMatch(/^(mem|kvm|loop0|vda|sda)$/m);
    // The network is the node's.
    expect(text).toContain("\nsysfs on /sys (ro,");
  });
  return [seen.map((text) => byDesign(name, alike(text), confinement)), own];
});

samePod("volumes: shared by the containers of a pod, read-only where asked, and with propagation", async (cri) => {
  const { nest } = cri.containerd;
  const volume = nest.makeDirectory(`volume-${cri.side.name}`);
  await nest.ok(["sh", "-c", `mount --bind ${volume} ${volume} && mount --make-shared ${volume}`]);
  const pod = await cri.pod();
  const mount = (more: object) => ({ more: { mounts: [{ container_path: "/volume", host_path: volume, ...more }] } });
  const writer = await pod.start(["sleep", "1000"], mount({}));
  const reader = await pod.start(
    ["sleep", "1000"],
    mount({ readonly: true, propagation: "PROPAGATION_HOST_TO_CONTAINER" }),
  );
  await cri.sh(writer, "mkdir /volume/sub; echo data > /volume/file");
  expect(await cri.sh(reader, "cat /volume/file; touch /volume/x 2> /dev/null || echo refused")).toBe(
    "data\nrefused\n",
  );
  await nest.ok(["sh", "-c", `mount -t tmpfs tmpfs ${volume}/sub && echo later > ${volume}/sub/file`]);
  expect(await cri.sh(reader, "cat /volume/sub/file")).toBe("later\n");
  expect((await cri.exec(writer, ["cat", "/volume/sub/file"])).exit_code).toBe(1);
  await pod.remove();
  await nest.ok(["sh", "-c", `umount ${volume}/sub && umount ${volume}`]);
});

samePod(
  "the annotation of a pod chooses the level of all its containers, where the stanza lets it through",
  async (cri) => {
    const pod = await cri.pod(
      { network: "NODE" },
      {},
      { "dev.cloche.isolation": "sandboxed", "dev.cloche.sandbox": "x" },
    );
    const id = await pod.start();
    const first = (await cri.sh(id, "cat /proc/self/uid_map")).trim().split(/\s+/);
    const second = (await cri.sh(await pod.start(), "cat /proc/self/uid_map")).trim().split(/\s+/);
    expect(second).toEqual(first);
    expect(first[1] === "0").toBe(cri.side.name === "runc");
  },
);
