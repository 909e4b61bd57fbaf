/**
 * Writes sandbox/seccomp/syscall-table.ts: the numbers of every system call on the architectures whose programs an
 * x86-64 or arm64 kernel runs.
 *
 * Numbers come from Debian's kernel headers (`linux-libc-dev` and its cross packages for arm64 and armhf), evaluated by
 * the C preprocessor. Those are as old as the distribution, so system calls that they do not know yet are added from the
 * Go module golang.org/x/sys, which follows the newest kernel. It has no x32; there, calls from number 424 on have the
 * number that they have everywhere, plus the x32 bit (arch/x86/entry/syscalls/syscall_64.tbl in the kernel).
 *
 * Run: `bun scripts/generate-syscall-table.ts` (needs apt-get, dpkg-deb, gcc, go and the network).
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

type Numbers = Map<string, number>;

/**
 * Columns of the table, in its order: where the headers are, what selects the architecture (or, on arm, the ABI) in them,
 * and golang.org/x/sys' name for it.
 */
const columns = [
  { package: "linux-libc-dev", include: "usr/include/x86_64-linux-gnu", defines: [], go: "amd64" },
  { package: "linux-libc-dev", include: "usr/include/x86_64-linux-gnu", defines: ["-D__i386__"], go: "386" },
  { package: "linux-libc-dev", include: "usr/include/x86_64-linux-gnu", defines: ["-D__ILP32__"], go: undefined },
  { package: "linux-libc-dev-arm64-cross", include: "usr/aarch64-linux-gnu/include", defines: [], go: "arm64" },
  {
    package: "linux-libc-dev-armhf-cross",
    include: "usr/arm-linux-gnueabihf/include",
    defines: ["-D__ARM_EABI__"],
    go: "arm",
  },
] as const;

const x32SyscallBit = 0x40000000;
/** From here on the kernel gives a new system call the same number on every architecture. */
const firstCommonNumber = 424;
/** But for these, which the kernel's table declares for 64-bit programs only. */
const notOnX32 = new Set(["map_shadow_stack"]);
/** Macros of the headers that look like system calls and are none. */
const notASyscall = /^(syscalls|arch_specific_syscall|SYSCALL_.*|OABI_.*|syscall_mask)$/;

function unpack(directory: string, name: string): string {
  const target = join(directory, name);
  execFileSync("apt-get", ["download", name], { cwd: directory, stdio: ["ignore", "ignore", "inherit"] });
  const archive = readdirSync(directory).find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
  if (archive === undefined) throw new Error(`apt-get download left no package "${name}"`);
  execFileSync("dpkg-deb", ["-x", join(directory, archive), target]);
  return target;
}

function readHeaders(root: string, include: string, defines: readonly string[]): Numbers {
  const includes = ["-nostdinc", "-I", join(root, include), "-I", join(root, "usr/include"), ...defines];
  const macros = execFileSync("gcc", ["-E", "-dM", ...includes, "-include", "asm/unistd.h", "-x", "c", "/dev/null"], {
    encoding: "utf8",
  });
  const definitions = new Map<string, string>();
  for (const [, name, value] of macros.matchAll(/^#define (\w+) (.+)$/gm)) definitions.set(name ?? "", value ?? "");
  const numbers: Numbers = new Map();
  for (const macro of definitions.keys()) {
    const name = /^__(?:ARM_)?NR_(\w+)$/.exec(macro)?.[1];
    if (name === undefined || notASyscall.test(name) || macro === "__ARM_NR_BASE") continue;
    numbers.set(name, evaluate(macro, definitions));
  }
  return numbers;
}

/** Value of a macro whose definition is a number, another macro or a sum of those. */
function evaluate(expression: string, definitions: Map<string, string>): number {
  const terms = expression.replace(/[()\s]/g, "").split("+");
  let sum = 0;
  for (const term of terms) {
    const definition = definitions.get(term);
    const value = definition === undefined ? Number(term) : evaluate(definition, definitions);
    if (!Number.isInteger(value)) throw new Error(`cannot evaluate "${expression}"`);
    sum += value;
  }
  return sum;
}

function readGoSource(moduleDirectory: string, architecture: string): Numbers {
  const source = readFileSync(join(moduleDirectory, "unix", `zsysnum_linux_${architecture}.go`), "utf8");
  const numbers: Numbers = new Map();
  for (const [, name, value] of source.matchAll(/^\s*SYS_(\w+)\s*=\s*(\d+)$/gm)) {
    numbers.set((name ?? "").toLowerCase(), Number(value));
  }
  return numbers;
}

function addNewer(numbers: Numbers, newer: Numbers): void {
  const known = new Set(numbers.values());
  for (const [name, number] of newer) if (!known.has(number) && !numbers.has(name)) numbers.set(name, number);
}

function generate(directory: string): string {
  const moduleDirectory = goModuleDirectory(directory);
  const roots = new Map<string, string>();
  for (const { package: name } of columns) if (!roots.has(name)) roots.set(name, unpack(directory, name));
  const table = columns.map((column) => readHeaders(roots.get(column.package) ?? "", column.include, column.defines));
  columns.forEach((column, index) => {
    const numbers = table[index] ?? new Map<string, number>();
    if (column.go !== undefined) {
      addNewer(numbers, readGoSource(moduleDirectory, column.go));
      return;
    }
    const common = [...readGoSource(moduleDirectory, "amd64")].filter(
      ([name, number]) => number >= firstCommonNumber && !notOnX32.has(name),
    );
    addNewer(numbers, new Map(common.map(([name, number]) => [name, number + x32SyscallBit])));
  });
  const names = [...new Set(table.flatMap((numbers) => [...numbers.keys()]))].sort();
  const lines = names.map((name) => [name, ...table.map((numbers) => numbers.get(name) ?? "-")].join(" "));
  return `/**
 * Generated by scripts/generate-syscall-table.ts from the kernel's headers: do not edit.
 *
 * One line per system call: its name, then its number on x86-64, i386, x32, arm64 and arm, \`-\` where there is none.
 */
export const syscallTable = \`
${lines.join("\n")}
\`;
`;
}

function goModuleDirectory(directory: string): string {
  const answer = execFileSync("go", ["mod", "download", "-json", "golang.org/x/sys@latest"], {
    cwd: directory,
    encoding: "utf8",
  });
  const { Dir } = JSON.parse(answer) as { Dir: string };
  return Dir;
}

const directory = mkdtempSync(join(tmpdir(), "syscall-table-"));
try {
  writeFileSync(new URL("../sandbox/seccomp/syscall-table.ts", import.meta.url), generate(directory));
} finally {
  rmSync(directory, { recursive: true });
}
