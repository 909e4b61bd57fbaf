/** dockerd with --userns-remap: root in the container is somebody else on the host. */
import { expect } from "bun:test";
import { chmodSync, chownSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { byDesign, type Change, confinement, ownInSandbox } from "./by-design.ts";
import { dockerSuite, FOLLOW_SIZE, IMAGE } from "./docker.ts";

/** The host's id of the containers' root. */
const FIRST_ID = 300_000;

const { same } = dockerSuite(["--userns-remap=nobody:nogroup"], async (nest) => {
  for (const file of ["subuid", "subgid"]) {
    writeFileSync(nest.path(file), `nobody:${FIRST_ID}:65536\nnogroup:${FIRST_ID}:65536\n`);
    await nest.ok(["mount", "--bind", nest.path(file), `/etc/${file}`]);
  }
});

/** With ids of config.json's own nothing is id-mapped. */
const closedRoot: Change = (text) => text.replace(/^\/ rw,relatime$/m, "/ rw,nosuid,nodev,relatime");

same("userns-remap: maps, ids, capabilities, mounts and devices inside", async (side) => {
  const text = await side.sh(
    "cat /proc/self/uid_map /proc/self/gid_map; id; grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status; stat -c '%n %u %g %a' / /etc/passwd /dev /dev/null /dev/pts /dev/shm /dev/mqueue /proc/1 /sys; touch /made && stat -c %u /made; cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^/(dev|sys|proc)? ' | sort",
  );
  // Root's group owns message queues with cloche, nobody's with runc 1.1.
  const alike = text.replace(/^(\/dev\/mqueue 0) \d+ /m, "$1 ");
  return byDesign(side.runtime, alike, confinement, closedRoot);
});

same("userns-remap: root inside is the mapped id on the host, which may not touch what is the host's", async (side) => {
  const at = side.docker.nest.makeDirectory(`remap-${side.name()}`);
  chmodSync(at, 0o755);
  writeFileSync(path.join(at, "root-owned"), "x", { mode: 0o600 });
  const own = side.docker.nest.makeDirectory(`own-${side.name()}`);
  chownSync(own, FIRST_ID, FIRST_ID);
  const text = await side.sh(
    "cat /data/root-owned; stat -c %u /data/root-owned; echo y > /own/file; chown 5:6 /own/file; true",
    `-v=${at}:/data`,
    `-v=${own}:/own`,
  );
  const { uid, gid } = statSync(path.join(own, "file"));
  expect([uid, gid]).toEqual([FIRST_ID + 5, FIRST_ID + 6]);
  expect(text).toContain("Permission denied");
  return text;
});

same("userns-remap: exit codes, errors, terminals, exec, users", async (side) => {
  const name = await side.start(["--user=1000"]);
  const codes = await Promise.all([
    side.run([], ["sh", "-c", "exit 42"]),
    side.run([], ["nope"]),
    side.run([], ["/etc/passwd"]),
    side.cli("exec", name, "sh", "-c", "exit 43"),
  ]);
  const users = [await side.ok("exec", name, "id"), await side.ok("exec", "-u", "0", name, "id")];
  const flags = ["--rm", "-it", `--name=${side.name()}`, "--network=none", IMAGE];
  const terminal = side.terminal(side.runArgs([...flags, "sh", "-c", FOLLOW_SIZE]), 33, 77);
  await terminal.shows("it was 33 77");
  terminal.resize(40, 111);
  await terminal.shows("it is 40 111");
  terminal.type("7\n");
  return [codes.map(({ exitCode }) => exitCode), users, await terminal.close()];
});

same("userns-remap: limits, tmpfs, read-only, devices, sysctls, no-new-privileges", (side) =>
  side.sh(
    "stat -c '%u %a' /t; touch /x; ls -l /dev/fuse | tr -s ' ' | cut -d' ' -f1,3-6; cat /proc/sys/net/ipv4/ip_forward; grep NoNew /proc/self/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    ...["--memory=64m", "--tmpfs=/t", "--read-only", "--device=/dev/fuse", "--sysctl=net.ipv4.ip_forward=1"],
    "--security-opt=no-new-privileges",
  ),
);

same("userns-remap: ports, cp, commit, pause, networks of other containers", async (side) => {
  const name = side.name();
  const serve = "mkdir /www; echo served > /www/i; exec httpd -f -p 80 -h /www";
  await side.docker.ok(side.runArgs(["--detach", `--name=${name}`, "--init", IMAGE, "sh", "-c", serve]));
  const page = side.runArgs(["--rm", `--name=${side.name()}`, `--network=container:${name}`, IMAGE]);
  const fetching = "for i in $(seq 50); do wget -q -O - http://127.0.0.1/i && exit; sleep 0.1; done; exit 1";
  expect(await side.docker.ok([...page, "sh", "-c", fetching])).toBe("served");
  await side.ok("pause", name);
  await side.ok("unpause", name);
  await side.ok("cp", `${name}:/www/i`, side.docker.nest.path(`i-${name}`));
  await side.ok("cp", side.docker.nest.path(`i-${name}`), `${name}:/root/i`);
  return await side.ok("exec", name, "stat", "-c", "%u", "/root/i");
});

same("--userns=host: none, for one container; --pid=host and --privileged only with it", async (side) => {
  const map = await side.sh("cat /proc/self/uid_map", "--userns=host");
  const refused = await Promise.all([
    side.run(["--pid=host"], ["true"]),
    side.run(["--privileged"], ["true"]),
    side.run(["--network=host"], ["true"]),
  ]);
  // A sandbox is in one all the same, of its own.
  const own = ownInSandbox(side.runtime, map, () => expect(map).toMatch(/^\s*0\s+[1-9]\d{4,}\s+65536\n$/));
  return [own, refused.map(({ exitCode }) => exitCode)];
});
