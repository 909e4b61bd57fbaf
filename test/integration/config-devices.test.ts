/** config-linux.md#devices, #default-devices, runtime-linux.md#dev-symbolic-links: what is in /dev and who may use it. */
import { expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { grant, lines, mapIds, refusal, sh } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itIsOurs = requires("root", "busybox", "cloche");
const itIsOursOci = requires("root", "busybox", "cloche", "oci");

const DEFAULTS = ["null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0"];

it("default devices are there, with mode 0666, and can be used", () =>
  withRuntime((runtime) => {
    const names = DEFAULTS.map((entry) => `/dev/${entry.split(" ")[0]}`).join(" ");
    const output = sh(
      runtime,
      `stat -c '%n %t:%T %a %F' ${names}; head -c 4 /dev/zero | wc -c; echo x > /dev/null; head -c 1 /dev/urandom | wc -c; echo x > /dev/full || echo full`,
    );
    const expected = DEFAULTS.map((entry) => `/dev/${entry} 666 character special file`);
    expect(lines(output)).toEqual([...expected, "4", "1", "full"]);
  }));

itOci("links in /dev, and a /dev/ptmx of the container's own", () =>
  withRuntime((runtime) => {
    const output = sh(
      runtime,
      "for name in fd stdin stdout stderr; do readlink /dev/$name; done; ls -lL /dev/ptmx | cut -c1-10; test /dev/ptmx -ef /dev/pts/ptmx && echo same; echo through >> /dev/stdout",
    );
    expect(lines(output)).toEqual([
      "/proc/self/fd",
      "/proc/self/fd/0",
      "/proc/self/fd/1",
      "/proc/self/fd/2",
      "crw-rw-rw-",
      "same",
      "through",
    ]);
  }),
);

itIsOursOci("linux.devices: numbers, mode whatever the umask is, owner and group, also outside of /dev", () =>
  withRuntime((runtime) => {
    const output = sh(
      runtime,
      "stat -c '%n %F %t:%T %a %u:%g' /dev/one /opt/deep/two /dev/pipe /dev/unbuffered /dev/null",
      (spec) => {
        spec.process.user = { uid: 0, gid: 0, umask: 0o77 };
        spec.linux.devices = [
          { path: "/dev/one", type: "c", major: 10, minor: 229, fileMode: 0o666, uid: 5, gid: 6 },
          { path: "/opt/deep/two", type: "b", major: 7, minor: 3, fileMode: 0o641 },
          { path: "/dev/pipe", type: "p", fileMode: 0o622 },
          { path: "/dev/unbuffered", type: "u", major: 10, minor: 200, fileMode: 0o600 },
          // A default device, as somebody wants it.
          { path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o600 },
        ];
      },
    );
    expect(lines(output)).toEqual([
      "/dev/one character special file a:e5 666 5:6",
      "/opt/deep/two block special file 7:3 641 0:0",
      "/dev/pipe fifo 0:0 622 0:0",
      "/dev/unbuffered character special file a:c8 600 0:0",
      "/dev/null character special file 1:3 600 0:0",
    ]);
  }),
);

itIsOursOci("linux.devices: a file that is there already must be that device", () =>
  withRuntime((runtime) => {
    const withNode = (
      change: (node: string) => void,
      device: { path: string; type: string; major: number; minor: number },
    ) => {
      const bundle = runtime.bundle((spec) => {
        spec.linux.devices = [device];
        spec.process.args = ["stat", "-c", "%t:%T %a", device.path];
      });
      const node = path.join(bundle, "rootfs", device.path);
      mkdirSync(path.dirname(node), { recursive: true });
      change(node);
      return runtime.run(["run", "--bundle", bundle, runtime.id()]);
    };
    const device = { path: "/opt/node", type: "c", major: 1, minor: 3 };
    const file = withNode((node) => writeFileSync(node, ""), device);
    expect({ code: file.exitCode, said: file.stderr }).toEqual({
      code: 1,
      said: expect.stringContaining('linux.devices[0]: create "/opt/node": file exists'),
    });
    const other = withNode((node) => void execFileSync("mknod", [node, "c", "1", "5"]), device);
    expect(other.exitCode).toBe(1);
    const same = withNode((node) => void execFileSync("mknod", ["-m", "600", node, "c", "1", "3"]), device);
    expect(same.stdout).toBe("1:3 666\n");
  }),
);

itOci("linux.devices: the device cgroup refuses what is not allowed", () =>
  withRuntime((runtime) => {
    const output = sh(
      runtime,
      "mknod /opt/allowed c 1 5 && head -c 1 /opt/allowed | wc -c; mknod /opt/refused b 7 3 && head -c 1 /opt/refused 2>&1; :",
      (spec) => {
        grant(spec, "CAP_MKNOD");
        // The root may be on a file system without devices.
        spec.mounts.push({ destination: "/opt", type: "tmpfs", source: "tmpfs" });
        spec.linux.resources.devices = [
          { allow: false, access: "rwm" },
          { allow: true, type: "b", major: 7, minor: 3, access: "m" },
        ];
      },
    );
    expect(output).toBe("1\nhead: /opt/refused: Operation not permitted\n");
  }),
);

it("default devices in a user namespace can be used", () =>
  withRuntime((runtime) => {
    const output = sh(
      runtime,
      "stat -c %t:%T /dev/null /dev/tty; echo x > /dev/null; head -c 4 /dev/zero | wc -c",
      (spec) => mapIds(spec),
    );
    expect(lines(output)).toEqual(["1:3", "5:0", "4"]);
  }));

itIsOurs("linux.devices in a user namespace: the host's nodes if they are those devices, and FIFOs", () =>
  withRuntime((runtime) => {
    const { rdev } = statSync("/dev/fuse");
    const fuse = { path: "/dev/fuse", type: "c", major: rdev >> 8, minor: rdev & 255 };
    const output = sh(runtime, "stat -c '%F %t:%T' /dev/fuse; stat -c '%F %a %u' /dev/pipe", (spec) => {
      mapIds(spec);
      spec.linux.devices = [fuse, { path: "/dev/pipe", type: "p", fileMode: 0o640 }];
    });
    expect(lines(output)).toEqual(["character special file a:e5", "fifo 640 0"]);
    const reason = refusal(runtime, (spec) => {
      mapIds(spec);
      spec.linux.devices = [{ ...fuse, minor: fuse.minor + 1 }];
    });
    expect(reason).toContain(
      'linux.devices[0]: "/dev/fuse" on the host is not that device, and a user namespace may not make one',
    );
    const missing = refusal(runtime, (spec) => {
      mapIds(spec);
      spec.linux.devices = [{ ...fuse, path: "/dev/nowhere-else" }];
    });
    expect(missing).toContain('linux.devices[0]: "/dev/nowhere-else" on the host is not that device');
  }),
);

itIsOurs("a /dev that is bound from the host stays as it is", () =>
  withRuntime((runtime) => {
    const directory = path.join(runtime.directory, "dev");
    mkdirSync(directory);
    writeFileSync(path.join(directory, "marker"), "");
    const output = sh(runtime, "ls /dev", (spec) => {
      spec.mounts = spec.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
      spec.mounts.push({ destination: "/dev", type: "bind", source: directory, options: ["rbind"] });
    });
    expect(output).toBe("marker\n");
  }),
);

itIsOurs("a root that has its own /dev, and no devpts mounted in it, keeps its /dev/ptmx", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.mounts = spec.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
      spec.process.args = ["cat", "/dev/ptmx"];
    });
    writeFileSync(path.join(bundle, "rootfs/dev/ptmx"), "of the image");
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("of the image");
  }),
);
