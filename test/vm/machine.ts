/**
 * Boots the virtual machine for one command: qemu without KVM, a disk whose changes are thrown away, and folders of the host
 * shared read-only at their own paths.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cacheFolder } from "../conformance/cache.ts";
import { buildImage, GUEST_FILES, type Image, type Kernel } from "./image.ts";

/** How the machine is set up. Without `systemd`, the command runs soon after the kernel is up. */
export interface MachineOptions {
  command: string[];
  /** Where the command runs; must lie in the checkout or the test cache. */
  cwd: string;
  kernel?: Kernel;
  systemd?: boolean;
  /** Version 2 alone by default. `hybrid`: version 1 with an empty version 2 beside it. Not with `systemd`. */
  cgroups?: "v1" | "v2" | "hybrid";
  /** Passed on to the command. */
  env?: Record<string, string>;
  timeoutMs?: number;
  memoryMiB?: number;
  /** Receive output as it comes, instead of in the result. */
  onOutput?: (chunk: Buffer) => void;
  onErrors?: (chunk: Buffer) => void;
}

/** What the command did. `console` is the kernel's log, for when the machine failed. */
export interface MachineResult {
  exitCode: number;
  stdout: string;
  stderr: string;
  console: string;
  seconds: number;
}

/** Arguments of setpriv: no machine outlives a killed test run. */
const DIE_WITH_US = ["--pdeathsig", "KILL"];

const PROJECT = join(import.meta.dirname, "../..");

/**
 * Runs a command in a new virtual machine.
 *
 * @throws Error when the machine does not come up, dies, or needs longer than `timeoutMs` (five minutes by default).
 */
export async function runInMachine(options: MachineOptions): Promise<MachineResult> {
  const image = buildImage(options.kernel ?? "6.1");
  const work = mkdtempSync(join(tmpdir(), "cloche-vm-"));
  const processes: ChildProcess[] = [];
  const started = performance.now();
  const output = await receive(join(work, "output.sock"), options.onOutput);
  const errors = await receive(join(work, "errors.sock"), options.onErrors);
  try {
    const shares = [PROJECT, cacheFolder(".")];
    writeJob(join(work, "job"), options, shares);
    const socket = join(work, "share.sock");
    processes.push(serveShares(work, socket, image.modules, shares));
    await until(() => existsSync(socket), 10_000, "the file server did not start");
    const machine = boot(image, work, socket, options);
    processes.push(machine);
    const timeoutMs = options.timeoutMs ?? 300_000;
    const complaints = await Promise.race([end(machine), sleep(timeoutMs, undefined, { ref: false })]);
    const log = readIfThere(join(work, "console.log"));
    if (complaints === undefined)
      throw new Error(`virtual machine: no result after ${timeoutMs / 1000} s\n${tail(log)}`);
    const status = readIfThere(join(work, "status")).trim();
    if (status === "")
      throw new Error(
        `virtual machine: ended without a result\n${complaints}${readIfThere(join(work, "share.log"))}${tail(log)}`,
      );
    return {
      exitCode: Number(status),
      stdout: output.text(),
      stderr: errors.text(),
      console: log,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    output.close();
    errors.close();
    for (const child of processes) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    }
    rmSync(work, { recursive: true, force: true });
  }
}

/** Leaves the command where the guest's `job` script looks for it. */
function writeJob(folder: string, options: MachineOptions, shares: string[]): void {
  mkdirSync(folder);
  const variables = Object.entries(options.env ?? {}).map(([name, value]) => `export ${name}=${shellWord(value)}\n`);
  const command = options.command.map(shellWord).join(" ");
  writeFileSync(join(folder, "command"), `${variables.join("")}cd ${shellWord(options.cwd)} && ${command}\n`);
  writeFileSync(join(folder, "shares"), shares.map((path) => `${path}\n`).join(""));
  writeFileSync(
    join(folder, "mode"),
    `${options.systemd ? "systemd" : { v1: "cgroup1", v2: "cgroup2", hybrid: "hybrid" }[options.cgroups ?? "v2"]}\n`,
  );
}

/**
 * Starts the file server in a mount namespace of its own, where a folder shows nothing but the job and the shares, all of it
 * read-only: whatever runs in the guest cannot write to the host.
 */
function serveShares(work: string, socket: string, modules: string, shares: string[]): ChildProcess {
  const tree = join(work, "tree");
  mkdirSync(tree);
  const places: [string, string][] = [
    [join(work, "job"), join(tree, "job")],
    [modules, join(tree, "modules")],
    [GUEST_FILES, join(tree, "guest")],
  ];
  for (const path of shares) places.push([path, join(tree, path)]);
  const binds = places.map(([from, to]) => {
    const target = shellWord(to);
    return `mkdir -p ${target} && mount --bind ${shellWord(from)} ${target} && mount -o remount,bind,ro ${target} && `;
  });
  const server = `exec /usr/lib/qemu/virtiofsd --socket-path=${shellWord(socket)} -f -o source=${shellWord(tree)} -o cache=always --rlimit-nofile=0 -o log_level=err`;
  return spawn(
    "setpriv",
    [...DIE_WITH_US, "unshare", "--mount", "--propagation", "private", "sh", "-c", binds.join("") + server],
    {
      // It complains about the end of the machine: only of interest when there is no result.
      stdio: ["ignore", "ignore", openSync(join(work, "share.log"), "w")],
    },
  );
}

/** Starts qemu. Sockets in `work` receive the command's output, files its exit code and the kernel's log. */
function boot(image: Image, work: string, socket: string, options: MachineOptions): ChildProcess {
  const memory = `${options.memoryMiB ?? 2048}M`;
  const kernelOptions = [
    "console=ttyS0 loglevel=4 panic=-1 edd=off mitigations=off random.trust_cpu=on lsm=lockdown,yama,loadpin,safesetid,integrity,apparmor",
    "systemd.unified_cgroup_hierarchy=1 systemd.unit=vm-job.target systemd.show_status=0 systemd.volatile=no net.ifnames=0",
    "swapaccount=1",
  ];
  const port = (name: string, target: string) => [
    "-chardev",
    target,
    "-device",
    `virtserialport,chardev=${name},name=${name}`,
  ];
  const args = [
    ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "2", "-m", memory],
    ["-object", `memory-backend-memfd,id=mem,size=${memory},share=on`, "-machine", "q35,memory-backend=mem"],
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ["-kernel", image.kernel, "-initrd", image.initramfs, "-append", kernelOptions.join(" ")],
    ["-serial", `file:${join(work, "console.log")}`],
    ["-drive", `file=${image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe`],
    ["-chardev", `socket,id=share,path=${socket}`, "-device", "vhost-user-fs-pci,chardev=share,tag=host"],
    ["-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="],
    ["-device", "virtio-serial-pci"],
    port("output", `socket,id=output,path=${join(work, "output.sock")}`),
    port("errors", `socket,id=errors,path=${join(work, "errors.sock")}`),
    port("status", `file,id=status,path=${join(work, "status")}`),
  ];
  return spawn("setpriv", [...DIE_WITH_US, "qemu-system-x86_64", ...args.flat()], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, TMPDIR: work },
  });
}

/** Receives what the guest writes into one port, through a socket that qemu connects to. */
async function receive(path: string, sink: ((chunk: Buffer) => void) | undefined): Promise<Received> {
  const chunks: Buffer[] = [];
  const server = createServer((connection) => {
    connection.on("data", (chunk: Buffer) => (sink === undefined ? chunks.push(chunk) : sink(chunk)));
    connection.on("error", () => {}); // qemu was ended: what came before is what there is.
  });
  await new Promise<void>((listening) => server.listen(path, listening));
  return { text: () => Buffer.concat(chunks).toString("utf8"), close: () => server.close() };
}

interface Received {
  text(): string;
  close(): void;
}

/** Resolves to what qemu itself had to say when it has ended. */
function end(machine: ChildProcess): Promise<string> {
  let complaints = "";
  machine.stderr?.on("data", (chunk: Buffer) => {
    complaints += chunk.toString("utf8");
  });
  return new Promise((resolve, reject) => {
    machine.on("error", reject);
    machine.on("close", () => resolve(complaints));
  });
}

async function until(condition: () => boolean, timeoutMs: number, failure: string): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`virtual machine: ${failure}`);
    await sleep(10);
  }
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** The end of the kernel's log. */
function tail(log: string): string {
  return log.split("\n").slice(-30).join("\n");
}

function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
