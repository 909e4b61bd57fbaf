/** podman's pods: shared namespaces, the life of pods and members, play kube and generate kube. */
import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { podmanSuite, type Side } from "./podman.ts";

const { same } = podmanSuite();

/** The namespaces of a container's process, by type. */
async function namespacesOf(side: Side, container: string): Promise<Record<string, string>> {
  const pid = await side.inspect(container, ".State.Pid");
  const types = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
  const links = await side.podman.nest.ok(["readlink", ...types.map((type) => `/proc/${pid}/ns/${type}`)]);
  return Object.fromEntries(links.split("\n").map((link, index) => [types[index] ?? "", link]));
}

const infraOf = (side: Side, pod: string) => side.ok("pod", "inspect", "--format", "{{.InfraContainerID}}", pod);

/** The types of namespace that two containers share. */
async function sharedBy(side: Side, one: string, other: string): Promise<string[]> {
  const [a, b] = [await namespacesOf(side, one), await namespacesOf(side, other)];
  return Object.keys(a).filter((type) => type !== "" && a[type] === b[type]);
}

const SLEEP = ["sleep", "1000"];
/** Ends with 5, half a second after SIGTERM. */
const GRACEFUL = ["sh", "-c", "trap 'sleep 0.5; echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"];

same("pod create: members share net, ipc and uts with the infra container", async (side) => {
  const pod = await side.pod(["--hostname=podded"]);
  const one = await side.member(pod, SLEEP);
  const two = await side.member(pod, SLEEP);
  expect(await sharedBy(side, one, two)).toEqual(expect.arrayContaining(["ipc", "net", "uts"]));
  expect(await side.ok("exec", two, "hostname")).toBe("podded");
  return [await sharedBy(side, one, two), await sharedBy(side, one, await infraOf(side, pod))];
});

same("pod create --share=pid: one sees the other's processes, and can signal them", async (side) => {
  const pod = await side.pod(["--share=pid,ipc"]);
  const one = await side.member(pod, ["sh", "-c", "trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done"]);
  await side.logged(one, "up");
  const two = await side.member(pod, SLEEP);
  const status = await side.podman.nest.ok(["cat", `/proc/${await side.inspect(one, ".State.Pid")}/status`]);
  const pid = /^NSpid:.*\t(\d+)$/m.exec(status)?.[1] ?? "";
  await side.ok("exec", two, "kill", "-USR1", pid);
  await side.until(one, ".State.Status", "exited");
  expect(await side.inspect(one, ".State.ExitCode")).toBe("4");
  expect(await side.inspect(two, ".State.Status")).toBe("running");
  return await sharedBy(side, two, await infraOf(side, pod));
});

same("pod create without infra container, or without anything to share", async (side) => {
  const bare = await side.pod(["--infra=false"]);
  const alone = await side.pod(["--share="]);
  const members = [await side.member(bare, SLEEP), await side.member(bare, SLEEP), await side.member(alone, SLEEP)];
  for (const member of members) expect(await side.ok("exec", member, "echo", "there")).toBe("there");
  await side.ok("pod", "stop", "--time=1", bare);
  return await sharedBy(side, members[2] ?? "", members[2] ?? "");
});

same("members talk over the pod's loopback", async (side) => {
  const pod = await side.pod();
  await side.member(pod, ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"]);
  const client = "until wget -q -O - http://127.0.0.1:8080/group 2> /dev/null; do sleep 0.05; done";
  return await side.ok(
    "run",
    "--rm",
    `--pod=${pod}`,
    `--name=${side.newName()}`,
    "localhost/busybox",
    "sh",
    "-c",
    client,
  );
});

same("pod stop: members end in their own time, whenever the infra container does", async (side) => {
  const pod = await side.pod();
  const member = await side.member(pod, GRACEFUL);
  await side.logged(member, "up");
  await side.ok("pod", "stop", "--time=10", pod);
  expect(await side.inspect(member, ".State.ExitCode")).toBe("5");
  return await side.ok("logs", member);
});

same("pod stop, start and restart: the same members, new processes", async (side) => {
  const pod = await side.pod();
  const members = [
    await side.member(pod, ["sh", "-c", "echo up; exec sleep 1000"], ["--init"]),
    await side.member(pod, SLEEP, ["--init"]),
  ];
  const pids = async () => Promise.all(members.map((member) => side.inspect(member, ".State.Pid")));
  const first = await pids();
  await side.ok("pod", "stop", "--time=1", pod);
  expect(await pids()).toEqual(["0", "0"]);
  await side.ok("pod", "start", pod);
  const second = await pids();
  await side.ok("pod", "restart", pod);
  const third = await pids();
  expect(new Set([...first, ...second, ...third]).size).toBe(6);
  await side.logged(members[0] ?? "", "up\nup\nup");
  return await sharedBy(side, members[0] ?? "", members[1] ?? "");
});

same("restart of the infra container alone: members go on", async (side) => {
  const pod = await side.pod();
  const member = await side.member(pod, SLEEP);
  const pid = await side.inspect(member, ".State.Pid");
  await side.ok("restart", "--time=1", await infraOf(side, pod));
  expect(await side.inspect(member, ".State.Pid")).toBe(pid);
  expect(await side.ok("exec", member, "echo", "there")).toBe("there");
  const late = await side.member(pod, SLEEP);
  expect(await side.ok("exec", late, "echo", "there")).toBe("there");
});

same("pod kill, pod pause, pod rm", async (side) => {
  const pod = await side.pod();
  const member = await side.member(pod, SLEEP);
  await side.ok("pod", "pause", pod);
  expect(await side.inspect(member, ".State.Status")).toBe("paused");
  await side.ok("pod", "unpause", pod);
  await side.ok("pod", "kill", pod);
  await side.until(member, ".State.Status", "exited");
  expect(await side.inspect(member, ".State.ExitCode")).toBe("137");
  await side.ok("pod", "rm", pod);
  const running = await side.pod();
  const other = await side.member(running, SLEEP, ["--init"]);
  expect((await side.cli(["pod", "rm", running])).exitCode).not.toBe(0);
  await side.ok("pod", "rm", "--force", "--time=1", running);
  return (await side.cli(["container", "exists", other])).exitCode;
});

same("a member that ends, or is removed, leaves the others alone", async (side) => {
  const pod = await side.pod();
  const short = await side.member(pod, ["sh", "-c", "exit 3"]);
  const long = await side.member(pod, SLEEP);
  await side.until(short, ".State.Status", "exited");
  await side.ok("rm", short);
  const other = await side.member(pod, SLEEP);
  await side.ok("rm", "--force", "--time=0", other);
  return await side.ok("exec", long, "echo", "there");
});

same("pod top, pod stats, pod inspect", async (side) => {
  const pod = await side.pod();
  await side.member(pod, SLEEP);
  const top = (await side.ok("pod", "top", pod, "args"))
    .split("\n")
    .map((line) => line.trim())
    .toSorted();
  const stats = JSON.parse(await side.ok("pod", "stats", "--no-stream", "--format=json", pod));
  expect(stats.length).toBe(2);
  return [top, await side.ok("pod", "inspect", "--format", "{{.State}} {{.NumContainers}}", pod)];
});

same("pod create --userns: infra and members are in one user namespace", async (side) => {
  const pod = await side.pod(["--userns=auto:size=1000"]);
  const one = await side.member(pod, SLEEP);
  const two = await side.member(pod, SLEEP);
  expect(await side.ok("exec", one, "cat", "/proc/self/uid_map")).toMatch(/^\s+0\s+4\d{6}\s+1000$/);
  return await sharedBy(side, one, two);
});

same("play kube: a pod with two containers and a volume; generate kube; play kube --down", async (side) => {
  const { nest } = side.podman;
  const pod = side.newPod();
  const shared = nest.path(`kube-${side.name}`);
  mkdirSync(shared);
  const container = (name: string, script: string) => ({
    name,
    image: "localhost/busybox",
    command: ["sh", "-c", script],
    volumeMounts: [{ name: "shared", mountPath: "/shared" }],
    securityContext: { runAsUser: 0, capabilities: { drop: ["CHOWN"] } },
    resources: { limits: { memory: "64Mi" } },
  });
  const spec = {
    terminationGracePeriodSeconds: 1,
    volumes: [{ name: "shared", hostPath: { path: shared, type: "Directory" } }],
    containers: [
      container("writer", "echo through the volume > /shared/file; exec sleep 1000"),
      container(
        "reader",
        "until test -s /shared/file; do sleep 0.05; done; cat /shared/file; hostname; exec sleep 1000",
      ),
    ],
  };
  const file = nest.path(`${side.name}.yaml`);
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: pod }, spec }));
  await side.ok("play", "kube", file);
  await side.logged(`${pod}-reader`, `through the volume\n${pod}\n`);
  const limit = await side.ok("exec", `${pod}-writer`, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
  const generated = await side.ok("generate", "kube", pod);
  expect(generated).toContain("writer");
  expect(generated).toMatch(/kind: Pod/);
  await side.ok("play", "kube", "--down", file);
  expect((await side.cli(["pod", "exists", pod])).exitCode).toBe(1);
  return limit;
});
