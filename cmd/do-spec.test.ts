import { expect, test } from "bun:test";
import { doSpec, isHidden, planHostMounts } from "./do-spec.ts";

const mountinfo = `23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 23 0:21 / /proc rw - proc proc rw
25 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
26 23 8:2 / /home rw,nosuid shared:2 master:3 - ext4 /dev/sda2 rw
27 26 8:3 / /home/a\\040b rw - xfs /dev/sdb rw
28 23 0:30 / /run rw - tmpfs tmpfs rw
29 28 8:4 / /run/media/disk rw - vfat /dev/sdc rw
30 23 0:31 / /mnt/mem rw - tmpfs tmpfs rw
31 23 0:32 / /mnt/remote rw - fuse.sshfs x rw
32 23 8:2 /etc/hosts /etc/hosts rw - ext4 /dev/sda2 rw
33 23 8:2 /other /home rw - ext4 /dev/sda2 rw
34 23 8:5 / /runner rw - ext4 /dev/sdd rw
`;

test("planHostMounts shows the host's disks read-only, and nothing else of it", () => {
  const mounts = planHostMounts(mountinfo);
  expect(mounts.map(({ destination }) => destination)).toEqual(["/home", "/home/a b", "/etc/hosts", "/runner"]);
  for (const mount of mounts) {
    expect(mount.source).toBe(mount.destination);
    expect(mount.options).toContain("ro");
  }
});

const options = { args: ["ls", "-l"], cwd: "/x", env: ["A=1"], hasTerminal: false, hasHostNetwork: false };

test("doSpec runs the command with no network of the host's and no privileges to gain", () => {
  const spec = doSpec(options, []);
  expect(spec.process).toMatchObject({ args: ["ls", "-l"], cwd: "/x", terminal: false, noNewPrivileges: true });
  expect(spec.process?.env?.at(-1)).toBe("A=1");
  expect(spec.linux?.namespaces?.map(({ type }) => type)).toEqual(["pid", "network", "ipc", "uts", "mount"]);
  expect(spec.process?.capabilities?.bounding).not.toContain("CAP_SYS_ADMIN");
});

test("doSpec leaves the network namespace out for the host's network", () => {
  const spec = doSpec({ ...options, hasHostNetwork: true }, []);
  expect(spec.linux?.namespaces?.map(({ type }) => type)).toEqual(["pid", "ipc", "uts", "mount"]);
});

test("doSpec mounts the host's file systems first, and directories of its own over /run and /tmp", () => {
  const destinations = doSpec(options, planHostMounts(mountinfo)).mounts?.map(({ destination }) => destination) ?? [];
  expect(destinations[0]).toBe("/home");
  expect(destinations.slice(-2)).toEqual(["/run", "/tmp"]);
});

test("isHidden goes by whole names", () => {
  expect(["/tmp", "/tmp/x", "/run/y"].map(isHidden)).toEqual([true, true, true]);
  expect(["/", "/tmpx", "/home/tmp"].map(isHidden)).toEqual([false, false, false]);
});
