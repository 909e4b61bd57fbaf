/** install and uninstall from outside: files below a directory of the test's own. */
import { describe, expect } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { cloche } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("cloche", "root", "strace");

const DAEMON_JSON = '{\n  "log-driver": "local"\n}\n';

class Root {
  readonly directory = mkdtempSync(path.join(os.tmpdir(), "cloche-install-"));

  at(file: string): string {
    return path.join(this.directory, file);
  }

  write(file: string, text: string): void {
    mkdirSync(path.dirname(this.at(file)), { recursive: true });
    writeFileSync(this.at(file), text);
  }

  call(...args: string[]) {
    const [command = "", ...rest] = args;
    return cloche([command, "--root-dir", this.directory, "--path", "/usr/local/bin/cloche", ...rest]);
  }

  /** What succeeds; its output. */
  ok(...args: string[]): string {
    const { exitCode, stdout, stderr } = this.call(...args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    return stdout;
  }

  /** What a call may leave that was killed, and no engine reads: files under temporary names, the record's directory. */
  removeTemporary(): void {
    for (const name of readdirSync(this.directory, { recursive: true, encoding: "utf8" }))
      if (/\.(json|toml|conf)\.\d+$/.test(name)) rmSync(this.at(name));
    spawnSync("rmdir", ["--ignore-fail-on-non-empty", this.at("/var/lib/cloche")]);
  }

  /** Every file and directory, with mode, owner, and text or target. */
  snapshot(): string[] {
    return readdirSync(this.directory, { recursive: true, encoding: "utf8" })
      .sort()
      .map((name) => {
        const { mode, uid, gid } = lstatSync(this.at(name));
        const kind = mode & 0o170000;
        const content =
          kind === 0o100000
            ? readFileSync(this.at(name), "utf8")
            : kind === 0o120000
              ? readlinkSync(this.at(name))
              : "";
        return `${name} ${mode.toString(8)} ${uid}:${gid} ${content}`;
      });
  }
}

function withRoot(body: (root: Root) => void): () => void {
  return () => {
    const root = new Root();
    try {
      mkdirSync(root.at("/var/lib"), { recursive: true });
      body(root);
    } finally {
      rmSync(root.directory, { recursive: true });
    }
  };
}

describe("install", () => {
  it(
    "shows the changes, makes them, says what to do next; uninstall leaves everything as it was",
    withRoot((root) => {
      root.write("/etc/docker/daemon.json", DAEMON_JSON);
      chmodSync(root.at("/etc/docker/daemon.json"), 0o640);
      chownSync(root.at("/etc/docker/daemon.json"), 12, 34);
      root.write("/etc/containerd/config.toml", "# mine\nversion = 2\n");
      root.write("/usr/bin/podman", "");
      const before = root.snapshot();

      const shown = root.ok("install", "--dry-run");
      expect(shown).toContain(
        '--- /etc/docker/daemon.json\n+++ /etc/docker/daemon.json\n@@ -1,3 +1,6 @@\n {\n-  "log-driver"',
      );
      expect(shown).toContain('+    "cloche": { "path": "/usr/local/bin/cloche" }\n');
      expect(shown).toContain("--- /dev/null\n+++ /etc/containers/containers.conf.d/99-cloche.conf\n");
      expect(root.snapshot()).toEqual(before);

      const made = root.ok("install");
      expect(made.startsWith(shown)).toBe(true);
      expect(made).toContain("next: systemctl reload docker, then: docker run --rm --runtime=cloche IMAGE COMMAND\n");
      expect(made).toContain("next: systemctl restart containerd, then:");
      expect(JSON.parse(readFileSync(root.at("/etc/docker/daemon.json"), "utf8"))).toEqual({
        "log-driver": "local",
        runtimes: { cloche: { path: "/usr/local/bin/cloche" } },
      });
      const { mode, uid, gid } = statSync(root.at("/etc/docker/daemon.json"));
      expect([mode & 0o777, uid, gid]).toEqual([0o640, 12, 34]);
      const created = statSync(root.at("/etc/containers/containers.conf.d/99-cloche.conf"));
      expect(created.mode & 0o777).toBe(0o644);

      const installed = root.snapshot();
      expect(root.ok("install")).toMatch(/^(?:\w+: \S+ has runtime cloche already\n){3}$/);
      expect(root.snapshot()).toEqual(installed);

      expect(root.ok("uninstall", "--dry-run")).toContain('-    "cloche": { "path": "/usr/local/bin/cloche" }\n');
      expect(root.snapshot()).toEqual(installed);
      root.ok("uninstall");
      expect(root.snapshot()).toEqual(before);
      expect(root.ok("uninstall")).toContain("docker: /etc/docker/daemon.json has no runtime cloche\n");
      expect(root.snapshot()).toEqual(before);
    }),
  );

  it(
    "changes the engines that are named, under the name that is given",
    withRoot((root) => {
      root.ok("install", "docker", "--name", "cloche-debug");
      expect(readdirSync(root.at("/etc"))).toEqual(["docker"]);
      expect(readFileSync(root.at("/etc/docker/daemon.json"), "utf8")).toContain('"cloche-debug"');
      expect(root.ok("uninstall")).toContain("has no runtime cloche\n");
      root.ok("uninstall", "--name", "cloche-debug");
      expect(root.snapshot().map((line) => line.split(" ")[0])).toEqual(["var", "var/lib"]);
    }),
  );

  it(
    "follows a symbolic link, and leaves it one; refuses one that leads nowhere",
    withRoot((root) => {
      root.write("/srv/docker.json", DAEMON_JSON);
      mkdirSync(root.at("/etc/docker"), { recursive: true });
      symlinkSync("../../srv/docker.json", root.at("/etc/docker/daemon.json"));
      const before = root.snapshot();
      root.ok("install", "docker");
      expect(readlinkSync(root.at("/etc/docker/daemon.json"))).toBe("../../srv/docker.json");
      expect(readFileSync(root.at("/srv/docker.json"), "utf8")).toContain("cloche");
      root.ok("uninstall");
      expect(root.snapshot()).toEqual(before);

      rmSync(root.at("/srv/docker.json"));
      const { exitCode, stderr } = root.call("install", "docker");
      expect(exitCode).toBe(1);
      expect(stderr).toContain("is a symbolic link to a file that does not exist");
      expect(lstatSync(root.at("/etc/docker/daemon.json")).isSymbolicLink()).toBe(true);
    }),
  );

  it(
    "refuses a file that the engine could not read, and then changes none",
    withRoot((root) => {
      root.write("/etc/docker/daemon.json", DAEMON_JSON);
      root.write("/etc/containerd/config.toml", "version = 2\n[plugins\n");
      const before = root.snapshot();
      const { exitCode, stdout, stderr } = root.call("install");
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
      expect(stderr).toMatch(/^cannot change "\/etc\/containerd\/config.toml": line 2, column \d+: .*\n$/);
      expect(root.snapshot()).toEqual(before);
    }),
  );

  it(
    "undoes the first engine's change when the second one's cannot be made",
    withRoot((root) => {
      root.write("/etc/docker/daemon.json", DAEMON_JSON);
      root.write("/etc/containers/containers.conf.d", "a file where a directory should be\n");
      const before = root.snapshot();
      const { exitCode, stderr } = root.call("install", "docker", "podman");
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith('cannot write "/etc/containers/containers.conf.d/99-cloche.conf": ');
      expect(root.snapshot()).toEqual(before);
    }),
  );

  it(
    "follows no link out of the root directory, and changes no device, pipe or directory",
    withRoot((root) => {
      const outside = mkdtempSync(path.join(os.tmpdir(), "cloche-outside-"));
      try {
        writeFileSync(path.join(outside, "daemon.json"), "{}");
        mkdirSync(root.at("/etc"), { recursive: true });
        symlinkSync(outside, root.at("/etc/docker"));
        root.write(path.join(outside, "daemon.json"), DAEMON_JSON);
        const before = root.snapshot();
        root.ok("install", "docker");
        expect(readFileSync(root.at(path.join(outside, "daemon.json")), "utf8")).toContain("cloche");
        expect(readFileSync(path.join(outside, "daemon.json"), "utf8")).toBe("{}");
        root.ok("uninstall");
        expect(root.snapshot()).toEqual(before);
      } finally {
        rmSync(outside, { recursive: true });
      }
      const config = root.at("/etc/containerd/config.toml");
      mkdirSync(config, { recursive: true });
      const isRefused = () => {
        const { exitCode, stderr } = root.call("install", "containerd");
        expect({ exitCode, stderr }).toEqual({
          exitCode: 1,
          stderr: 'cannot read "/etc/containerd/config.toml": it is no regular file\n',
        });
      };
      isRefused();
      rmSync(config, { recursive: true });
      expect(spawnSync("mkfifo", [config]).status).toBe(0);
      isRefused();
      rmSync(config);
      symlinkSync("config.toml", config);
      expect(root.call("install", "containerd").stderr).toBe(
        'cannot read "/etc/containerd/config.toml": too many levels of symbolic links\n',
      );
    }),
  );

  it(
    "warns, already in a dry run, of an imported file that is broken or hides the stanza",
    withRoot((root) => {
      root.write(
        "/etc/containerd/config.toml",
        'version = 2\nimports = ["more/a.toml", "/etc/containerd/more/b*.toml"]\n',
      );
      root.write(
        "/etc/containerd/more/a.toml",
        'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "x"\n',
      );
      root.write("/etc/containerd/more/b1.toml", "version = \n");
      for (const args of [["--dry-run"], []]) {
        const { exitCode, stderr } = root.call("install", "containerd", ...args);
        expect(exitCode).toBe(0);
        expect(stderr).toContain("/etc/containerd/more/a.toml is imported and configures the CRI plugin, too");
        expect(stderr).toContain("/etc/containerd/more/b1.toml is imported and cannot be read: line 1");
      }
    }),
  );

  it(
    "uninstall forgets what others have taken out, and leaves no directory of its own",
    withRoot((root) => {
      const before = root.snapshot();
      root.ok("install", "docker", "podman");
      rmSync(root.at("/etc/docker/daemon.json"));
      rmSync(root.at("/etc/containers/containers.conf.d/99-cloche.conf"));
      expect(root.ok("uninstall", "--dry-run")).toContain("docker: /etc/docker/daemon.json has no runtime cloche\n");
      expect(readdirSync(root.at("/var/lib"))).toEqual(["cloche"]);
      root.ok("uninstall");
      expect(root.snapshot()).toEqual(before);
    }),
  );

  it(
    "killed at any moment, it can be undone to the byte, and so can uninstall",
    withRoot((root) => {
      root.write("/etc/docker/daemon.json", '{"debug" :true}');
      root.write("/etc/containerd/config.toml", "version = 2\n");
      const before = root.snapshot();
      const engines = ["docker", "containerd", "podman"];
      // Calls of the main thread on the files' names, one after the other, until one is never reached.
      for (const command of ["install", "uninstall"]) {
        for (const call of ["rename,renameat,renameat2", "unlink,unlinkat", "mkdir,mkdirat", "rmdir"]) {
          for (let at = 1; ; at++) {
            if (command === "uninstall") root.ok("install", ...engines);
            const args = [command, "--root-dir", root.directory, "--path", "/usr/local/bin/cloche", ...engines];
            const { signal, status } = spawnSync(
              "strace",
              [
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                `trace=${call}`,
                "-e",
                `inject=${call}:signal=KILL:when=${at}`,
              ].concat(runtimePath(), args),
              { stdio: "ignore" },
            );
            root.removeTemporary();
            root.ok("uninstall");
            expect(root.snapshot()).toEqual(before);
            if (signal === null && status === 0) break;
            expect(at).toBeLessThan(20);
          }
        }
      }
    }),
    120_000,
  );

  it(
    "prints what CRI-O and Kubernetes need, and nothing else",
    withRoot((root) => {
      expect(root.ok("install", "crio")).toContain(
        '\n[crio.runtime.runtimes.cloche]\nruntime_path = "/usr/local/bin/cloche"\n',
      );
      expect(root.ok("install", "kubernetes", "--name=c2")).toContain(
        "\nkind: RuntimeClass\nmetadata:\n  name: c2\nhandler: c2\n",
      );
      expect(readdirSync(root.at("/"))).toEqual(["var"]);
    }),
  );

  it(
    "says when there is no engine",
    withRoot((root) => {
      expect(root.ok("install")).toBe("# no engine found: name one of docker, containerd, podman, crio, kubernetes\n");
    }),
  );

  it(
    "a record that is broken is an error that names the remedy; without it the runtime is taken out by name",
    withRoot((root) => {
      root.write("/etc/docker/daemon.json", DAEMON_JSON);
      root.ok("install", "docker");
      writeFileSync(root.at("/var/lib/cloche/install.json"), "{");
      expect(root.call("uninstall").stderr).toContain("remove it, and runtimes are taken out by name");
      rmSync(root.at("/var/lib/cloche"), { recursive: true });
      root.ok("uninstall");
      expect(JSON.parse(readFileSync(root.at("/etc/docker/daemon.json"), "utf8"))).toEqual({
        "log-driver": "local",
        runtimes: {},
      });
    }),
  );

  const wrong: [string, string[], string][] = [
    [
      "an unknown engine",
      ["install", "lxc"],
      'unknown engine "lxc": must be one of docker, containerd, podman, crio, kubernetes',
    ],
    ["an unknown engine", ["uninstall", "crio"], 'unknown engine "crio": must be one of docker, containerd, podman'],
    ["a name that engines cannot have", ["install", "--name", "a.b"], 'invalid value "a.b" for flag -name'],
    ["a relative path", ["install", "--path", "cloche"], 'invalid value "cloche" for flag -path: must be absolute'],
    ["no executable", ["install", "--path", "/nope"], 'cannot register "/nope": no such file or directory'],
  ];
  for (const [name, args, message] of wrong) {
    it(`${args[0]}: refuses ${name}: ${args.at(-1)}`, () => {
      const { exitCode, stderr } = cloche(args);
      expect(exitCode).toBe(1);
      expect(stderr).toContain(message);
    });
  }

  it(
    "warns of an executable that others can replace",
    withRoot((root) => {
      cpSync("/bin/true", root.at("/cloche"));
      chmodSync(root.at("/cloche"), 0o777);
      const { stderr } = cloche(["install", "--dry-run", "--path", root.at("/cloche"), "crio"]);
      expect(stderr).toContain("can be changed by others than root, and engines run it as root");
    }),
  );
});
