/**
 * Targets of mounts, devices, masks and terminals, when the image or another container that writes to the same files has put
 * links there, or does so while the container is made: CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565,
 * CVE-2026-41579 and CVE-2026-47766 (/dev a link), CVE-2026-88264 (/dev/console), CVE-2026-88265 (/dev/null for stdio).
 */
import { expect } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { listenForConsole } from "../helpers/console.ts";
import { installFixture } from "../helpers/fixture-program.ts";
import { requires } from "../helpers/requires.ts";
import { killChild, type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itCloche = requires("root", "busybox", "cloche");
const itRace = requires("root", "busybox", "gcc");

const ROUNDS = 40;

/** A directory of the host's that must stay as it is: everything in it, with modes and owners, as text. */
function makeHostDirectory(runtime: Runtime): { directory: string; look(): string } {
  const directory = path.join(runtime.directory, "host");
  mkdirSync(path.join(directory, "inner"), { recursive: true });
  for (const name of ["secret", "null", "console", "inner/secret"]) {
    writeFileSync(path.join(directory, name), "of the host", { mode: 0o600 });
  }
  const look = () =>
    readdirSync(directory, { recursive: true })
      .map((name) => {
        const { mode, uid, gid, size } = lstatSync(path.join(directory, String(name)));
        return `${name} ${mode.toString(8)} ${uid}:${gid} ${size}`;
      })
      .toSorted()
      .join("\n");
  return { directory, look };
}

/** Swaps two names for as long as `body` runs. */
async function whileExchanging(runtime: Runtime, a: string, b: string, body: () => unknown): Promise<void> {
  installFixture("hostile", runtime.directory);
  const attacker: ChildProcess = spawn(path.join(runtime.directory, "hostile"), ["exchange", a, b], {
    stdio: "ignore",
  });
  try {
    await body();
  } finally {
    await killChild(attacker);
  }
}

itRace(
  "CVE-2021-30465: a mount whose target is exchanged with a link to the host's root lands in the container or nowhere",
  () =>
    withRuntime(async (runtime) => {
      const host = makeHostDirectory(runtime);
      const before = host.look();
      const volume = path.join(runtime.directory, "volume");
      mkdirSync(path.join(volume, "real/inner"), { recursive: true });
      symlinkSync(host.directory, path.join(volume, "link"));
      const source = path.join(runtime.directory, "source");
      mkdirSync(source);
      writeFileSync(path.join(source, "marker"), "");
      const bundle = runtime.bundle((spec) => {
        spec.process.args = ["sh", "-c", "ls /volume/real/inner/ /volume/link/inner/ 2> /dev/null; true"];
        spec.mounts.push({ destination: "/volume", type: "bind", source: volume, options: ["rbind", "rw"] });
        spec.mounts.push({ destination: "/volume/real/inner", type: "bind", source, options: ["rbind", "rw"] });
      });
      let worked = 0;
      await whileExchanging(runtime, path.join(volume, "real"), path.join(volume, "link"), () => {
        for (let round = 0; round < ROUNDS; round++) {
          const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
          if (exitCode === 0) worked++;
          expect(stdout).not.toContain("secret");
          expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(runtime.word);
        }
      });
      expect(host.look()).toBe(before);
      // The race was won by the container, too: otherwise nothing was tried.
      expect(worked).toBeGreaterThan(0);
    }),
);

it("neighbour of CVE-2021-30465: links in a mount's target are followed inside the root", () =>
  withRuntime((runtime) => {
    const source = path.join(runtime.directory, "source");
    mkdirSync(source);
    writeFileSync(path.join(source, "marker"), "");
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["ls", "/real/target"];
      spec.mounts.push({ destination: "/link/target", type: "bind", source, options: ["rbind", "ro"] });
    });
    // Absolute, with more steps up than there are: as inside the container, they end at its root.
    symlinkSync("/../../../../real", path.join(bundle, "rootfs/link"));
    mkdirSync(path.join(bundle, "rootfs/real"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("marker\n");
  }));

itRace("CVE-2024-45310: no file or directory is created on the host for a target under an exchanged link", () =>
  withRuntime(async (runtime) => {
    const host = makeHostDirectory(runtime);
    const before = host.look();
    const volume = path.join(runtime.directory, "volume");
    mkdirSync(path.join(volume, "real"), { recursive: true });
    symlinkSync(host.directory, path.join(volume, "link"));
    const file = path.join(runtime.directory, "file");
    writeFileSync(file, "");
    const bundle = runtime.bundle((spec) => {
      spec.mounts.push({ destination: "/volume", type: "bind", source: volume, options: ["rbind", "rw"] });
      spec.mounts.push({ destination: "/volume/real/new/directory", type: "tmpfs", source: "tmpfs" });
      spec.mounts.push({ destination: "/volume/link/new-file", type: "bind", source: file, options: ["bind"] });
    });
    await whileExchanging(runtime, path.join(volume, "real"), path.join(volume, "link"), () => {
      for (let round = 0; round < ROUNDS; round++) {
        runtime.run(["run", "--bundle", bundle, runtime.id()]);
        // What an earlier round left in the volume would spare the next one the creating.
        rmSync(path.join(volume, "real/new"), { recursive: true, force: true });
      }
    });
    expect(host.look()).toBe(before);
  }),
);

it("neighbour of CVE-2024-45310: missing targets are created inside the root", () =>
  withRuntime((runtime) => {
    const file = path.join(runtime.directory, "file");
    writeFileSync(file, "content");
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["cat", "/new/file"];
      spec.mounts.push({ destination: "/new/file", type: "bind", source: file, options: ["bind"] });
      spec.mounts.push({ destination: "/other/new", type: "tmpfs", source: "tmpfs" });
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("content");
    expect(statSync(path.join(bundle, "rootfs/other/new")).isDirectory()).toBe(true);
  }));

/** Where an image without a /dev mount of its own puts something in place of a device. */
function withoutDev(runtime: Runtime, change: (rootfs: string) => void, args: string[], terminal = false): string {
  const bundle = runtime.bundle((spec) => {
    spec.mounts = spec.mounts.filter(({ destination }) => !/^\/dev(?!\/pts)/.test(destination));
    spec.process.args = args;
    spec.process.terminal = terminal;
  });
  change(path.join(bundle, "rootfs"));
  return bundle;
}

for (const [name, replace] of [
  ["a link to a file of the host's", (target: string, host: string) => symlinkSync(path.join(host, "secret"), target)],
  ["a regular file", (target: string) => writeFileSync(target, "not a device")],
  ["a directory", (target: string) => mkdirSync(target)],
] as const) {
  itCloche(`CVE-2025-31133: with /dev/null replaced by ${name}, a masked path shows neither it nor what it hides`, () =>
    withRuntime((runtime) => {
      const host = makeHostDirectory(runtime);
      const before = host.look();
      const bundle = withoutDev(runtime, (rootfs) => replace(path.join(rootfs, "dev/null"), host.directory), [
        "sh",
        "-c",
        "cat /proc/timer_list; stat -L -c '%t:%T %F' /proc/timer_list",
      ]);
      const { exitCode, stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      // Refused, since a default device cannot be made; or masked by the true /dev/null.
      if (exitCode === 0) expect(stdout).toBe("1:3 character special file\n");
      else expect({ stdout, lines: stderr.trim().split("\n").length }).toEqual({ stdout: "", lines: 1 });
      expect(host.look()).toBe(before);
    }),
  );
}

itRace("CVE-2025-31133: nor when it is exchanged while the container is made", () =>
  withRuntime(async (runtime) => {
    const host = makeHostDirectory(runtime);
    const before = host.look();
    const bundle = withoutDev(runtime, () => {}, [
      "sh",
      "-c",
      "head -c 100 /proc/timer_list; stat -L -c '%t:%T %F' /proc/timer_list /proc/keys",
    ]);
    const dev = path.join(bundle, "rootfs/dev");
    // The first run makes the devices, whose names are exchanged afterwards.
    runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    symlinkSync(path.join(host.directory, "secret"), path.join(dev, "evil"));
    await whileExchanging(runtime, path.join(dev, "null"), path.join(dev, "evil"), () => {
      for (let round = 0; round < ROUNDS; round++) {
        const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
        const masked = "1:3 character special file\n";
        expect(exitCode === 0 ? stdout : masked.repeat(2)).toBe(masked.repeat(2));
      }
    });
    expect(host.look()).toBe(before);
  }),
);

it("neighbour of CVE-2025-31133: masked files are empty, masked directories too, and neither can be written to", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.linux.maskedPaths = ["/proc/timer_list", "/sys/firmware", "/nowhere"];
      spec.process.args = [
        "sh",
        "-c",
        "cat /proc/timer_list; ls /sys/firmware; touch /sys/firmware/new 2> /dev/null || echo refused",
      ];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("refused\n");
  }));

for (const [name, replace] of [
  [
    "/dev/console is a link to the host",
    (rootfs: string, host: string) => symlinkSync(path.join(host, "secret"), path.join(rootfs, "dev/console")),
  ],
  [
    "/dev is a link to the host",
    (rootfs: string, host: string) => {
      rmSync(path.join(rootfs, "dev"), { recursive: true });
      symlinkSync(host, path.join(rootfs, "dev"));
    },
  ],
  [
    "/dev/pts is a link",
    (rootfs: string) => {
      mkdirSync(path.join(rootfs, "fake"));
      symlinkSync("../fake", path.join(rootfs, "dev/pts"));
    },
  ],
  [
    "/dev/console is a FIFO's link in /proc",
    (rootfs: string) => symlinkSync("/proc/self/fd/0", path.join(rootfs, "dev/console")),
  ],
] as const) {
  itCloche(
    `CVE-2025-52565, CVE-2026-88264: a terminal, where ${name}: nothing of the host's is touched or covered`,
    () =>
      withRuntime((runtime) => {
        const host = makeHostDirectory(runtime);
        const before = host.look();
        const socket = listenForConsole(path.join(runtime.directory, "console"));
        try {
          const bundle = withoutDev(runtime, (rootfs) => replace(rootfs, host.directory), ["sleep", "60"], true);
          const id = runtime.id();
          const { exitCode, stderr } = runtime.run(["create", "--bundle", bundle, "--console-socket", socket.path, id]);
          if (exitCode === 0) closeSync(socket.receiveTerminal());
          else expect(stderr.trim().split("\n")).toHaveLength(1);
          expect(host.look()).toBe(before);
          expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(runtime.word);
        } finally {
          socket.close();
        }
      }),
  );
}

itRace("CVE-2025-52565: a terminal, while /dev/console is exchanged with a link to the host", () =>
  withRuntime(async (runtime) => {
    const host = makeHostDirectory(runtime);
    const before = host.look();
    const socket = listenForConsole(path.join(runtime.directory, "console"));
    const bundle = withoutDev(
      runtime,
      (rootfs) => {
        writeFileSync(path.join(rootfs, "dev/console"), "");
        symlinkSync(path.join(host.directory, "secret"), path.join(rootfs, "dev/evil"));
      },
      ["sleep", "60"],
      true,
    );
    const dev = path.join(bundle, "rootfs/dev");
    await whileExchanging(runtime, path.join(dev, "console"), path.join(dev, "evil"), () => {
      for (let round = 0; round < ROUNDS; round++) {
        const id = runtime.id();
        const { exitCode } = runtime.run(["create", "--bundle", bundle, "--console-socket", socket.path, id]);
        if (exitCode !== 0) continue;
        closeSync(socket.receiveTerminal());
        runtime.ok(["delete", "--force", id]);
      }
    });
    socket.close();
    expect(host.look()).toBe(before);
  }),
);

it("CVE-2026-41579, CVE-2026-47766: devices for an image whose /dev is a link to the host are made inside the root", () =>
  withRuntime((runtime) => {
    const host = makeHostDirectory(runtime);
    rmSync(path.join(host.directory, "null"));
    const before = host.look();
    const bundle = withoutDev(
      runtime,
      (rootfs) => {
        rmSync(path.join(rootfs, "dev"), { recursive: true });
        symlinkSync(host.directory, path.join(rootfs, "dev"));
      },
      ["true"],
    );
    const config = path.join(bundle, "config.json");
    const spec = JSON.parse(readFileSync(config, "utf8"));
    spec.mounts = spec.mounts.filter(({ destination }: { destination: string }) => !destination.startsWith("/dev"));
    writeFileSync(config, JSON.stringify(spec));
    runtime.run(["run", "--bundle", bundle, runtime.id()]);
    expect(host.look()).toBe(before);
  }));

itCloche(
  "CVE-2026-88265: standard streams are the caller's own; /dev/null of the image is never opened for them, nor given away",
  () =>
    withRuntime((runtime) => {
      const host = makeHostDirectory(runtime);
      const before = host.look();
      const bundle = runtime.bundle((spec) => {
        spec.mounts = spec.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
        spec.process.user = { uid: 1000, gid: 1000 };
        spec.process.args = ["sh", "-c", "stat -L -c '%t:%T' /proc/self/fd/0"];
        spec.linux.devices = [{ path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o666 }];
      });
      const rootfs = path.join(bundle, "rootfs");
      symlinkSync(path.join(host.directory, "secret"), path.join(rootfs, "dev/null"));
      const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      if (exitCode === 0) expect(stdout).toBe("1:3\n");
      expect(host.look()).toBe(before);
    }),
);

itOci("neighbour: with a /dev of its own, devices and the terminal are the container's", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["sh", "-c", "stat -c '%t:%T %a %U' /dev/null /dev/full; readlink /dev/ptmx"];
    });
    symlinkSync("/etc/passwd", path.join(bundle, "rootfs/dev/null"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("1:3 666 root\n1:7 666 root\npts/ptmx\n");
  }),
);
