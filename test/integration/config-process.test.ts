/** config.md#process: each field of `process` is seen from inside of a container. */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Scheduler } from "../../specutils/spec.ts";
import type { BundleSpec } from "../helpers/bundle.ts";
import { grant, lines, refusal, sh } from "../helpers/container.ts";
import { missing, requires } from "../helpers/requires.ts";
import { withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itIsOurs = requires("root", "busybox", "cloche");
const itIsOursOci = requires("root", "busybox", "cloche", "oci");

it("process.user: uid, gid, additional groups and umask", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "id -u; id -g; id -G; umask; touch /tmp/f; stat -c %a:%u:%g /tmp/f", (spec) => {
      spec.process.user = { uid: 1000, gid: 1001, additionalGids: [5, 6], umask: 0o27 };
    });
    expect(lines(output)).toEqual(["1000", "1001", "1001 5 6", "0027", "640:1000:1001"]);
  }));

it("process.user.umask: 0022 when it is not there", () =>
  withRuntime((runtime) => {
    expect(sh(runtime, "umask")).toBe("0022\n");
  }));

itIsOursOci("process.user: ids beyond 2^31", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "id -u; id -g", (spec) => {
      spec.process.user = { uid: 4294967294, gid: 4294967293 };
    });
    expect(output).toBe("4294967294\n4294967293\n");
  }),
);

it("process.cwd: is made when it is missing, and a symbolic link stays inside of the root", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "pwd; ls -ld . | cut -c1-10", (spec) => {
      spec.process.cwd = "/made/for/us";
    });
    expect(lines(output)).toEqual(["/made/for/us", "drwxr-xr-x"]);
    const bundle = runtime.bundle((spec) => {
      spec.process.cwd = "/link";
      spec.process.args = ["pwd", "-P"];
    });
    symlinkSync("../../../../etc", path.join(bundle, "rootfs/link"));
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("/etc\n");
  }));

it("process.cwd: may be one that only root may enter", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.cwd = "/root/private";
      spec.process.user = { uid: 1000, gid: 1000 };
      spec.process.args = ["sh", "-c", "readlink /proc/self/cwd; ls"];
    });
    mkdirSync(path.join(bundle, "rootfs/root/private"), { mode: 0o700 });
    const { stdout, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
    expect(stdout).toBe("/root/private\n");
    expect(stderr).toContain("Permission denied");
  }));

it("process.env: HOME comes from what is bound at /etc/passwd", () =>
  withRuntime((runtime) => {
    const passwd = `${runtime.directory}/passwd`;
    writeFileSync(passwd, "bound:x:0:0::/bound:/bin/sh\n");
    const home = sh(runtime, "echo $HOME", (spec) => {
      spec.mounts.push({ destination: "/etc/passwd", type: "bind", source: passwd, options: ["bind", "ro"] });
    });
    expect(home).toBe("/bound\n");
  }));

it("process.env: is the whole environment, and HOME comes from /etc/passwd", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "env | sort", (spec) => {
      spec.process.env = ["PATH=/bin", "EMPTY=", "EQUALS=a=b", "LINES=one\ntwo"];
    });
    const variables = output.split("\n").filter((line) => !/^(PWD|SHLVL|_)=/.test(line));
    expect(variables.filter(Boolean)).toEqual(["EMPTY=", "EQUALS=a=b", "HOME=/root", "LINES=one", "PATH=/bin", "two"]);
    const kept = sh(runtime, "echo $HOME", (spec) => {
      spec.process.env = ["PATH=/bin", "HOME=/elsewhere"];
    });
    expect(kept).toBe("/elsewhere\n");
  }));

itIsOurs("process.env: may be absent, and the program is then looked for in the usual directories", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      Reflect.deleteProperty(spec.process, "env");
      spec.process.args = ["/bin/sh", "-c", "echo $HOME"];
    });
    expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("/root\n");
    expect(
      sh(runtime, "echo found", (spec) => {
        spec.process.env = [];
      }),
    ).toBe("found\n");
  }),
);

it("process.args: the first is looked for in the container's PATH and stays argv[0]", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.args = ["tool", "a b", "", "c"];
      spec.process.env = ["PATH=/nowhere:/opt:/bin"];
    });
    mkdirSync(path.join(bundle, "rootfs/opt"));
    writeFileSync(path.join(bundle, "rootfs/opt/tool"), '#!/bin/sh\ntr "\\0" "|" < /proc/self/cmdline; echo "$# $2."', {
      mode: 0o755,
    });
    const output = runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    expect(output).toContain("3 .\n");
  }));

it("process.args: a program that is not there, or that cannot be executed, is an error that says so", () =>
  withRuntime((runtime) => {
    const missingProgram = refusal(runtime, (spec) => {
      spec.process.args = ["no-such-program"];
    });
    expect(missingProgram).toMatch(/exec: \\*"no-such-program\\*": executable file not found in \$PATH/);
    const plainFile = refusal(runtime, (spec) => {
      spec.process.args = ["/etc/passwd"];
    });
    expect(plainFile).toContain("permission denied");
  }));

it("process.rlimits: soft and hard limits, lowered", () =>
  withRuntime((runtime) => {
    const output = sh(runtime, "cat /proc/self/limits", (spec) => {
      spec.process.rlimits = [
        { type: "RLIMIT_NOFILE", soft: 100n, hard: 200n },
        { type: "RLIMIT_CORE", soft: 0n, hard: 4096n },
        { type: "RLIMIT_STACK", soft: 1048576n, hard: 18446744073709551615n },
        { type: "RLIMIT_NPROC", soft: 300n, hard: 300n },
      ];
    });
    expect(output).toMatch(/^Max open files +100 +200 /m);
    expect(output).toMatch(/^Max core file size +0 +4096 /m);
    expect(output).toMatch(/^Max stack size +1048576 +unlimited /m);
    expect(output).toMatch(/^Max processes +300 +300 /m);
  }));

const mayRaise = missing("CAP_SYS_RESOURCE").length === 0;

itIsOurs(`process.rlimits: a raised limit ${mayRaise ? "is set" : "is refused without CAP_SYS_RESOURCE"}`, () =>
  withRuntime((runtime) => {
    const change = (spec: BundleSpec) => {
      spec.process.rlimits = [{ type: "RLIMIT_MSGQUEUE", soft: 1_999_999n, hard: 1_999_999n }];
    };
    if (mayRaise) {
      expect(sh(runtime, "cat /proc/self/limits", change)).toMatch(/^Max msgqueue size +1999999 +1999999 /m);
    } else {
      expect(refusal(runtime, change)).toContain(
        "process.rlimits: raise RLIMIT_MSGQUEUE to 1999999: operation not permitted",
      );
    }
  }),
);

/** The capability sets of the shell's child, as hexadecimal masks. */
function capabilities(status: string): Record<string, string> {
  return Object.fromEntries([...status.matchAll(/^Cap(\w+):\t(\w+)$/gm)].map(([, name, mask]) => [name, mask]));
}

it("process.capabilities: five sets of their own", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.capabilities = {
        bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
        permitted: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        inheritable: ["CAP_KILL", "CAP_NET_RAW"],
        effective: ["CAP_KILL"],
        ambient: ["CAP_NET_RAW"],
      };
      spec.process.user = { uid: 1000, gid: 1000 };
      spec.process.args = ["cat", "/proc/self/status"];
    });
    const sets = capabilities(runtime.ok(["run", "--bundle", bundle, runtime.id()]));
    // A program of a user that is not root keeps what is ambient (capabilities(7)).
    expect(sets).toEqual({
      Bnd: "00000000000020a1",
      Inh: "0000000000002020",
      Prm: "0000000000002000",
      Eff: "0000000000002000",
      Amb: "0000000000002000",
    });
  }));

it("process.capabilities: root gets what is bounding or inheritable, and none without the field", () =>
  withRuntime((runtime) => {
    const read = (change: Parameters<typeof sh>[2]) => capabilities(sh(runtime, "cat /proc/self/status", change));
    const some = read((spec) => {
      spec.process.capabilities = { bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"] };
    });
    expect(some).toMatchObject({ Bnd: "0000000000000020", Prm: "0000000000000020", Eff: "0000000000000020" });
    const none = read((spec) => {
      Reflect.deleteProperty(spec.process, "capabilities");
    });
    expect(none).toMatchObject({ Bnd: "0000000000000000", Prm: "0000000000000000", Eff: "0000000000000000" });
  }));

it("process.capabilities: an unknown one is a warning, not an error", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      grant(spec, "CAP_FROM_THE_FUTURE");
    });
    const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain("CAP_FROM_THE_FUTURE");
  }));

for (const noNewPrivileges of [true, false]) {
  it(`process.noNewPrivileges: ${noNewPrivileges}`, () =>
    withRuntime((runtime) => {
      const output = sh(runtime, "grep NoNewPrivs /proc/self/status", (spec) => {
        spec.process.noNewPrivileges = noNewPrivileges;
      });
      expect(output).toBe(`NoNewPrivs:\t${Number(noNewPrivileges)}\n`);
    }));
}

it("process.oomScoreAdj: is set, and inherited when it is not there", () =>
  withRuntime((runtime) => {
    const set = sh(runtime, "cat /proc/self/oom_score_adj", (spec) => {
      spec.process.oomScoreAdj = 500;
    });
    expect(set).toBe("500\n");
    expect(sh(runtime, "cat /proc/self/oom_score_adj")).toBe(readFileSync("/proc/self/oom_score_adj", "utf8"));
  }));

itIsOurs(`process.oomScoreAdj: a lower one ${mayRaise ? "is set" : "is refused without CAP_SYS_RESOURCE"}`, () =>
  withRuntime((runtime) => {
    const change = (spec: BundleSpec) => {
      spec.process.oomScoreAdj = -900;
    };
    if (mayRaise) expect(sh(runtime, "cat /proc/self/oom_score_adj", change)).toBe("-900\n");
    else
      expect(refusal(runtime, change)).toContain(
        "process.oomScoreAdj: set -900: a value this low needs CAP_SYS_RESOURCE",
      );
  }),
);

/** Where the kernel shares real-time out among cgroups, a new cgroup has none until it is given some. */
const sharesRealtime = existsSync("/sys/fs/cgroup/cpu/cpu.rt_runtime_us");

itIsOursOci("process.scheduler: policy, nice value, priority and flags", () =>
  withRuntime((runtime) => {
    // Fields 19, 40 and 41: nice value, real-time priority, policy (proc_pid_stat(5)).
    const read = (scheduler: Scheduler, isRealtime = false) =>
      sh(runtime, "cut -d' ' -f19,40,41 /proc/self/stat; :", (spec) => {
        spec.process.scheduler = scheduler;
        if (isRealtime && sharesRealtime)
          spec.linux.resources.cpu = { realtimePeriod: 1_000_000n, realtimeRuntime: 9_000n };
      });
    expect(read({ policy: "SCHED_BATCH", nice: 7 })).toBe("7 0 3\n");
    expect(read({ policy: "SCHED_OTHER", nice: -5 })).toBe("-5 0 0\n");
    expect(read({ policy: "SCHED_IDLE" })).toBe("0 0 5\n");
    expect(read({ policy: "SCHED_RR", priority: 3 }, true)).toBe("0 3 2\n");
    // The child of a process with this flag is back at SCHED_OTHER.
    expect(read({ policy: "SCHED_FIFO", priority: 9, flags: ["SCHED_FLAG_RESET_ON_FORK"] }, true)).toBe("0 0 0\n");
  }),
);

itIsOursOci("process.ioPriority: class and priority", () =>
  withRuntime((runtime) => {
    const read = (name: string, priority: number) =>
      sh(runtime, "ionice -p 1", (spec) => {
        spec.process.ioPriority = { class: name, priority };
      }).trim();
    expect(read("IOPRIO_CLASS_BE", 6)).toBe("best-effort: prio 6");
    expect(read("IOPRIO_CLASS_IDLE", 0)).toStartWith("idle");
    expect(read("IOPRIO_CLASS_RT", 1)).toBe("realtime: prio 1");
  }),
);

itIsOurs("process.execCPUAffinity: holds for exec and not for the container process", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.process.execCPUAffinity = { initial: "0", final: "1" };
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const allowed = (...command: string[]) => runtime.ok(["exec", id, "grep", "Cpus_allowed_list", ...command]);
    expect(allowed("/proc/self/status")).toBe("Cpus_allowed_list:\t1\n");
    expect(allowed("/proc/1/status")).toBe(
      /^Cpus_allowed_list:.*\n/m.exec(readFileSync("/proc/self/status", "utf8"))?.[0] ?? "",
    );
  }),
);

if (missing("apparmor").length > 0) {
  itIsOurs("process.apparmorProfile: is refused where AppArmor is not enabled", () =>
    withRuntime((runtime) => {
      const reason = refusal(runtime, (spec) => {
        spec.process.apparmorProfile = "some-profile";
      });
      expect(reason).toContain('process.apparmorProfile: cannot use profile "some-profile": AppArmor is not enabled');
      const bundle = runtime.bundle((spec) => {
        spec.process.apparmorProfile = "unconfined";
      });
      expect(runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("");
    }),
  );
}

if (missing("selinux").length > 0) {
  itIsOurs("process.selinuxLabel: is refused where SELinux is not enabled, linux.mountLabel a warning", () =>
    withRuntime((runtime) => {
      const label = "system_u:object_r:container_file_t:s0";
      const process = refusal(runtime, (spec) => {
        spec.process.selinuxLabel = label;
      });
      expect(process).toContain(`process.selinuxLabel: cannot use label "${label}": SELinux is not enabled`);
      const bundle = runtime.bundle((spec) => {
        spec.linux.mountLabel = label;
      });
      const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("linux.mountLabel") });
    }),
  );
}

itIsOurs("process: may be absent until start, which then fails", () =>
  withRuntime(async (runtime) => {
    const id = runtime.create((spec) => {
      Reflect.deleteProperty(spec, "process");
    });
    expect(runtime.state(id).status).toBe("created");
    const { exitCode, stderr } = runtime.run(["start", id]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("process: is required to start a container (config.md#process)");
    runtime.ok(["delete", "--force", id]);
  }),
);

itIsOurs("process.terminal: the container has /dev/console, and the terminal belongs to its user", () =>
  withRuntime((runtime) => {
    const bundle = runtime.bundle((spec) => {
      spec.process.terminal = true;
      spec.process.user = { uid: 1000, gid: 1000 };
      spec.process.args = ["sh", "-c", "tty; stat -c %u $(tty); test -c /dev/console && tty < /dev/console; exit 3"];
    });
    // Without a terminal of our own: stdin is /dev/null.
    const { exitCode, stdout } = runtime.run(["run", "--bundle", bundle, runtime.id()], { input: "" });
    expect(stdout.replaceAll("\r", "")).toStartWith("/dev/pts/0\n1000\n");
    expect(exitCode).toBe(3);
  }),
);
