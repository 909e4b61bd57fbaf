/** An ordinary user inside a nest (test/engines/daemon.ts), with ids of /etc/subuid, a home and a runtime directory. */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { CommandOptions, Nest } from "../engines/daemon.ts";
import { type BundleSpec, makeBundle } from "./bundle.ts";
import { levelVariables } from "./level.ts";
import type { Result } from "./runtime.ts";
import { distDirectory, isDefaultRuntime, runtimePath } from "./runtime-path.ts";

/** The user's own id, for users and groups, and the ids that /etc/subuid and /etc/subgid give it. */
export const USER_ID = 47_110;
export const SUB_IDS = { first: 3_000_000, count: 65_536 } as const;

/** Ids for root's containers with `--userns=auto`. */
const ROOT_SUB_IDS = { first: 4_000_000, count: 1_000_000 } as const;

const NAME = "cloche-user";

export class OrdinaryUser {
  readonly nest: Nest;
  readonly home: string;
  /** XDG_RUNTIME_DIR: on the nest's /run. */
  readonly runtimeDirectory = `/run/user/${USER_ID}`;
  private bundles = 0;

  private constructor(nest: Nest) {
    this.nest = nest;
    this.home = nest.makeDirectory("home");
  }

  /** Adds the user to the nest's own copies of /etc/passwd and the like, which nobody else sees. */
  static async add(nest: Nest): Promise<OrdinaryUser> {
    const user = new OrdinaryUser(nest);
    const { home, runtimeDirectory } = user;
    chmodSync(nest.directory, 0o755);
    chownSync(home, USER_ID, USER_ID);
    const ranges = `${NAME}:${SUB_IDS.first}:${SUB_IDS.count}\ncontainers:${ROOT_SUB_IDS.first}:${ROOT_SUB_IDS.count}\n`;
    const files = {
      passwd: `${readFileSync("/etc/passwd", "utf8")}${NAME}:x:${USER_ID}:${USER_ID}::${home}:/bin/sh\n`,
      group: `${readFileSync("/etc/group", "utf8")}${NAME}:x:${USER_ID}:\n`,
      subuid: ranges,
      subgid: ranges,
    };
    const lines = [
      "set -e",
      "chmod 755 /run",
      `mkdir -p /run/user ${user.dist}`,
      `install -d -m 700 -o ${USER_ID} -g ${USER_ID} ${runtimeDirectory}`,
    ];
    // The build may lie where other users cannot get to; below the nest's directory they can.
    lines.push(`mount --bind ${distDirectory} ${user.dist}`);
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(nest.path(name), text, { mode: 0o644 });
      lines.push(`touch /etc/${name}`, `mount --bind ${nest.path(name)} /etc/${name}`);
    }
    await nest.ok(["sh", "-c", lines.join("\n")]);
    return user;
  }

  /** The build, where the user can reach it. */
  get dist(): string {
    return this.nest.path("dist");
  }

  /** The runtime under test, where the user can reach it. */
  get runtime(): string {
    return isDefaultRuntime() ? path.join(this.dist, "cloche") : runtimePath();
  }

  /** The command line that, inside the nest, runs `args` as the user. */
  as(args: string[], variables: Record<string, string> = {}): string[] {
    const who = ["setpriv", `--reuid=${USER_ID}`, `--regid=${USER_ID}`, "--clear-groups"];
    const own = { PATH: process.env["PATH"], HOME: this.home, XDG_RUNTIME_DIR: this.runtimeDirectory };
    const env = { ...own, ...levelVariables(), ...variables };
    const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return [...who, "env", "--ignore-environment", "-C", this.home, ...words, ...args];
  }

  /** Runs a program as the user. */
  run(args: string[], { env, ...options }: CommandOptions = {}): Promise<Result> {
    return this.nest.run(this.as(args, env), options);
  }

  /** Runs a command of the runtime under test as the user. */
  cloche(args: string[], options: CommandOptions = {}): Promise<Result> {
    return this.run([this.runtime, ...args], options);
  }

  /** Like {@link cloche}, for what must succeed; returns its output. */
  async ok(args: string[], options: CommandOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.cloche(args, options);
    if (exitCode !== 0) throw new Error(`${args.join(" ")}: exit code ${exitCode}: ${stderr}`);
    return stdout;
  }

  /** A bundle that belongs to the user, with a container of which only the user is root; `change` may alter its config.json. */
  bundle(change: (spec: BundleSpec) => void = () => {}): string {
    this.bundles += 1;
    const directory = makeBundle(path.join(this.home, `bundle-${this.bundles}`), (spec) => {
      spec.linux.namespaces.push({ type: "user" });
      spec.linux.uidMappings = [{ containerID: 0, hostID: USER_ID, size: 1 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: USER_ID, size: 1 }];
      Reflect.deleteProperty(spec.linux, "resources");
      for (const mount of spec.mounts) mount.options = mount.options?.filter((option) => option !== "gid=5") ?? [];
      change(spec);
    });
    this.own(directory);
    return directory;
  }

  /** A directory below the user's home. */
  makeDirectory(name: string): string {
    const directory = path.join(this.home, name);
    mkdirSync(directory, { recursive: true });
    this.own(directory);
    return directory;
  }

  private own(directory: string): void {
    const { status } = spawnSync("chown", ["--recursive", "--no-dereference", `${USER_ID}:${USER_ID}`, directory]);
    if (status !== 0) throw new Error(`cannot give ${directory} to the user`);
  }
}

/** Maps root to the user and ids from 1 on to those of /etc/subuid, as rootless engines do. */
export function mapSubIds(spec: BundleSpec): void {
  const mappings = [
    { containerID: 0, hostID: USER_ID, size: 1 },
    { containerID: 1, hostID: SUB_IDS.first, size: SUB_IDS.count },
  ];
  spec.linux.uidMappings = mappings;
  spec.linux.gidMappings = mappings;
}
