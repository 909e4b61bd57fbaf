/** What confines a container under docker: capabilities, seccomp, no_new_privs, masked files, privileged ones without. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { byDesign, type Change, confinement, ownInSandbox } from "./by-design.ts";
import { dockerSuite } from "./docker.ts";

const { same } = dockerSuite();

/** As many as the daemon knows. */
const ALL_CAPABILITIES = /^CapEff:\t0{5,6}(3|1f)f{9}$/m;

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
  return texts.map((text) => byDesign(side.runtime, text, confinement));
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
  const [all, resource, unknown] = results.map(({ exitCode, stdout }) => [exitCode, stdout]);
  // In a user namespace of one's own everything can be had, also what the machine lacks.
  const own = ownInSandbox(side.runtime, [all, resource], () => {
    expect(all).toEqual([0, expect.stringMatching(ALL_CAPABILITIES)]);
    expect(resource).toEqual([0, expect.stringContaining("CapEff:\t00000000a90425fb\n")]);
  });
  return [own, unknown];
});

same("--privileged: what the daemon itself may", async (side) => {
  const script = `${STATUS}; ls /dev | wc -l; [ -w /sys/kernel ] && echo sys; mount -t tmpfs none /tmp && echo mount; wc -l < /proc/keys; unshare -n true && echo unshare`;
  const dropping = await side.run(["--privileged"], ["sh", "-c", script]);
  const { exitCode, stdout } = dropping;
  return ownInSandbox(side.runtime, [exitCode, stdout], () => {
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(ALL_CAPABILITIES);
    expect(stdout).toContain("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n");
    expect(stdout).toContain("\nmount\n");
    expect(stdout).toEndWith("\nunshare\n");
  });
});

same("--privileged without the capability that the machine lacks", async (side) => {
  const script = `${STATUS}; ls /dev | sort | head -n 50; grep -c ' /sys/fs/cgroup' /proc/self/mountinfo; mount -t tmpfs none /tmp && echo mount; cut -d' ' -f5,6 /proc/self/mountinfo | sort`;
  const { exitCode, stdout } = await side.run(["--privileged", "--cap-drop=SYS_RESOURCE"], ["sh", "-c", script]);
  return ownInSandbox(side.runtime, [exitCode, stdout], () => {
    expect(exitCode).toBe(0);
    expect(stdout).toContain("\nmount\n");
    expect(stdout).toContain("\n/ rw,nosuid,nodev,relatime,idmapped\n/dev rw,nosuid,nodev\n");
    // Of the machine's devices those that everybody may open: no memory, no disks.
    expect(stdout).toContain("\nnull\n");
    expect(stdout).not.toMatch(/^(mem|kvm|loop0|vda|sda)$/m);
  });
});

/** The baseline filter refuses them, whatever the profile; what is said on stderr comes after stdout. */
const noUserNamespaces: Change = (text) =>
  text.replace(/^user\n((?:mkdir\n)?)/m, "$1unshare: unshare(0x10000000): Operation not permitted\n");

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
  return texts.map((text) => byDesign(side.runtime, text, confinement, noUserNamespaces));
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
    expect(confined).toContain("Uid:\t1000\t1000\t1000\t1000");
    // A sandbox is confined like that without the option.
    return [byDesign(side.runtime, plain, () => confined), confined];
  } finally {
    await side.cli("rmi", "--force", image);
  }
});

same("no-new-privileges: in exec too", async (side) => {
  const name = await side.start(["--security-opt=no-new-privileges"]);
  return byDesign(side.runtime, await side.ok("exec", name, "sh", "-c", STATUS), confinement);
});

same("systempaths=unconfined: nothing is masked or read-only", async (side) => {
  const text = await side.sh(
    "echo x > /proc/sys/kernel/domainname; cat /proc/sys/kernel/domainname; grep -c ' /proc/' /proc/self/mountinfo; true",
    "--security-opt=systempaths=unconfined",
  );
  // The file is root's of the host, of which there is none in a sandbox.
  return ownInSandbox(side.runtime, text, () => {
    expect(text).toMatch(/\n0\nsh: can't create \/proc\/sys\/kernel\/domainname: Permission denied\n$/);
  });
});

same("apparmor and label options: taken or refused alike", async (side) => {
  const flags = ["--security-opt=apparmor=unconfined", "--security-opt=label=disable", "--security-opt=nope=1"];
  const results = await Promise.all(flags.map((flag) => side.run([flag], ["true"])));
  return results.map(({ exitCode }) => exitCode);
});

same("a container does not see the host's mounts, environment and descriptors", async (side) => {
  const text = await side.sh(
    "ls -l /proc/self/fd | wc -l; ls /proc/self/fd; env | cut -d= -f1 | sort; wc -l < /proc/self/mountinfo; cat /proc/1/comm",
  );
  // The six nodes of /dev are mounts of their own.
  const withDevices: Change = (all) => all.replace(/^(SHLVL\n)(\d+)$/m, (_line, name, n) => `${name}${Number(n) + 6}`);
  return byDesign(side.runtime, text, withDevices);
});
