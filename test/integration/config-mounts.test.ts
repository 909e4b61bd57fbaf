/** config.md#mounts, config-linux.md#rootfs-mount-propagation: mounts and their options, seen from inside. */
import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { isAtLeast, runningKernel } from "../../specutils/kernel-version.ts";
import { lines, mapIds, refusal, sh } from "../helpers/container.ts";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itIsOurs = requires("root", "busybox", "cloche");
const itIsOursOci = requires("root", "busybox", "cloche", "oci");

/** Since Linux 6.3 a tmpfs, which /tmp may be, can be id-mapped. */
const mapsTmpfs = isAtLeast(runningKernel(), [6, 3]);
const itMapsIds = mapsTmpfs ? itIsOurs : test.skip;
const itMapsIdsOci = mapsTmpfs ? itIsOursOci : test.skip;

/** Options of the mount at `where`, out of a mountinfo: those of the mount, of its propagation, of its file system. */
function mountAt(mountinfo: string, where: string): { mount: string[]; tags: string; type: string; super: string[] } {
  const line = lines(mountinfo).findLast((entry) => entry.split(" ")[4] === where) ?? "";
  const [, options = "", tags = "", type = "", superOptions = ""] =
    /^\S+ \S+ \S+ \S+ \S+ (\S+) (.*?) ?- (\S+) \S+ (\S+)$/.exec(line) ?? [];
  return { mount: options.split(","), tags, type, super: superOptions.split(",") };
}

function mountinfo(runtime: Runtime, change: Parameters<typeof sh>[2]): string {
  return sh(runtime, "cat /proc/self/mountinfo", change);
}

/** A directory on the host with a file in it. */
function source(runtime: Runtime, name = "source"): string {
  const directory = path.join(runtime.directory, name);
  mkdirSync(path.join(directory, "sub"), { recursive: true });
  writeFileSync(path.join(directory, "file"), "content\n");
  return directory;
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

/** Mounts a tmpfs on the host for as long as `body` runs. */
function withTmpfs<T>(at: string, body: () => T, ...propagation: string[]): T {
  run("mount", "-t", "tmpfs", "tmpfs", at);
  try {
    for (const kind of propagation) run("mount", `--make-${kind}`, at);
    return body();
  } finally {
    run("umount", "-R", at);
  }
}

for (const [option, wanted] of [
  ["ro", "ro"],
  ["nosuid", "nosuid"],
  ["nodev", "nodev"],
  ["noexec", "noexec"],
  ["noatime", "noatime"],
  ["nodiratime", "nodiratime"],
  ["relatime", "relatime"],
] as const) {
  it(`mounts: option ${option}, on a new file system and on a bind mount`, () =>
    withRuntime((runtime) => {
      const info = mountinfo(runtime, (spec) => {
        spec.mounts.push({ destination: "/a", type: "tmpfs", source: "tmpfs", options: [option] });
        spec.mounts.push({ destination: "/b", type: "bind", source: source(runtime), options: ["bind", option] });
      });
      expect(mountAt(info, "/a").mount).toContain(wanted);
      expect(mountAt(info, "/b").mount).toContain(wanted);
    }));
}

itOci("mounts: options that take others back", () =>
  withRuntime((runtime) => {
    const info = mountinfo(runtime, (spec) => {
      const options = ["ro", "nosuid", "nodev", "noexec", "noatime", "rw", "suid", "dev", "exec", "atime"];
      spec.mounts.push({ destination: "/a", type: "tmpfs", source: "tmpfs", options });
      spec.mounts.push({ destination: "/b", type: "tmpfs", source: "tmpfs", options: ["strictatime"] });
    });
    expect(mountAt(info, "/a").mount).toEqual(["rw", "relatime"]);
    expect(mountAt(info, "/b").mount).toEqual(["rw"]);
  }),
);

itIsOurs("mounts: options of the file system: sync, dirsync, lazytime, mand, iversion, and its own", () =>
  withRuntime((runtime) => {
    const options = [
      "sync",
      "dirsync",
      "lazytime",
      "mand",
      "iversion",
      "silent",
      "loud",
      "async",
      "sync",
      "size=64k",
      "mode=700",
    ];
    const info = mountinfo(runtime, (spec) => {
      spec.mounts.push({ destination: "/a", type: "tmpfs", source: "words", options });
      spec.mounts.push({
        destination: "/b",
        type: "tmpfs",
        source: "words",
        options: ["defaults", "sync", "async", "nomand", "noiversion"],
      });
    });
    expect(mountAt(info, "/a").super).toEqual(
      expect.arrayContaining(["sync", "dirsync", "lazytime", "size=64k", "mode=700"]),
    );
    expect(mountAt(info, "/b").super).not.toContain("sync");
  }),
);

itIsOurs("mounts: nosymfollow", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "ln -s file /a/link; cat /a/link 2>&1; cat /b/link", (spec) => {
      spec.mounts.push({ destination: "/a", type: "bind", source: source(runtime), options: ["bind", "nosymfollow"] });
      spec.mounts.push({ destination: "/b", type: "bind", source: source(runtime), options: ["bind", "symfollow"] });
    });
    expect(output).toBe("cat: can't open '/a/link': Too many levels of symbolic links\ncontent\n");
  }),
);

itIsOursOci("mounts: recursive options reach what is mounted below, the others do not", () =>
  withRuntime((runtime) => {
    const directory = source(runtime);
    const info = withTmpfs(path.join(directory, "sub"), () =>
      mountinfo(runtime, (spec) => {
        const bind = (destination: string, ...options: string[]) =>
          spec.mounts.push({ destination, type: "bind", source: directory, options: ["rbind", ...options] });
        bind("/plain", "ro", "nosuid");
        bind("/all", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow");
        bind("/mixed", "rro", "rw");
        bind("/access", "rstrictatime");
        bind("/back", "rro", "rrw", "rnosuid", "rsuid", "rnodev", "rdev", "rnoexec", "rexec", "rnoatime", "ratime");
      }),
    );
    const at = (where: string) => mountAt(info, where).mount;
    expect(at("/plain")).toEqual(expect.arrayContaining(["ro", "nosuid"]));
    expect(at("/plain/sub")).toEqual(["rw", "relatime"]);
    const all = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"];
    expect(at("/all")).toEqual(all);
    expect(at("/all/sub")).toEqual(all);
    expect(at("/mixed")[0]).toBe("rw");
    expect(at("/mixed/sub")[0]).toBe("ro");
    expect(at("/access/sub")).toEqual(["rw"]);
    expect(at("/back/sub")).toEqual(["rw", "relatime"]);
  }),
);

it("mounts: bind takes one mount, rbind the tree", () =>
  withRuntime((runtime) => {
    const directory = source(runtime);
    const sub = path.join(directory, "sub");
    const output = withTmpfs(sub, () => {
      writeFileSync(path.join(sub, "below"), "");
      return sh(runtime, "ls /one/sub; echo --; ls /tree/sub", (spec) => {
        spec.mounts.push({ destination: "/one", type: "none", source: directory, options: ["bind"] });
        spec.mounts.push({ destination: "/tree", type: "none", source: directory, options: ["rbind"] });
      });
    });
    expect(output).toBe("--\nbelow\n");
  }));

it("mounts: a relative source is relative to the bundle", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.mounts.push({ destination: "/data", type: "bind", source: "data", options: ["bind"] });
      spec.process.args = ["cat", "/data/file"];
    });
    mkdirSync(path.join(bundle, "data"));
    writeFileSync(path.join(bundle, "data/file"), "of the bundle");
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()], { cwd: "/" })).toBe("of the bundle");
  }));

it("mounts: a relative destination is taken from /", () =>
  withRuntime((runtime) => {
    const info = mountinfo(runtime, (spec) => {
      spec.mounts.push({ destination: "somewhere/deep", type: "tmpfs", source: "tmpfs" });
    });
    expect(mountAt(info, "/somewhere/deep").type).toBe("tmpfs");
  }));

it("mounts: a file on a file, and on a name that is not there yet", () =>
  withRuntime((runtime) => {
    const file = path.join(source(runtime), "file");
    const output = sh(runtime, "cat /etc/passwd /new/dir/name; ls -l /new/dir/name | cut -c1", (spec) => {
      spec.mounts.push({ destination: "/etc/passwd", type: "bind", source: file, options: ["bind", "ro"] });
      spec.mounts.push({ destination: "/new/dir/name", type: "bind", source: file, options: ["bind"] });
    });
    expect(output).toBe("content\ncontent\n-\n");
  }));

it("mounts: are made in the order in which they are listed", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "ls /over; ls /over/inner", (spec) => {
      spec.mounts.push({ destination: "/over", type: "bind", source: source(runtime), options: ["bind"] });
      spec.mounts.push({ destination: "/over", type: "tmpfs", source: "tmpfs" });
      spec.mounts.push({ destination: "/over/inner", type: "bind", source: source(runtime), options: ["bind"] });
    });
    expect(output).toBe("inner\nfile\nsub\n");
  }));

it("mounts: links in a destination are resolved inside of the root", () =>
  withRuntime((runtime) => {
    const outside = path.join(runtime.directory, "outside");
    mkdirSync(outside);
    const bundle = runtime.bundle((spec) => {
      const options = ["bind"];
      spec.mounts.push({ destination: "/abs/data", type: "bind", source: source(runtime), options });
      spec.mounts.push({ destination: "/up/data", type: "bind", source: source(runtime), options });
      spec.mounts.push({ destination: "/chain/data", type: "bind", source: source(runtime), options });
      spec.process.args = ["sh", "-c", `cat ${outside}/data/file /tmp/data/file /var/x/data/file`];
    });
    const root = path.join(bundle, "rootfs");
    symlinkSync(outside, path.join(root, "abs"));
    symlinkSync("../../../../../../tmp", path.join(root, "up"));
    symlinkSync("var/./x/../x", path.join(root, "chain"));
    mkdirSync(path.join(root, "var/x"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("content\ncontent\ncontent\n");
    expect(readdirSync(outside)).toEqual([]);
  }));

it("mounts: a source that is not there is an error that names the mount", () =>
  withRuntime((runtime) => {
    const reason = refusal(runtime, (spec) => {
      spec.mounts.push({ destination: "/data", type: "bind", source: "/no/such/source", options: ["bind"] });
    });
    expect(reason).toContain("/no/such/source");
    expect(reason).toContain("no such file or directory");
  }));

itIsOurs("mounts: a tmpfs keeps the mode of the directory it covers, unless it is given one", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "stat -c %a /tmp /var /new /run", (spec) => {
      for (const destination of ["/tmp", "/var", "/new"])
        spec.mounts.push({ destination, type: "tmpfs", source: "tmpfs" });
      spec.mounts.push({ destination: "/run", type: "tmpfs", source: "tmpfs", options: ["mode=0711"] });
    });
    expect(lines(output)).toEqual(["1777", "755", output.split("\n")[2] ?? "", "711"]);
  }),
);

it("mounts: tmpcopyup starts with what was there", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.mounts.push({ destination: "/data", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] });
      spec.process.args = [
        "sh",
        "-c",
        "cat /data/dir/file; readlink /data/link; stat -c %a:%u:%g /data/dir/file /data; rm -r /data/dir",
      ];
    });
    const data = path.join(bundle, "rootfs/data");
    mkdirSync(path.join(data, "dir"), { recursive: true });
    chmodSync(data, 0o750);
    writeFileSync(path.join(data, "dir/file"), "kept\n");
    chmodSync(path.join(data, "dir/file"), 0o604);
    chownSync(path.join(data, "dir/file"), 12, 34);
    symlinkSync("/nowhere", path.join(data, "link"));
    const output = runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    expect(lines(output).slice(0, 3)).toEqual(["kept", "/nowhere", "604:12:34"]);
    expect(existsSync(path.join(data, "dir/file"))).toBe(true);
  }));

it("mounts: tmpcopyup where nothing was is open to every user, as any new tmpfs", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.mounts.push({ destination: "/scratch", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] });
      spec.process.args = ["stat", "-c", "%a:%u:%g", "/scratch"];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("1777:0:0\n");
  }));

itIsOurs("mounts: tmpcopyup of anything but a tmpfs is refused", () =>
  withRuntime((runtime) => {
    const reason = refusal(runtime, (spec) => {
      spec.mounts.push({ destination: "/data", type: "bind", source: source(runtime), options: ["bind", "tmpcopyup"] });
    });
    expect(reason).toContain('.options: "tmpcopyup" is only possible for a mount of type "tmpfs"');
  }),
);

it("mounts: an overlay, with options longer than a page of them may be to fsconfig", () =>
  withRuntime((runtime) => {
    const lower = Array.from({ length: 4 }, (_, index) =>
      path.join(runtime.directory, `${"layer".repeat(12)}-${index}`),
    );
    for (const [index, directory] of lower.entries()) {
      mkdirSync(directory);
      writeFileSync(path.join(directory, `file${index}`), "");
    }
    const output = sh(runtime, "ls /data", (spec) => {
      spec.mounts.push({
        destination: "/data",
        type: "overlay",
        source: "overlay",
        options: [`lowerdir=${lower.join(":")}`],
      });
    });
    expect(lines(output)).toEqual(["file0", "file1", "file2", "file3"]);
  }));

itIsOurs("mounts: remount changes a mount's attributes and its file system's options", () =>
  withRuntime((runtime) => {
    const info = mountinfo(runtime, (spec) => {
      spec.mounts.push({ destination: "/a", type: "tmpfs", source: "tmpfs", options: ["nosuid", "size=1m"] });
      spec.mounts.push({ destination: "/a", source: "tmpfs", options: ["remount", "size=64k", "noexec", "sync"] });
      spec.mounts.push({ destination: "/b", type: "bind", source: source(runtime), options: ["bind"] });
      spec.mounts.push({ destination: "/b", source: "none", options: ["remount", "bind", "ro"] });
    });
    expect(mountAt(info, "/a").mount).toEqual(expect.arrayContaining(["rw", "nosuid", "noexec"]));
    expect(mountAt(info, "/a").super).toEqual(expect.arrayContaining(["size=64k", "sync"]));
    expect(mountAt(info, "/b").mount).toContain("ro");
  }),
);

itIsOurs("mounts: propagation alone changes a mount that is there; without one it is an error", () =>
  withRuntime((runtime) => {
    const info = mountinfo(runtime, (spec) => {
      spec.mounts.push({ destination: "/dev/shm", options: ["shared"] });
      spec.mounts.push({ destination: "/dev/mqueue", type: "none", options: ["unbindable"] });
    });
    expect(mountAt(info, "/dev/shm").tags).toMatch(/^shared:\d+$/);
    expect(mountAt(info, "/dev/mqueue").tags).toBe("unbindable");
    for (const options of [["slave"], ["remount", "ro"]]) {
      const reason = refusal(runtime, (spec) => {
        spec.mounts.push({ destination: "/etc", options });
      });
      expect(reason).toContain('mounts[6]: change the mount at "/etc": invalid argument');
    }
  }),
);

for (const [option, wanted] of [
  ["private", /^$/],
  ["slave", /^$/],
  ["shared", /^shared:\d+$/],
  ["unbindable", /^unbindable$/],
] as const) {
  it(`mounts: propagation ${option} and r${option} of a bind mount`, () =>
    withRuntime((runtime) => {
      const directory = source(runtime);
      const info = withTmpfs(path.join(directory, "sub"), () =>
        mountinfo(runtime, (spec) => {
          spec.mounts.push({ destination: "/one", type: "bind", source: directory, options: ["rbind", option] });
          spec.mounts.push({ destination: "/tree", type: "bind", source: directory, options: ["rbind", `r${option}`] });
        }),
      );
      expect(mountAt(info, "/one").tags.replace(/ ?master:\d+/, "")).toMatch(wanted);
      expect(mountAt(info, "/tree/sub").tags.replace(/ ?master:\d+/, "")).toMatch(wanted);
    }));
}

itOci("mounts: rshared passes mounts on in both directions, rslave in one, rprivate in none", () =>
  withRuntime((runtime) => {
    const directory = source(runtime);
    withTmpfs(
      directory,
      () => {
        for (const name of ["shared", "slave", "private"]) mkdirSync(path.join(directory, name));
        for (const name of ["shared", "slave", "private"]) mkdirSync(path.join(directory, `${name}-host`));
        const id = runtime.create((spec) => {
          for (const name of ["shared", "slave", "private"]) {
            spec.mounts.push({
              destination: `/${name}`,
              type: "bind",
              source: directory,
              options: ["rbind", `r${name}`],
            });
          }
          // runc takes the binds out of their peer groups otherwise.
          spec.linux.rootfsPropagation = "shared";
          spec.process.args = ["sleep", "60"];
          for (const set of ["bounding", "effective", "permitted"] as const)
            spec.process.capabilities?.[set]?.push("CAP_SYS_ADMIN");
        });
        runtime.ok(["start", id]);
        const inside = (name: string) => runtime.ok(["exec", id, "mount", "-t", "tmpfs", "tmpfs", `/${name}/${name}`]);
        for (const name of ["shared", "slave", "private"]) inside(name);
        const host = readFileSync("/proc/self/mountinfo", "utf8");
        expect(mountAt(host, path.join(directory, "shared")).type).toBe("tmpfs");
        expect(mountAt(host, path.join(directory, "slave")).type).toBe("");
        expect(mountAt(host, path.join(directory, "private")).type).toBe("");
        run("mount", "-t", "tmpfs", "tmpfs", path.join(directory, "shared-host"));
        const info = runtime.ok(["exec", id, "cat", "/proc/self/mountinfo"]);
        expect(mountAt(info, "/shared/shared-host").type).toBe("tmpfs");
        expect(mountAt(info, "/slave/shared-host").type).toBe("tmpfs");
        expect(mountAt(info, "/private/shared-host").type).toBe("");
        runtime.ok(["delete", "--force", id]);
      },
      "shared",
    );
  }),
);

itMapsIdsOci("mounts: idmap shifts a bind mount's ids by the mount's own mappings, or the container's", () =>
  withRuntime((runtime) => {
    const directory = source(runtime);
    chownSync(path.join(directory, "file"), 1000, 2000);
    const own = {
      uidMappings: [{ containerID: 1000, hostID: 5000, size: 1 }],
      gidMappings: [{ containerID: 2000, hostID: 6000, size: 1 }],
    };
    const mount = { type: "bind", source: directory };
    const output = sh(runtime, "stat -c %u:%g /own/file /silent/file /sub/file", (spec) => {
      spec.mounts.push({ destination: "/own", ...mount, options: ["bind", "idmap"], ...own });
      // Older configs have the mappings without the option.
      spec.mounts.push({ destination: "/silent", ...mount, options: ["bind"], ...own });
      spec.mounts.push({ destination: "/sub", ...mount, options: ["rbind", "ridmap"], ...own });
    });
    expect(output).toBe("5000:6000\n5000:6000\n5000:6000\n");
    const shifted = sh(runtime, "stat -c %u:%g /home/file /var/file; touch /var/made", (spec) => {
      mapIds(spec);
      spec.mounts.push({ destination: "/home", ...mount, options: ["bind"] });
      spec.mounts.push({ destination: "/var", ...mount, options: ["bind", "idmap"] });
      for (const set of ["bounding", "effective", "permitted"] as const) {
        spec.process.capabilities?.[set]?.push("CAP_DAC_OVERRIDE");
      }
    });
    expect(shifted).toBe("65534:65534\n1000:2000\n");
    expect(spawnSync("stat", ["-c", "%u:%g", path.join(directory, "made")], { encoding: "utf8" }).stdout).toBe("0:0\n");
    rmSync(path.join(directory, "made"));
  }),
);

itMapsIds("mounts: idmap by the mappings of a user namespace that is joined", () =>
  withRuntime((runtime) => {
    const directory = source(runtime);
    chownSync(path.join(directory, "file"), 1000, 2000);
    const pod = runtime.create((spec) => mapIds(spec));
    const output = sh(runtime, "stat -c %u:%g /home/file", (spec) => {
      spec.linux.namespaces.push({ type: "user", path: `/proc/${runtime.state(pod).pid}/ns/user` });
      spec.mounts.push({ destination: "/home", type: "bind", source: directory, options: ["bind", "idmap"] });
    });
    expect(output).toBe("1000:2000\n");
    runtime.ok(["delete", "--force", pod]);
  }),
);

itMapsIdsOci("mounts: the mappings of a new file system", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "stat -c %u:%g /data", (spec) => {
      const uidMappings = [{ containerID: 0, hostID: 5000, size: 1 }];
      spec.mounts.push({
        destination: "/data",
        type: "tmpfs",
        source: "tmpfs",
        options: ["idmap"],
        uidMappings,
        gidMappings: uidMappings,
      });
    });
    expect(output).toBe("5000:5000\n");
  }),
);

it("root.readonly: the root is read-only, mounts below and /dev are not", () =>
  withRuntime((runtime) => {
    const output = sh(
      runtime,
      "touch /f; touch /dev/f /data/f /dev/shm/f && echo written > /dev/null && ls /dev/f /data/f",
      (spec) => {
        spec.root.readonly = true;
        spec.mounts.push({ destination: "/data", type: "tmpfs", source: "tmpfs" });
        spec.process.args = ["sh", "-c", `(${spec.process.args[2]}) 2>&1`];
      },
    );
    expect(lines(output)).toEqual(["touch: /f: Read-only file system", "/data/f", "/dev/f"]);
  }));

it("mounts: a /dev that is read-only has all its devices, links and mounts", () =>
  withRuntime((runtime) => {
    const script =
      "ls /dev/null /dev/fd /dev/pts/ptmx /dev/shm/.. > /dev/null; touch /dev/f 2>&1; touch /dev/shm/f && echo x > /dev/null && echo written";
    const output = sh(runtime, script, (spec) => {
      const dev = spec.mounts.find(({ destination }) => destination === "/dev");
      dev?.options?.push("ro");
    });
    expect(lines(output)).toEqual(["touch: /dev/f: Read-only file system", "written"]);
  }));

itIsOurs("root.readonly: does not change the root on the host", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.root.readonly = true;
    });
    runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    writeFileSync(path.join(bundle, "rootfs/still-writable"), "");
  }),
);

for (const [value, wanted] of [
  ["private", /^$/],
  ["slave", /^$/],
  ["rslave", /^$/],
  ["shared", /^shared:\d+$/],
  ["unbindable", /^unbindable$/],
] as const) {
  const itHolds = value === "shared" || value === "unbindable" ? itIsOurs : it;
  itHolds(`linux.rootfsPropagation: ${value}`, () =>
    withRuntime((runtime) => {
      const info = mountinfo(runtime, (spec) => {
        spec.linux.rootfsPropagation = value;
      });
      // A slave has a master only where the host's mount is shared.
      expect(mountAt(info, "/").tags.replace(/ ?master:\d+/, "")).toMatch(wanted);
    }),
  );
}

itIsOurs("linux.rootfsPropagation: shared, of a root that is shared on the host", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.linux.rootfsPropagation = "shared";
      spec.process.args = ["cat", "/proc/self/mountinfo"];
    });
    const root = path.join(bundle, "rootfs");
    run("mount", "--bind", root, root);
    try {
      run("mount", "--make-shared", root);
      const info = runtime.ok(["run", "--bundle", bundle, runtime.id()]);
      expect(mountAt(info, "/").tags).toMatch(/^shared:\d+( master:\d+)?$/);
      const host = lines(readFileSync("/proc/self/mountinfo", "utf8"));
      expect(host.filter((line) => line.includes(`${root}/`))).toEqual([]);
    } finally {
      run("umount", "-R", root);
    }
  }),
);

it("linux.rootfsPropagation: a slave root gets what is mounted on the host, a private one does not", () =>
  withRuntime((runtime) => {
    for (const [value, wanted] of [
      ["rslave", "tmpfs"],
      ["rprivate", ""],
    ] as const) {
      const bundle = runtime.bundle((spec) => {
        spec.linux.rootfsPropagation = value;
        spec.process.args = ["sleep", "60"];
      });
      const id = runtime.id();
      const root = path.join(bundle, "rootfs");
      run("mount", "--bind", root, root);
      try {
        run("mount", "--make-shared", root);
        runtime.ok(["create", "--bundle", bundle, id]);
        runtime.ok(["start", id]);
        run("mount", "-t", "tmpfs", "tmpfs", path.join(root, "home"));
        expect(mountAt(runtime.ok(["exec", id, "cat", "/proc/self/mountinfo"]), "/home").type).toBe(wanted);
        runtime.ok(["delete", "--force", id]);
      } finally {
        run("umount", "-R", root);
      }
    }
  }));
