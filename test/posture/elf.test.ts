/** What the built binaries promise, read from their ELF headers (elf(5)). The flags are in scripts/flags.sh. */
import { describe, expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { distDirectory } from "../helpers/runtime-path.ts";

const it = requires("cloche", "gcc");

/** Sizes that nobody should need to exceed: half of cloche-init is the C library. */
const MAX_BYTES = { "cloche-init": 100_000, "cloche-syscall.node": 40_000 };

function readElf(name: string, ...flags: string[]): string {
  return execFileSync("readelf", ["--wide", ...flags, path.join(distDirectory, name)], { encoding: "utf8" });
}

for (const name of ["cloche-init", "cloche-syscall.node"] as const) {
  describe(name, () => {
    it(`${name}: is position independent, all relocations are read-only before it runs`, () => {
      expect(readElf(name, "--file-header")).toMatch(/Type:\s+DYN /);
      expect(readElf(name, "--program-headers")).toContain("GNU_RELRO");
      expect(readElf(name, "--dynamic")).toMatch(/BIND_NOW|FLAGS.*NOW/);
    });
    it(`${name}: has no memory that is writable and executable, and no executable stack`, () => {
      const segments = readElf(name, "--program-headers").split("\n");
      expect(segments.find((line) => line.includes("GNU_STACK"))).toMatch(/ RW +0x/);
      expect(segments.filter((line) => / RWE /.test(line))).toEqual([]);
    });
    it(`${name}: is small`, () => {
      expect(statSync(path.join(distDirectory, name)).size).toBeLessThan(MAX_BYTES[name]);
    });
  });
}

it("cloche-init: is static, so that no loader or library of the machine has a say", () => {
  expect(readElf("cloche-init", "--program-headers")).not.toContain("INTERP");
  expect(readElf("cloche-init", "--dynamic")).not.toContain("NEEDED");
});

it("cloche-syscall.node: needs the C library only, and exports its two entry points", () => {
  const needed = readElf("cloche-syscall.node", "--dynamic").match(/NEEDED.*\[(.*)\]/g);
  expect(needed).toEqual([expect.stringContaining("libc.so.6")]);
  const exported = readElf("cloche-syscall.node", "--dyn-syms")
    .split("\n")
    .filter((line) => / GLOBAL DEFAULT +\d+ /.test(line))
    .map((line) => line.trim().split(/\s+/).at(-1))
    .toSorted();
  expect(exported).toEqual(["napi_register_module_v1", "node_api_module_get_api_version_v1"]);
});

it("cloche: loads its addon at its start, from beside itself and nowhere else", () => {
  const listed = execFileSync("ldd", [path.join(distDirectory, "cloche")], { encoding: "utf8", cwd: "/" });
  expect(listed).toContain(`\t${distDirectory}/cloche-syscall.node (`);
  expect(readElf("cloche", "--dynamic")).not.toMatch(/\((RPATH|RUNPATH)\)/);
});

it("cloche: its code lies where Linux 5.10 makes no large pages of it by itself", () => {
  const loads = [...readElf("cloche", "--program-headers").matchAll(/ LOAD +0x(\w+) 0x(\w+)(?: 0x\w+){3} R E/g)];
  const apart = loads.map(
    ([, offset = "", address = ""]) => Number.parseInt(address, 16) - Number.parseInt(offset, 16),
  );
  expect(apart.length).toBe(1);
  expect(apart.filter((bytes) => bytes % 2 ** 21 === 0)).toEqual([]);
});
