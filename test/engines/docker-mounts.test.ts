/** File systems under docker: volumes, tmpfs, read-only roots, devices, propagation. */
import { expect } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { byDesign, type Change, closedMounts, isSandbox, ownInSandbox } from "./by-design.ts";
import { dockerSuite, type Side } from "./docker.ts";

const { same } = dockerSuite();

/** A directory on the host with a file in it. */
function hostDirectory(side: Side): string {
  const directory = side.docker.nest.makeDirectory(`host-${side.name()}`);
  chmodSync(directory, 0o755);
  writeFileSync(path.join(directory, "file"), "from the host\n");
  return directory;
}

const mountLine = (target: string) => `cut -d' ' -f5,6 /proc/self/mountinfo | grep '^${target} '`;

same("-v: read-write, read-only, one file, what is missing is made", async (side) => {
  const at = hostDirectory(side);
  const script = `cat /rw/file; echo written > /rw/new; cat /ro/file; echo x > /ro/new; cat /one; echo more >> /one; ls /made
    for t in /rw /ro /one /made; do ${mountLine("$t").replaceAll("'", '"')}; done`;
  const text = await side.sh(script, `-v=${at}:/rw`, `-v=${at}:/ro:ro`, `-v=${at}/file:/one`, `-v=${at}/missing:/made`);
  expect(text).toContain("Read-only file system");
  expect(readFileSync(path.join(at, "file"), "utf8")).toBe("from the host\nmore\n");
  expect(readFileSync(path.join(at, "new"), "utf8")).toBe("written\n");
  return byDesign(side.runtime, text, closedMounts("/rw", "/ro", "/one", "/made"));
});

same("-v: over a directory and a link of the image, nested, below /dev and at a file's place", async (side) => {
  const at = hostDirectory(side);
  const script =
    "cat /etc/file /a/b/c/file /dev/shm/x/file /var/run/y/file; ls -d /a /a/b; cat /etc2/passwd | head -n 1";
  return await side.sh(
    script,
    ...["/etc", "/a/b/c", "/dev/shm/x", "/var/run/y"].map((target) => `-v=${at}:${target}`),
    `-v=${at}/file:/etc2/passwd`,
  );
});

same("-v: a directory onto a file is refused", async (side) => {
  const at = hostDirectory(side);
  const { exitCode, stdout, stderr } = await side.run([`-v=${at}:/etc/passwd`], ["true"]);
  expect(stderr).toContain("not a directory");
  return [exitCode, stdout];
});

same("-v: propagation of mounts made on the host later, by mode", async (side) => {
  const at = side.docker.nest.makeDirectory(`shared-${side.name()}`);
  await side.docker.nest.ok([
    "sh",
    "-c",
    `mount --bind ${at} ${at} && mount --make-shared ${at} && mkdir ${at}/p ${at}/q`,
  ]);
  const flags = ["rslave", "rshared", "rprivate"].map((mode) => `-v=${at}:/${mode}:${mode}`);
  const name = await side.start(["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined", ...flags]);
  await side.docker.nest.ok(["sh", "-c", `mount -t tmpfs tmpfs ${at}/p && echo seen > ${at}/p/file`]);
  const inside = await side.ok("exec", name, "sh", "-c", "cat /rslave/p/file /rshared/p/file; ls /rprivate/p");
  expect(inside).toBe("seen\nseen");
  await side.ok("exec", name, "mount", "-t", "tmpfs", "tmpfs", "/rshared/q");
  const { stdout: outside } = await side.docker.nest.run(["grep", "-c", `${at}/q`, "/proc/self/mountinfo"]);
  await side.ok("rm", "--force", name);
  // What a sandbox mounts stays in it.
  const isOutside = !isSandbox(side.runtime);
  expect(outside).toBe(isOutside ? "1\n" : "0\n");
  await side.docker.nest.ok(["umount", `${at}/p`, ...(isOutside ? [`${at}/q`] : []), at]);
});

same("-v ro: what is mounted below it on the host, with and without recursion", async (side) => {
  const at = side.docker.nest.makeDirectory(`nested-${side.name()}`);
  const script = `mkdir ${at}/sub && mount -t tmpfs tmpfs ${at}/sub && echo below > ${at}/sub/file && chmod 777 ${at}/sub`;
  await side.docker.nest.ok(["sh", "-c", script]);
  try {
    const text = await side.sh(
      `cat /all/sub/file; touch /all/x; touch /all/sub/x && echo writable; ls /one/sub; touch /one/x; ${mountLine("/all/sub")}`,
      `-v=${at}:/all:ro`,
      `--mount=type=bind,source=${at},target=/one,bind-nonrecursive`,
    );
    return byDesign(side.runtime, text, closedMounts("/all/sub"));
  } finally {
    await side.docker.nest.ok(["umount", `${at}/sub`]);
  }
});

same("-v rshared: of a mount that is not shared is refused", async (side) => {
  const at = hostDirectory(side);
  const { exitCode, stderr } = await side.run([`-v=${at}:/data:rshared`], ["true"]);
  expect(stderr).toContain("is not a shared mount");
  return exitCode;
});

same("--mount: bind with options, tmpfs with size and mode, volume without copying", async (side) => {
  const at = hostDirectory(side);
  const text = await side.sh(
    `cat /b/file; stat -c %a /t; df -k /t | tail -n 1 | tr -s ' ' | cut -d' ' -f2; ls /etc | wc -l; ${mountLine("/b")}; ${mountLine("/t")}`,
    `--mount=type=bind,source=${at},target=/b,readonly,bind-propagation=private`,
    "--mount=type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=1770",
    "--mount=type=volume,target=/etc,volume-nocopy",
  );
  return byDesign(side.runtime, text, closedMounts("/b"));
});

same("named volumes: filled from the image, kept, shared by --volumes-from", async (side) => {
  const volume = `v${side.name()}`;
  try {
    const first = await side.sh("ls /etc; echo kept > /etc/kept", `-v=${volume}:/etc`);
    const name = await side.start([`-v=${volume}:/data`]);
    const shared = await side.sh("cat /data/kept; touch /data/both", `--volumes-from=${name}`);
    const readOnly = await side.run([`--volumes-from=${name}:ro`], ["touch", "/data/third"]);
    const seen = await side.ok("exec", name, "ls", "/data");
    await side.ok("rm", "--force", name);
    return [first, shared, readOnly.exitCode, readOnly.stderr, seen];
  } finally {
    await side.cli("volume", "rm", volume);
  }
});

same("--tmpfs: options, and a copy of nothing", (side) =>
  side.sh(
    `${mountLine("/t")}; ${mountLine("/etc")}; stat -c '%a %u' /t; ls /etc; df -k /t | tail -n 1 | tr -s ' ' | cut -d' ' -f2; cp /bin/true /t; /t/true || echo noexec`,
    "--tmpfs=/t:size=2m,uid=5,mode=0750",
    "--tmpfs=/etc:ro,exec",
  ),
);

same("--read-only: the root, not what is mounted on it", async (side) => {
  const at = hostDirectory(side);
  const script = `touch /new; touch /tmp/a /data/b /dev/shm/c && echo written; ${mountLine("/")}; touch /etc/hosts; true`;
  const text = await side.sh(script, "--read-only", "--tmpfs=/tmp", `-v=${at}:/data`);
  return byDesign(side.runtime, text, closedMounts("/"));
});

/** The host's nodes of the usual devices are bound, as nobody can make any; the rest of /dev takes none. */
const ownDevices: Change = (text) => {
  const [size = "", ...mounts] = text.trimEnd().split("\n");
  const nodes = ["full", "null", "random", "tty", "urandom", "zero"].map((name) => `/dev/${name}`);
  const all = [...mounts.map((line) => line.replace(/^\/dev rw,nosuid$/, "$&,nodev")), ...nodes].sort();
  return `${[size, ...all].join("\n")}\n`;
};

same("--shm-size, and the usual mounts with their options", async (side) => {
  const text = await side.sh(
    "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2; cut -d' ' -f5,6 /proc/self/mountinfo | grep -vE '^/etc' | sort",
    "--shm-size=3m",
  );
  // cloche gives masks and the directory of cgroups the options that the other mounts of their kind have.
  const stricter = /^(\/proc\/acpi|\/proc\/keys|\/proc\/timer_list|\/sys\/firmware|\/sys\/fs\/cgroup) .*$/gm;
  if (side.runtime === "cloche")
    expect(text.match(stricter)?.filter((line) => !line.includes(" ro,nosuid,"))).toEqual([]);
  // The nodes have the options of the host's /dev.
  const alike = text.replaceAll(stricter, "$1").replaceAll(/^(\/dev\/(?:full|null|u?random|tty|zero)) .*$/gm, "$1");
  return byDesign(side.runtime, alike, closedMounts("/"), ownDevices);
});

same("the usual devices, links and masked files", async (side) => {
  const devices = "ls -l /dev | tr -s ' ' | cut -d' ' -f1,3,4,5,9-";
  const masked =
    "stat -c '%n %F' /proc/keys /proc/timer_list /proc/acpi /sys/firmware; wc -c < /proc/keys; ls -A /proc/acpi /sys/firmware";
  const refused = "touch /sys/firmware/x; touch /proc/acpi/x; echo x > /proc/sys/kernel/domainname";
  const text = await side.sh(`${devices}; ${masked}; ${refused}; true`);
  const owner = isSandbox(side.runtime) ? "nobody nobody" : "root root";
  expect(text).toContain(`crw-rw-rw- ${owner} 1,`);
  const nobodys = (all: string) => all.replaceAll("crw-rw-rw- root root", "crw-rw-rw- nobody nobody");
  return byDesign(side.runtime, text.replaceAll(/\d\d:\d\d/g, "TIME"), nobodys);
});

same("--device: made with its rights, others refused, --device-cgroup-rule", async (side) => {
  const script = `ls -l /dev/mine /dev/readable | tr -s ' ' | cut -d' ' -f1,3-6,10; head -c 1 /dev/mine | wc -c
    true < /dev/readable && echo opened; true > /dev/readable; mknod /dev/mem2 c 1 1; head -c 1 /dev/mem2; true`;
  const text = await side.sh(script, "--device=/dev/zero:/dev/mine", "--device=/dev/fuse:/dev/readable:r");
  const blocked = await side.sh("mknod /dev/k c 10 229; true < /dev/k && echo opened; true");
  const allowed = await side.sh(
    "mknod /dev/k c 10 229; true < /dev/k && echo opened; true",
    "--device-cgroup-rule=c 10:229 rw",
  );
  const isOpen = (statSync("/dev/fuse").mode & 0o006) !== 0;
  // In a sandbox nobody makes devices, and of the host's there are those that everybody may open.
  if (isOpen || !isSandbox(side.runtime)) expect(text).toContain("opened");
  return ownInSandbox(side.runtime, [text, blocked, allowed], (texts) => {
    expect(text).toStartWith("crw-rw-rw- nobody nobody 1, 5 /dev/mine\n");
    if (!isOpen) expect(text).toContain("ls: /dev/readable: No such file or directory");
    expect(text).toContain("mknod: /dev/mem2: Operation not permitted");
    for (const one of texts) expect(one).not.toContain(isOpen ? "mem2\n" : "opened");
    for (const one of [blocked, allowed]) expect(one).toStartWith("mknod: /dev/k: Operation not permitted");
  });
});

same("a whole directory of devices: --device of a directory", async (side) => {
  const at = path.join(side.docker.nest.makeDirectory(`dev-${side.name()}`), "d");
  mkdirSync(at);
  await side.docker.nest.ok(["sh", "-c", `mknod ${at}/a c 1 3; mknod ${at}/b c 1 5`]);
  return await side.sh("ls /dev/mine; head -c 2 /dev/mine/b | wc -c", `--device=${at}:/dev/mine`);
});

same("-w: below a volume that hides the image's directory", async (side) => {
  const at = hostDirectory(side);
  return await side.sh("pwd; ls; stat -c %u .", `-v=${at}:/place`, "-w", "/place/new/dir");
});

same("a hundred volumes", async (side) => {
  const at = hostDirectory(side);
  const flags = Array.from({ length: 100 }, (_, i) => `-v=${at}:/many/${i}`);
  expect(await side.sh("cat /many/*/file | wc -l", ...flags)).toBe("100\n");
});
