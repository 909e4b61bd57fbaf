/** What confines a container under docker: capabilities, seccomp, no_new_privs, masked files, privileged ones without. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { dockerSuite } from "./docker.ts";

const { same } = dockerSuite();

const STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status";

same("capabilities: the default set, added, dropped, all and none, of other users", async (side) => {
  const texts = await Promise.all([
    side.sh(STATUS),
    side.sh(STATUS, "--cap-add=NET_ADMIN", "--cap-add=SYS_TIME"),
    side.sh(STATUS, "--cap-drop=CHOWN"),
    side.sh(STATUS, "--cap-drop=ALL"),
    side.sh(STATUS, "--cap-drop=ALL", "--cap-add=CHOWN"),
    side.sh(STATUS, "--user=1000"),
    side.sh(STATUS, "--user=1000", "--cap-add=NET_ADMIN"),
  ]);
  return texts;
});

same("capabilities: what they are needed for works with and fails without", async (side) => {
  const script =
    "touch /a; chown 5 /a && echo chown; hostname x && echo hostname; ip link set lo down && echo net; mount -t tmpfs none /tmp && echo mount; true";
  return await Promise.all([
    side.sh(script),
    side.sh(script, "--cap-drop=CHOWN"),
    side.sh(script, "--cap-add=NET_ADMIN"),
    side.sh(script, "--cap-add=SYS_ADMIN"),
  ]);
});

same("--cap-add ALL and unknown ones: taken or refused alike", async (side) => {
  const results = await Promise.all([
    side.run(["--cap-add=ALL"], ["sh", "-c", STATUS]),
    side.run(["--cap-add=SYS_RESOURCE"], ["sh", "-c", STATUS]),
    side.run(["--cap-add=NOPE"], ["true"]),
  ]);
  return results.map(({ exitCode, stdout }) => [exitCode, stdout]);
});

same("--privileged: what the daemon itself may", async (side) => {
  const script = `${STATUS}; ls /dev | wc -l; [ -w /sys/kernel ] && echo sys; mount -t tmpfs none /tmp && echo mount; wc -l < /proc/keys; unshare -n true && echo unshare`;
  const dropping = await side.run(["--privileged"], ["sh", "-c", script]);
  return [dropping.exitCode, dropping.stdout];
});

same("--privileged without the capability that the machine lacks", async (side) => {
  const script = `${STATUS}; ls /dev | sort | head -n 50; grep -c ' /sys/fs/cgroup' /proc/self/mountinfo; mount -t tmpfs none /tmp && echo mount; cut -d' ' -f5,6 /proc/self/mountinfo | sort`;
  return await side
    .run(["--privileged", "--cap-drop=SYS_RESOURCE"], ["sh", "-c", script])
    .then(({ exitCode, stdout }) => [exitCode, stdout]);
});

same("seccomp: the default profile, none, one of the user's", async (side) => {
  const script = `${STATUS}; unshare -U true && echo user; mkdir /d && echo mkdir; true`;
  const profile = side.docker.nest.path(`profile-${side.name()}.json`);
  const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 38 };
  writeFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] }));
  const texts = await Promise.all([
    side.sh(script),
    side.sh(script, "--security-opt=seccomp=unconfined"),
    side.sh(script, `--security-opt=seccomp=${profile}`),
  ]);
  expect(texts[0]).not.toContain("user\n");
  expect(texts[2]).toContain("Function not implemented");
  return texts;
});

same("seccomp: a profile that kills, and one that nothing could be run under", async (side) => {
  const profile = (name: string, content: unknown) => {
    const file = side.docker.nest.path(`${name}-${side.name()}.json`);
    writeFileSync(file, JSON.stringify(content));
    return `--security-opt=seccomp=${file}`;
  };
  const killing = { names: ["mkdir"], action: "SCMP_ACT_KILL_PROCESS" };
  const killed = await side.run(
    [profile("kill", { defaultAction: "SCMP_ACT_ALLOW", syscalls: [killing] }), "--init=false"],
    ["mkdir", "/d"],
  );
  const unknown = { names: ["no_such_call", "mkdir"], action: "SCMP_ACT_ERRNO" };
  const skipped = await side.run(
    [profile("unknown", { defaultAction: "SCMP_ACT_ALLOW", syscalls: [unknown] })],
    ["mkdir", "/d"],
  );
  return [killed.exitCode, skipped.exitCode, skipped.stderr];
});

same("no-new-privileges: a set-user-ID program gives nothing", async (side) => {
  const name = await side.start([]);
  // Not busybox, which gives up by itself what it was given.
  await side.ok("cp", "--follow-link", "/usr/bin/tini-static", `${name}:/bin/mine`);
  await side.ok("exec", name, "chmod", "4755", "/bin/mine");
  const image = `suid-${name}`;
  await side.ok("commit", name, image);
  try {
    const program = ["/bin/mine", "-s", "--", "grep", "-E", "^(Uid|NoNewPrivs)", "/proc/1/status"];
    const run = (...flags: string[]) => {
      const common = ["--rm", `--name=${side.name()}`, "--network=none", "--user=1000"];
      return side.docker.ok(side.runArgs([...common, ...flags, image, ...program]));
    };
    const [plain, confined] = await Promise.all([run(), run("--security-opt=no-new-privileges")]);
    expect(plain).toContain("Uid:\t1000\t0\t0\t0");
    expect(confined).toContain("Uid:\t1000\t1000\t1000\t1000");
    return [plain, confined];
  } finally {
    await side.cli("rmi", "--force", image);
  }
});

same("no-new-privileges: in exec too", async (side) => {
  const name = await side.start(["--security-opt=no-new-privileges"]);
  return await side.ok("exec", name, "sh", "-c", STATUS);
});

same("systempaths=unconfined: nothing is masked or read-only", (side) =>
  side.sh(
    "echo x > /proc/sys/kernel/domainname; cat /proc/sys/kernel/domainname; grep -c ' /proc/' /proc/self/mountinfo; true",
    "--security-opt=systempaths=unconfined",
  ),
);

same("apparmor and label options: taken or refused alike", async (side) => {
  const flags = ["--security-opt=apparmor=unconfined", "--security-opt=label=disable", "--security-opt=nope=1"];
  const results = await Promise.all(flags.map((flag) => side.run([flag], ["true"])));
  return results.map(({ exitCode }) => exitCode);
});

same("a container does not see the host's mounts, environment and descriptors", (side) =>
  side.sh(
    "ls -l /proc/self/fd | wc -l; ls /proc/self/fd; env | cut -d= -f1 | sort; wc -l < /proc/self/mountinfo; cat /proc/1/comm",
  ),
);
