/** Limits that docker sets: memory with its OOM killer, processor, processes; stats and update. */
import { expect } from "bun:test";
import { dockerSuite } from "./docker.ts";

const { same } = dockerSuite();

/** Prints the cgroup files that are there, of v1 or v2, by their names. */
const show = (...files: string[]) =>
  `cd /sys/fs/cgroup; for f in ${files.join(" ")}; do [ ! -e $f ] || echo "$f $(cat $f)"; done`;

const MEMORY = show("memory/memory.limit_in_bytes", "memory/memory.soft_limit_in_bytes", "memory.max", "memory.low");
const CPU = show(
  "cpu/cpu.cfs_quota_us",
  "cpu/cpu.cfs_period_us",
  "cpu/cpu.shares",
  "cpuset/cpuset.cpus",
  "cpu.max",
  "cpu.weight",
  "cpuset.cpus",
);
const PIDS = show("pids/pids.max", "pids.max");

same("--memory, --memory-reservation: the limits in the cgroup", async (side) => {
  const text = await side.sh(MEMORY, "--memory=64m", "--memory-reservation=32m");
  expect(text).toContain("67108864");
  return text;
});

same("--memory: the OOM killer's victim is reported", async (side) => {
  const name = await side.start(["--memory=20m", "--init=false"], ["tail", "/dev/zero"]);
  expect(await side.ok("wait", name)).toBe("137");
  expect(await side.inspect(name, ".State.OOMKilled")).toBe("true");
  await side.ok("start", name);
  expect(await side.ok("wait", name)).toBe("137");
  return await side.inspect(name, ".State.OOMKilled");
});

same("--memory: a child that the OOM killer ended, when the program goes on", async (side) => {
  // containerd watches for it only once the program has been started, and may hear of it after an end that comes at once.
  const script = "sleep 1; tail /dev/zero; echo code $?; sleep 1; exit 5";
  const name = await side.start(["--memory=20m", "--init=false"], ["sh", "-c", script]);
  expect(await side.ok("wait", name)).toBe("5");
  expect(await side.ok("logs", name)).toContain("code 137");
  return await side.inspect(name, ".State.OOMKilled");
});

same("--memory: no OOM is reported where there was none", async (side) => {
  const name = await side.start(["--memory=20m"], ["sh", "-c", "kill -9 $$"]);
  expect(await side.ok("wait", name)).toBe("137");
  expect(await side.inspect(name, ".State.OOMKilled")).toBe("false");
});

same("--memory: 6 MiB, docker's least, is enough to run and to exec", async (side) => {
  const name = await side.start(["--memory=6m"]);
  const results = [];
  for (let i = 0; i < 5; i++) results.push((await side.cli("exec", name, "echo", "ok")).stdout);
  expect(results).toEqual(Array.from({ length: 5 }, () => "ok\n"));
});

same("--cpus, --cpu-shares, --cpuset-cpus: the limits in the cgroup", (side) =>
  side.sh(CPU, "--cpus=0.5", "--cpu-shares=512", "--cpuset-cpus=0"),
);

same("--pids-limit: no more processes than that", async (side) => {
  const script = `${PIDS}; for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>&1; echo after`;
  const { exitCode, stdout, stderr } = await side.run(["--pids-limit=5", "--init=false"], ["sh", "-c", script]);
  expect(stdout + stderr).toContain("can't fork");
  return [exitCode, stdout.split("\n")[0]];
});

same("--pids-limit 1: a program alone", (side) => side.sh("echo $$", "--pids-limit=1", "--init=false"));

same(
  "--blkio-weight, --kernel-memory, --memory-swappiness, --oom-kill-disable: taken or refused alike",
  async (side) => {
    const flags = [
      "--blkio-weight=300",
      "--kernel-memory=50m",
      "--memory-swappiness=10",
      "--oom-kill-disable",
      "--cpu-rt-runtime=1000",
    ];
    const results = await Promise.all(flags.map((flag) => side.run(["--memory=50m", flag], ["true"])));
    return results.map(({ exitCode, stdout }) => [exitCode, stdout]);
  },
);

same("--device-read-bps, --device-write-iops, --blkio-weight-device: taken or refused alike", async (side) => {
  const disk = (
    await side.docker.nest.ok([
      "sh",
      "-c",
      "ls /sys/block | grep -vE '^(loop|zram)' | while read -r d; do [ ! -b /dev/$d ] || echo $d; done | head -n 1",
    ])
  ).trim();
  const script = show("blkio/blkio.throttle.read_bps_device", "blkio/blkio.throttle.write_iops_device", "io.max");
  const results = await Promise.all([
    side.run([`--device-read-bps=/dev/${disk}:1mb`, `--device-write-iops=/dev/${disk}:77`], ["sh", "-c", script]),
    side.run([`--blkio-weight-device=/dev/${disk}:300`], ["true"]),
  ]);
  return results.map(({ exitCode, stdout }) => [exitCode, stdout]);
});

same("events: of a container that the OOM killer ended", async (side) => {
  const since = Math.floor(Date.now() / 1000) - 1;
  const name = await side.start(["--memory=20m", "--init=false"], ["sh", "-c", "true; tail /dev/zero; exit 4"]);
  expect(await side.ok("wait", name)).toBe("4");
  const until = Math.ceil(Date.now() / 1000) + 1;
  const filter = ["--filter", `container=${name}`, "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}"];
  const events = (await side.ok("events", "--since", String(since), "--until", String(until), ...filter)).split("\n");
  expect(events.map((event) => event.split(" ")[0])).toEqual(["create", "start", "oom", "die"]);
  return events;
});

same("update: memory, processor and processes of a running container", async (side) => {
  const name = await side.start(["--memory=64m", "--memory-swap=64m"]);
  await side.ok(
    "update",
    "--memory=48m",
    "--memory-swap=48m",
    "--cpus=0.25",
    "--pids-limit=33",
    "--cpuset-cpus=0",
    name,
  );
  const after = await side.ok("exec", name, "sh", "-c", `${MEMORY}; ${CPU}; ${PIDS}`);
  expect(after).toContain("50331648");
  expect(after).toContain("33");
  const refused = await side.cli("update", "--memory=1m", name);
  return [after, refused.exitCode];
});

same("update --restart: of a running container", async (side) => {
  const name = await side.start();
  await side.ok("update", "--restart=on-failure:3", name);
  return await side.inspect(name, ".HostConfig.RestartPolicy.MaximumRetryCount");
});

same("stats: what the container uses and its limit", async (side) => {
  const name = await side.start(["--memory=64m"], ["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
  const format = "{{.Name}}|{{.MemUsage}}|{{.PIDs}}|{{.CPUPerc}}";
  const text = await side.ok("stats", "--no-stream", "--format", format, name);
  expect(text).toMatch(new RegExp(`^${name}\\|[\\d.]+[KM]iB / 64MiB\\|4\\|[\\d.]+%$`));
});
