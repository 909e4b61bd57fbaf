/**
 * docs/engines.md: every command of it is run, in its order and as it stands there, against daemons of a nest, on copies of
 * /etc, /usr/local and /var/lib. `systemctl` (there is no systemd) and `kubectl` (there is no cluster) are stand-ins.
 */
import { afterAll, expect } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeRootfs } from "../helpers/bundle.ts";
import { requires } from "../helpers/requires.ts";
import { projectDirectory } from "../helpers/runtime-path.ts";
import { findProgram, type Nest, withNest } from "./daemon.ts";

const it = requires("root", "cloche", "busybox", "docker", "containerd", "podman", "tini");

const document = readFileSync(path.join(projectDirectory, "docs/engines.md"), "utf8");
const commands = [...document.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = ""]) => line);

/** What a command prints, as far as it says that the engine used cloche. */
const outputs: Readonly<Record<string, string>> = {
  "docker info --format '{{.Runtimes.cloche.Path}}'": "/usr/local/bin/cloche\n",
  "docker run --rm --runtime=cloche busybox echo hello": "hello\n",
  "ctr run --rm --runc-binary /usr/local/bin/cloche docker.io/library/busybox:latest c1 echo hello": "hello\n",
  "containerd config dump | grep runtimes.cloche": "runtimes.cloche]\n",
  "podman --runtime cloche run --rm busybox echo hello": "hello\n",
  "podman --runtime cloche run --rm busybox cat /proc/self/uid_map": "1879048192      65536\n",
  "podman --runtime cloche --runtime-flag isolation=oci run --rm busybox cat /proc/self/uid_map": "0 4294967295\n",
  "podman --runtime cloche info --format '{{.Host.OCIRuntime.Path}}'": "/usr/local/bin/cloche\n",
};

/** Runs a shell line inside, with the stand-ins before everything else. */
async function sh(nest: Nest, line: string, timeoutMs = 60_000) {
  const PATH = `${nest.path("bin")}:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin`;
  const script = `exec 2>&1; cd ${projectDirectory}; ${line}`;
  const { exitCode, stdout } = await nest.run(["bash", "-o", "pipefail", "-c", script], { env: { PATH }, timeoutMs });
  if (exitCode !== 0) throw new Error(`${line}: exit code ${exitCode}: ${stdout}`);
  return stdout;
}

function writeScript(nest: Nest, name: string, lines: string): void {
  mkdirSync(nest.path("bin"), { recursive: true });
  writeFileSync(nest.path("bin", name), `#!/bin/sh\n${lines}\n`);
  chmodSync(nest.path("bin", name), 0o755);
}

/** Directories that the commands write to, as copies of the nest's own; and the daemons' default paths with them. */
async function prepare(nest: Nest): Promise<void> {
  // An overlay cannot lie on another one, where /tmp may be: a tmpfs can.
  const lay = (directory: string) =>
    `mkdir -p /run/lay${directory}/u /run/lay${directory}/w &&
     mount -t overlay overlay -o lowerdir=${directory},upperdir=/run/lay${directory}/u,workdir=/run/lay${directory}/w ${directory}`;
  const emptied = ["docker", "containerd", "containers", "cloche"].map(
    (name) => `mkdir -p /var/lib/${name} && mount -t tmpfs tmpfs /var/lib/${name}`,
  );
  await sh(nest, [...["/etc", "/usr/local", "/var/lib"].map(lay), ...emptied].join(" && "));
  await sh(
    nest,
    "mkdir -p /etc/docker /etc/crio/crio.conf.d /etc/containers && rm -rf /etc/docker/* /etc/containers/containers.conf*",
  );
  await sh(
    nest,
    `echo '{ "debug": false }' > /etc/docker/daemon.json && printf 'version = 2\\n' > /etc/containerd/config.toml`,
  );
  await sh(
    nest,
    `[ -e /etc/containers/policy.json ] || echo '{"default":[{"type":"reject"}]}' > /etc/containers/policy.json`,
  );
  const { cgroupParent } = nest;
  // Restarting ends the daemon by its pid file; it is started again as below.
  writeScript(
    nest,
    "systemctl",
    `case "$1 $2" in
      "reload docker") exec kill -HUP "$(cat /run/docker.pid)" ;;
      "restart docker") kill "$(cat /run/docker.pid)"; rm -f /run/docker.pid; exec ${nest.path("bin/start-docker")} ;;
      "restart containerd") kill "$(cat /run/containerd.pid)"; exec ${nest.path("bin/start-containerd")} ;;
      "restart crio") ;;
      *) echo "unexpected: $*"; exit 1 ;;
    esac`,
  );
  writeScript(nest, "kubectl", `[ "$*" = "apply -f -" ] && grep '^handler: cloche$'`);
  writeScript(
    nest,
    "start-containerd",
    `${findProgram("containerd")} > ${nest.path("containerd.log")} 2>&1 & echo $! > /run/containerd.pid
     until ctr version > /dev/null 2>&1; do sleep 0.05; done`,
  );
  writeScript(
    nest,
    "start-docker",
    `${findProgram("dockerd")} --containerd=/run/containerd/containerd.sock --cgroup-parent=${cgroupParent} \\
       --bip=10.199.0.1/24 > ${nest.path("docker.log")} 2>&1 &
     until docker version > /dev/null 2>&1; do sleep 0.05; done`,
  );
  await sh(nest, "start-containerd");
  await sh(nest, "start-docker");
  const rootfs = makeRootfs(nest.makeDirectory("rootfs"));
  await sh(nest, `tar --create --directory ${rootfs} . | docker import - busybox`);
  await sh(nest, "docker save busybox | ctr images import -");
  await sh(nest, "docker save busybox | podman load");
  // The nest takes away the cgroups below its own parent.
  await sh(
    nest,
    `printf '[containers]\\nnetns = "none"\\ncgroups = "disabled"\\n[engine]\\ncgroup_manager = "cgroupfs"\\n' > /etc/containers/containers.conf`,
  );
}

afterAll(removeCtrCgroups);

it(
  "docs/engines.md: every command does what the page says",
  () =>
    withNest(async (nest) => {
      await prepare(nest);
      const files = "/etc/docker/daemon.json /etc/containerd/config.toml /etc/containers/containers.conf";
      const state = () => sh(nest, `cat ${files}; ls -A /etc/containers/containers.conf.d /var/lib/cloche || true`);
      const before = await state();
      for (const command of commands) {
        const output = await sh(nest, command, 300_000);
        expect(output).toContain(outputs[command] ?? "");
        if (command === "cloche install --dry-run") expect(await state()).toBe(before);
        if (command === "cloche install") expect(await state()).not.toBe(before);
        if (/^systemctl re\w+ docker$/.test(command)) await isReloaded(nest);
      }
      expect(await state()).toBe(before);
      expect(Object.keys(outputs).filter((command) => !commands.includes(command))).toEqual([]);
      expect(commands.length).toBeGreaterThan(12);
      const stanza = await sh(nest, "cat /etc/crio/crio.conf.d/99-cloche.conf");
      expect(Bun.TOML.parse(stanza)).toMatchObject({
        crio: { runtime: { runtimes: { cloche: { runtime_path: "/usr/local/bin/cloche", runtime_type: "oci" } } } },
      });
    }),
  180_000,
);

/** Removes the cgroup that ctr puts its containers into, where there is one that is empty: the kernel refuses any other. */
function removeCtrCgroups(): void {
  const hierarchies = ["/sys/fs/cgroup", ...readdirSync("/sys/fs/cgroup").map((name) => `/sys/fs/cgroup/${name}`)];
  for (const hierarchy of hierarchies) {
    try {
      rmdirSync(`${hierarchy}/default`);
    } catch {
      // In use, or not there.
    }
  }
}

/** docker takes a signal, and reads its file some time after. */
async function isReloaded(nest: Nest): Promise<void> {
  const wanted = (await sh(nest, "cat /etc/docker/daemon.json")).includes("cloche");
  const deadline = performance.now() + 10_000;
  for (;;) {
    const known = (await sh(nest, "docker info --format '{{json .Runtimes}}'")).includes("cloche");
    if (known === wanted) return;
    if (performance.now() > deadline) throw new Error("docker did not read its file again");
    await Bun.sleep(50);
  }
}
