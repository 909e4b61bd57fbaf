/** Command line of the virtual machine: `test/vm/run [flags] -- COMMAND [ARG...]`. */

import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { KERNELS, type Kernel } from "./image.ts";
import { type MachineOptions, runInMachine } from "./machine.ts";

const USAGE = `usage: test/vm/run [flags] -- COMMAND [ARG...]

Runs a command as root in a new virtual machine and exits with its exit code. The checkout and the test cache are there
read-only, at the same paths; everything else is Debian 12, and changes to it are lost.

  --systemd            boot systemd (with D-Bus) instead of a small script; cgroup version 2
  --cgroup1            cgroup version 1 with every controller, instead of version 2
  --hybrid             cgroup version 1, with an empty version 2 beside it
  --kernel VERSION     ${Object.keys(KERNELS).join(" or ")}
  --env NAME[=VALUE]   set a variable for the command; can be repeated
  --timeout SECONDS    give up after this time (default 300)
  --console            print the kernel's log on stderr at the end
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      systemd: { type: "boolean", default: false },
      cgroup1: { type: "boolean", default: false },
      hybrid: { type: "boolean", default: false },
      kernel: { type: "string", default: "6.1" },
      env: { type: "string", multiple: true, default: [] },
      timeout: { type: "string", default: "300" },
      console: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (positionals.length === 0 || !(values.kernel in KERNELS)) {
    process.stderr.write(USAGE);
    return 2;
  }
  const options: MachineOptions = {
    command: positionals,
    cwd: resolve("."),
    kernel: values.kernel as Kernel,
    systemd: values.systemd,
    cgroups: values.cgroup1 ? "v1" : values.hybrid ? "hybrid" : "v2",
    env: Object.fromEntries(values.env.map(variable)),
    timeoutMs: Number(values.timeout) * 1000,
    onOutput: (chunk) => process.stdout.write(chunk),
    onErrors: (chunk) => process.stderr.write(chunk),
  };
  const result = await runInMachine(options);
  if (values.console) process.stderr.write(result.console);
  return result.exitCode;
}

function variable(setting: string): [string, string] {
  const [name = "", ...rest] = setting.split("=");
  return [name, rest.length === 0 ? (process.env[name] ?? "") : rest.join("=")];
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 125;
}
