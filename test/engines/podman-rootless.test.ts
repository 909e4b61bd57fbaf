/** podman of an ordinary user: run, exec, volumes, networks, user namespaces, pods, play kube. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { SUB_IDS, USER_ID } from "../helpers/ordinary-user.ts";
import { FOLLOW_SIZE } from "./docker.ts";
import { IMAGE, podmanSuite, type Side } from "./podman.ts";

const { same, only } = podmanSuite({ rootless: true, needed: ["slirp4netns"] });

const SLEEP = ["sleep", "1000"];

same("run: exit codes, 127 and 126 as root's podman has them", async (side) => {
  const commands = [["sh", "-c", "exit 42"], ["sh", "-c", "kill -KILL -1; exit 7"], ["nope"], ["/etc/passwd"]];
  const codes = [];
  for (const args of commands) codes.push((await side.run([], args)).exitCode);
  expect(codes).toEqual([42, 7, 127, 126]);
});

same("run: root inside is the user outside, and others are its subordinate ids", async (side) => {
  const name = await side.start([], ["sh", "-c", "chown 1000:1000 /tmp; exec sleep 1000"]);
  const map = (await side.ok("exec", name, "cat", "/proc/self/uid_map")).split(/\s+/).filter(Boolean).map(Number);
  expect(map).toEqual([0, USER_ID, 1, 1, SUB_IDS.first, SUB_IDS.count]);
  const pid = await side.inspect(name, ".State.Pid");
  expect(await side.podman.nest.ok(["stat", "-c", "%u", `/proc/${pid}`])).toBe(`${USER_ID}\n`);
  expect(await side.ok("exec", "--user=1000", name, "id", "-u")).toBe("1000");
});

only("the state of the user's containers is in the user's runtime directory", async (side) => {
  const name = await side.start();
  const id = await side.inspect(name, ".Id");
  const { nest, user } = side.podman;
  expect(await nest.ok(["ls", `${user.runtimeDirectory}/cloche`])).toContain(`${id}_${id}.state`);
  expect((await nest.run(["ls", "/run/cloche"])).exitCode).not.toBe(0);
});

same("run -it: a terminal that follows the size of the user's", async (side) => {
  const terminal = side.terminal(
    ["run", "--rm", "-it", `--name=${side.newName()}`, IMAGE, "sh", "-c", FOLLOW_SIZE],
    33,
    77,
  );
  await terminal.shows("it was 33 77\r\n");
  terminal.resize(40, 111);
  await terminal.shows("it is 40 111\r\n");
  terminal.type("7\n");
  expect(await terminal.close()).toBe(7);
});

same("run: the program sees the same whatever the runtime", async (side) => {
  const script = `grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status
    ulimit -n; umask; id; hostname; pwd; cat /proc/self/oom_score_adj; cat /sys/fs/cgroup/pids/cgroup.procs | wc -l
    cut -d' ' -f2,3 /proc/mounts | grep -v '^/proc/' | sort; ls -l /dev | awk '{ print $1, $NF }'`;
  const flags = ["--hostname=seen", "--user=1000:50", "--group-add=77", "--cap-add=NET_ADMIN", "--cap-drop=CHOWN"];
  flags.push("--ulimit=nofile=100:200", "--ulimit=nproc=100:200", "--umask=077", "--workdir=/tmp", "--oom-score-adj=5");
  flags.push("--security-opt=no-new-privileges", "--tmpfs=/data:size=1m", "--read-only", "--shm-size=1m");
  return (await side.sh(script, ...flags)).replace(/^\d+\n(?=\/ )/m, "");
});

same("run --privileged, --device: devices are bound, for none can be made", async (side) => {
  expect(await side.sh("mknod /tmp/n c 1 3 2> /dev/null || echo refused", "--privileged")).toBe("refused\n");
  return await side.sh("ls -l /dev/null2 | cut -c1; grep CapEff /proc/self/status", "--device=/dev/null:/dev/null2");
});

/** One side after the other: `auto` takes ids that no container of the user has at the moment, and `keep-id` takes all. */
let turn: Promise<unknown> = Promise.resolve();
function inTurn<T>(body: () => Promise<T>): Promise<T> {
  const mine = turn.then(body, body);
  turn = mine;
  return mine;
}

same("run --userns: keep-id, auto, nomap, and a map of one's own", (side) => inTurn(() => userNamespaces(side)));

async function userNamespaces(side: Side): Promise<string[]> {
  const script = "id -u; cat /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x";
  const outputs = [];
  for (const flags of [
    ["--userns=keep-id"],
    ["--userns=auto:size=500"],
    ["--userns=nomap"],
    ["--uidmap=0:1:1000", "--gidmap=0:1:1000"],
  ]) {
    outputs.push(await side.sh(script, ...flags));
  }
  expect(outputs[0]).toStartWith(`${USER_ID}\n`);
  // Which ids `auto` takes depends on what else runs.
  return outputs.map((output, index) => (index === 1 ? (output.split("\n")[0] ?? "") : output));
}

same("run: namespaces of the host's, and the user's own network", async (side) => {
  expect(await side.sh("grep -c '' /proc/1/comm; cat /proc/1/comm", "--pid=host")).toBe("1\ntini\n");
  expect(await side.sh("hostname", "--uts=host")).toBe(await side.podman.nest.ok(["hostname"]));
  expect(await side.sh("grep -c : /proc/net/dev", "--network=host")).toBe("1\n");
  return await side.sh("ip -4 addr show tap0 | grep -o 'inet 10.0.2.100'", "--network=slirp4netns");
});

same("run -v: the user's files, a named volume", async (side) => {
  const directory = side.podman.user.makeDirectory(`volume-${side.name}`);
  const volumes = [
    `--volume=${directory}:/data`,
    `--volume=${directory}:/ro:ro`,
    `--volume=${side.newName()}:/named:U`,
  ];
  const output = await side.sh(
    "echo in > /data/new; touch /ro/x 2>&1; touch /named/x && ls -n /named | cut -c1-30",
    ...volumes,
  );
  expect(await side.podman.nest.ok(["stat", "-c", "%u", `${directory}/new`])).toBe(`${USER_ID}\n`);
  return output;
});

same("exec, logs, stop, kill, cp, commit, top, healthcheck", async (side) => {
  const name = await side.start(
    ["--health-cmd=true", "--health-interval=disable"],
    ["sh", "-c", "echo up; exec sleep 1000"],
  );
  await side.logged(name, "up");
  expect((await side.cli(["exec", name, "sh", "-c", "exit 9"])).exitCode).toBe(9);
  const directory = side.podman.user.makeDirectory(`cp-${side.name}`);
  await side.ok("exec", name, "sh", "-c", "echo inside > /tmp/file");
  await side.ok("cp", `${name}:/tmp/file`, `${directory}/file`);
  expect(await side.podman.nest.ok(["cat", `${directory}/file`])).toBe("inside\n");
  const top = await side.ok("top", name, "user", "args");
  const health = (await side.cli(["healthcheck", "run", name])).exitCode;
  await side.ok("commit", "--quiet", name, `localhost/${name}`);
  await side.ok("rmi", `localhost/${name}`);
  await side.ok("stop", "--time=1", name);
  const stopped = await side.inspect(name, ".State.ExitCode");
  await side.ok("start", name);
  await side.ok("kill", name);
  await side.until(name, ".State.Status", "exited");
  return { top, health, stopped, killed: await side.inspect(name, ".State.ExitCode") };
});

same("stop and kill of a container in the host's pid namespace, without a cgroup", async (side) => {
  const script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";
  const name = side.newName();
  await side.ok("run", "-d", `--name=${name}`, "--pid=host", IMAGE, "sh", "-c", script);
  await side.logged(name, "up");
  await side.ok("stop", "--time=5", name);
  expect(await side.inspect(name, ".State.ExitCode")).toBe("5");
});

same("pause: not without a cgroup, and the container goes on", async (side) => {
  const name = await side.start();
  const { exitCode } = await side.cli(["pause", name]);
  await side.ok("exec", name, "true");
  return exitCode;
});

same("a limit that a user cannot raise is refused in one line", async (side) => {
  const { exitCode, stderr } = await side.run(["--ulimit=nofile=100:2000000"], ["true"]);
  expect(stderr).toMatch(/^Error: [^\n]*: OCI permission denied\n$/);
  return exitCode;
});

same("pods: shared namespaces, stop and start", async (side) => {
  const pod = await side.pod(["--hostname=podded"]);
  const one = await side.member(pod, ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"], ["--init"]);
  const two = await side.member(pod, SLEEP, ["--init"]);
  const fetch = "until wget -q -O - http://127.0.0.1:8080/group; do sleep 0.05; done 2> /dev/null; hostname";
  const fetched = await side.ok("exec", two, "sh", "-c", fetch);
  await side.ok("pod", "stop", "--time=1", pod);
  await side.ok("pod", "start", pod);
  expect(await side.ok("exec", two, "sh", "-c", fetch)).toBe(fetched);
  await side.ok("rm", "--force", "--time=0", one);
  return fetched;
});

same("pods: a shared pid namespace", async (side) => {
  const pod = await side.pod(["--share=pid"]);
  const name = await side.member(pod, SLEEP);
  return await side.ok("exec", name, "cat", "/proc/1/comm");
});

same("play kube: a pod with a volume", async (side) => {
  const pod = side.newPod();
  const container = (name: string, script: string) => ({
    name,
    image: IMAGE,
    command: ["sh", "-c", script],
    volumeMounts: [{ name: "shared", mountPath: "/shared" }],
  });
  const spec = {
    terminationGracePeriodSeconds: 1,
    volumes: [
      { name: "shared", hostPath: { path: side.podman.user.makeDirectory(`kube-${side.name}`), type: "Directory" } },
    ],
    containers: [
      container("writer", "echo through the volume > /shared/file; exec sleep 1000"),
      container("reader", "until test -s /shared/file; do sleep 0.05; done; cat /shared/file; exec sleep 1000"),
    ],
  };
  const file = side.podman.nest.path(`${side.name}.yaml`);
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: pod }, spec }));
  await side.ok("play", "kube", "--network=none", file);
  await side.logged(`${pod}-reader`, "through the volume\n");
  await side.ok("play", "kube", "--down", file);
});
