/** Namespaces under docker: network (bridge, ports, host, other containers'), pid, ipc, uts, cgroup. */
import { expect } from "bun:test";
import { dockerSuite, IMAGE, type Side } from "./docker.ts";
import { sideNames } from "./sides.ts";

const { same, docker } = dockerSuite();

/** A port for each side, as both share the daemon's loopback. */
const portOf = (side: Side, base: number) => base + sideNames.indexOf(side.runtime);

/** Starts a web server on port 80 in a container on docker's bridge. */
async function startServer(side: Side, flags: string[]): Promise<string> {
  const name = side.name();
  const serve = "mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www";
  await side.docker.ok(side.runArgs(["--detach", `--name=${name}`, "--init", ...flags, IMAGE, "sh", "-c", serve]));
  return name;
}

/** Fetches a page from inside the daemon's network. */
const fetchPage = (url: string) =>
  docker().nest.ok(["sh", "-c", `for i in $(seq 50); do busybox wget -q -O - ${url} && exit; sleep 0.1; done; exit 1`]);

same("--network bridge: a published port on loopback and on the bridge", async (side) => {
  const port = portOf(side, 18_080);
  const name = await startServer(side, [`--publish=127.0.0.1:${port}:80`]);
  expect(await fetchPage(`http://127.0.0.1:${port}/`)).toBe("served\n");
  const address = await side.inspect(name, ".NetworkSettings.IPAddress");
  expect(await fetchPage(`http://${address}/`)).toBe("served\n");
  const links = await side.ok(
    "exec",
    name,
    "sh",
    "-c",
    "ls /sys/class/net; ip route | cut -d' ' -f1-3; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
  );
  await side.ok("restart", "-t", "0", name);
  expect(await fetchPage(`http://127.0.0.1:${port}/`)).toBe("served\n");
  return links;
});

same("a network of the user's: containers find each other by name, connect and disconnect", async (side) => {
  const network = `n${side.name()}`;
  await side.ok("network", "create", network);
  try {
    const server = await startServer(side, [`--network=${network}`]);
    const client = await side.startOn(network);
    const wget = `for i in $(seq 50); do wget -q -O - http://${server}/ && exit; sleep 0.1; done; exit 1`;
    expect(await side.ok("exec", client, "sh", "-c", wget)).toBe("served");
    await side.ok("network", "connect", "bridge", client);
    const two = await side.ok("exec", client, "ls", "/sys/class/net");
    await side.ok("network", "disconnect", network, client);
    const one = await side.ok("exec", client, "sh", "-c", "ls /sys/class/net | wc -l");
    await side.ok("rm", "--force", server, client);
    return [two, one];
  } finally {
    await side.cli("network", "rm", network);
  }
});

same("--network container: shares the interfaces, ports and sysctls of another", async (side) => {
  const server = await startServer(side, ["--sysctl=net.ipv4.ip_forward=0"]);
  const script =
    "wget -q -O - http://127.0.0.1/; hostname; cat /proc/sys/net/ipv4/ip_forward; readlink /proc/self/ns/net";
  const text = await side.docker.ok(
    side.runArgs(["--rm", `--name=${side.name()}`, `--network=container:${server}`, IMAGE, "sh", "-c", script]),
  );
  const [page, host, forward, namespace] = text.split("\n");
  expect(page).toBe("served");
  expect(host).toBe((await side.inspect(server, ".Id")).slice(0, 12));
  expect(namespace).toBe(await side.ok("exec", server, "readlink", "/proc/self/ns/net"));
  return forward;
});

same("--network host: the daemon's interfaces and host name; none: loopback alone", async (side) => {
  const host = await side.docker.ok(
    side.runArgs([
      "--rm",
      `--name=${side.name()}`,
      "--network=host",
      IMAGE,
      "sh",
      "-c",
      "ls /sys/class/net; readlink /proc/self/ns/net; hostname",
    ]),
  );
  expect(host).toContain("docker0");
  expect(host).toContain((await side.docker.nest.ok(["readlink", "/proc/self/ns/net"])).trim());
  return await side.sh("ls /sys/class/net; ip -o addr | tr -s ' '; cat /proc/net/route | wc -l");
});

same("--dns, --add-host, --mac-address, --ip of a network: as the engine wrote them", async (side) => {
  const args = [
    "--dns=192.0.2.1",
    "--dns-search=example.test",
    "--add-host=other:192.0.2.7",
    "--mac-address=02:42:ac:11:00:99",
  ];
  const script = "cat /etc/resolv.conf; grep other /etc/hosts; cat /sys/class/net/eth0/address";
  return await side.docker.ok(side.runArgs(["--rm", `--name=${side.name()}`, ...args, IMAGE, "sh", "-c", script]));
});

same("--pid: its own, the daemon's, another container's", async (side) => {
  const name = await side.start([], ["sleep", "4242"]);
  // Not into a pipe, whose other end ps sees or not.
  const own = await side.sh("ps -o pid,args | grep -c 'sleep 424[2]'; ps -o pid > /tmp/ps; wc -l < /tmp/ps");
  const shared = await side.sh(
    "ps -o args | grep 'sleep 424[2]'; kill -0 1 && echo may; kill $(pidof sleep)",
    `--pid=container:${name}`,
  );
  await side.until(name, ".State.Status", "exited");
  const host = await side.sh("ps -o comm | grep -c dockerd; cat /proc/1/comm", "--pid=host");
  return [own, shared, host, await side.inspect(name, ".State.ExitCode")];
});

same("--pid=host: stop ends what the program left behind", async (side) => {
  const mark = side.name();
  const name = await side.start(["--pid=host", "--init=false"], ["sh", "-c", `sleep 3333 & exec sleep 4444 # ${mark}`]);
  const top = (await side.ok("top", name, "-o", "pid,args")).split("\n").slice(1);
  expect(top).toHaveLength(2);
  await side.ok("kill", name);
  await side.until(name, ".State.Status", "exited");
  const pids = top.map((row) => row.trim().split(/\s+/)[0]);
  const left = await side.docker.nest.run([
    "sh",
    "-c",
    `for i in $(seq 100); do ps -o pid= -p ${pids.join(",")} || exit 0; sleep 0.05; done; exit 1`,
  ]);
  expect(left.exitCode).toBe(0);
});

same("a container that shares another's pid namespace is killed with it and reported", async (side) => {
  const name = await side.start();
  const other = await side.start([`--pid=container:${name}`, "--init=false"], ["sleep", "5000"]);
  await side.ok("kill", name);
  await side.until(other, ".State.Status", "exited");
  expect(await side.inspect(other, ".State.ExitCode")).toBe("137");
});

same("--ipc: shareable, another container's, the daemon's, none", async (side) => {
  const name = await side.start(["--ipc=shareable", "--shm-size=5m"]);
  await side.ok("exec", name, "sh", "-c", "echo shared > /dev/shm/file");
  const shared = await side.sh(
    "cat /dev/shm/file; readlink /proc/self/ns/ipc; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2",
    `--ipc=container:${name}`,
  );
  expect(shared).toContain(await side.ok("exec", name, "readlink", "/proc/self/ns/ipc"));
  const host = await side.sh("readlink /proc/self/ns/ipc", "--ipc=host");
  expect(host).toBe(await side.docker.nest.ok(["readlink", "/proc/self/ns/ipc"]));
  const none = await side.sh("ls -d /dev/shm; grep -c /dev/shm /proc/self/mountinfo; true", "--ipc=none");
  const refused = await side.run([`--ipc=container:${await side.start()}`], ["true"]);
  return [none, refused.exitCode];
});

same("--uts and --cgroupns host: the daemon's", async (side) => {
  const uts = await side.sh("readlink /proc/self/ns/uts", "--uts=host");
  expect(uts).toBe(await side.docker.nest.ok(["readlink", "/proc/self/ns/uts"]));
  const cgroup = await side.sh("readlink /proc/self/ns/cgroup", "--cgroupns=host");
  expect(cgroup).toBe(await side.docker.nest.ok(["readlink", "/proc/self/ns/cgroup"]));
  const own = await side.sh(
    "cat /proc/self/cgroup | cut -d: -f2- | sort; ls -l /sys/fs/cgroup | tr -s ' ' | cut -d' ' -f1,9-",
    "--cgroupns=private",
  );
  return own;
});
