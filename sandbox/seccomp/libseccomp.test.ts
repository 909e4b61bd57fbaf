/**
 * Compares what our filters answer with what libseccomp's answer for the same profile. Both programs run in a simulator, so
 * that any architecture can be looked at. Skipped without gcc and libseccomp-dev.
 */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp, SeccompArg, SeccompSyscall } from "../../specutils/spec.ts";
import { runFilter, type SeccompData } from "../../test/helpers/bpf.ts";
import { dockerSeccomp } from "../../test/helpers/docker-seccomp.ts";
import { compileSeccomp } from "./compile.ts";
import { type ArchitectureName, actions, type HostArch, hostArchitectures } from "./constants.ts";
import { isArmPrivateCall, syscallNumbers } from "./syscalls.ts";

const source = join(import.meta.dir, "../../test/fixtures/libseccomp-oracle.c");
const directory = mkdtempSync(join(tmpdir(), "libseccomp-oracle-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const oraclePath = join(directory, "oracle");
const hasOracle = spawnSync("gcc", ["-O1", "-o", oraclePath, source, "-lseccomp"]).status === 0;

const enosys = actions.SCMP_ACT_ERRNO | 38;
const allArchitectures = [...hostArchitectures.x64, ...hostArchitectures.arm64];
/** `SCMP_ARCH_*` of seccomp.h: audit architectures, but for x32, which has none of its own. */
const scmpArch = (name: ArchitectureName) =>
  name === "SCMP_ARCH_X32" ? 0x4000003e : (allArchitectures.find((one) => one.name === name)?.auditArch ?? 0);
/** `enum scmp_compare` of seccomp.h, which counts from 1. */
const operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map((name) => `SCMP_CMP_${name}`);
const scmpOperator = (op: string) => operators.indexOf(op) + 1;

/** A generator of repeatable random numbers (xorshift32). */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed * 2654435761 || 1;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}

/** What libseccomp makes of it, or undefined if rules contradict each other, which it refuses (EEXIST). */
function oracle(input: string): Buffer | undefined {
  const { status, stdout, stderr } = spawnSync(oraclePath, { input, maxBuffer: 1 << 26 });
  if (status === 0) return stdout;
  if (stderr.includes("File exists")) return undefined;
  throw new Error(`libseccomp refused: ${stderr}`);
}

/** Those of the names that libseccomp is new enough to know. */
function knownToLibseccomp(names: readonly string[]): string[] {
  const answer = oracle(names.map((name) => `name ${name}`).join("\n"));
  // On arm it does not know that this is another name of arm_sync_file_range.
  return String(answer)
    .trim()
    .split("\n")
    .filter((name) => name !== "sync_file_range2");
}

function actionValue(name: string, errno: number | undefined): number {
  const action = actions[name as keyof typeof actions];
  return name === "SCMP_ACT_ERRNO" || name === "SCMP_ACT_TRACE" ? action | (errno ?? 1) : action;
}

/** libseccomp's filter, given the rules in the way that runc gives them. */
function libseccompFilter(seccomp: Seccomp, host: HostArch): Uint8Array | undefined {
  const defaultAction = actionValue(seccomp.defaultAction, seccomp.defaultErrnoRet);
  const lines = [`default ${defaultAction}`];
  for (const { name } of includedArchitectures(seccomp.architectures, host)) lines.push(`arch ${scmpArch(name)}`);
  for (const { names, action, errnoRet, args = [] } of seccomp.syscalls ?? []) {
    const value = actionValue(action, errnoRet);
    if (value === defaultAction) continue;
    const conditions = args.map((arg) => `${arg.index} ${scmpOperator(arg.op)} ${arg.value} ${arg.valueTwo ?? 0}`);
    for (const name of names) lines.push(`rule ${value} ${name} ${args.length} ${conditions.join(" ")}`);
  }
  lines.push("export");
  return oracle(lines.join("\n"));
}

function includedArchitectures(names: readonly string[] | undefined, host: HostArch) {
  return hostArchitectures[host].filter(({ name }, index) => index === 0 || names?.includes(name));
}

/** Whether runc answers ENOSYS before libseccomp's filter is asked: the call is newer than all that the profile names. */
function isNewer(seccomp: Seccomp, host: HostArch, { arch, number }: SeccompData): boolean {
  if (/ALLOW|LOG|TRACE/.test(seccomp.defaultAction)) return false;
  const isX32 = arch === 0xc000003e && number >= 0x40000000;
  const architecture = includedArchitectures(seccomp.architectures, host).find(
    (one) => one.auditArch === arch && (one.name === "SCMP_ARCH_X32") === isX32,
  );
  if (architecture === undefined) return false;
  const numbers = syscallNumbers(architecture);
  const named = (seccomp.syscalls ?? []).flatMap(({ names }) => names.map((name) => numbers.get(name) ?? -1));
  const newest = Math.max(-1, ...named.filter((one) => !isArmPrivateCall(one)));
  return newest !== -1 && number > newest && !named.includes(number);
}

const interestingValues = [0n, 1n, 2n, 40n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 0x100000000n, 0x100000001n];
interestingValues.push(0x7e020000n, 0x8000000000000000n, 0xffffffff00000000n, 0xffffffffffffffffn);

function randomArg(random: Random): SeccompArg {
  const arg = { index: random.below(6), op: random.pick(operators), value: random.pick(interestingValues) };
  return arg.op === "SCMP_CMP_MASKED_EQ" ? { ...arg, valueTwo: random.pick(interestingValues) } : arg;
}

/**
 * The arguments of one system call's rules. libseccomp 2.5 does not come back for the other rules once a condition's first
 * half holds and its second does not, and leaves open which of several rules counts. So there is one rule with conditions
 * on different arguments, or there are several that ask for equality, as in docker's rules for personality(2).
 */
function randomConditions(random: Random): SeccompArg[][] {
  if (random.chance(60)) {
    const byIndex = new Map(
      Array.from({ length: 1 + random.below(3) }, () => randomArg(random)).map((a) => [a.index, a]),
    );
    return [[...byIndex.values()]];
  }
  const index = random.below(6);
  return Array.from({ length: 1 + random.below(4) }, () => [
    { index, op: "SCMP_CMP_EQ", value: random.pick(interestingValues) },
  ]);
}

function randomProfile(random: Random, host: HostArch, allNames: readonly string[]): Seccomp {
  const architectures = hostArchitectures[host].map(({ name }) => name).filter(() => random.chance(60));
  // A call that not every included architecture has can make libseccomp 2.5 leave out the instruction that loads the number.
  const numbers = includedArchitectures(architectures, host).map(syscallNumbers);
  const knownNames = allNames.filter((name) => numbers.every((map) => map.has(name)));
  const names = Array.from({ length: 1 + random.below(random.chance(30) ? 200 : 12) }, () => random.pick(knownNames));
  const actionNames = Object.keys(actions);
  const otherThanNotify = actionNames.filter((name) => name !== "SCMP_ACT_NOTIFY");
  const syscalls: SeccompSyscall[] = [];
  for (const name of new Set(names)) {
    const possibleActions = name === "sendmsg" ? otherThanNotify : actionNames;
    if (random.chance(50)) syscalls.push({ names: [name], action: random.pick(possibleActions) });
    if (random.chance(50) || name === "socketcall" || name === "ipc") continue;
    const action = random.pick(possibleActions);
    for (const args of randomConditions(random)) syscalls.push({ names: [name], action, args });
  }
  const defaultAction = random.pick(otherThanNotify);
  return { defaultAction, architectures, syscalls, listenerPath: "/run/agent.sock" };
}

/** Calls worth looking at: around each number of the profile, with arguments around those of its rules. */
function probes(random: Random, seccomp: Seccomp, host: HostArch): SeccompData[] {
  const calls: SeccompData[] = [];
  for (const architecture of hostArchitectures[host]) {
    const numbers = syscallNumbers(architecture);
    const chosen = new Set([0, 1, 500, 0x3fffffff, 0x40000000, 0x40000200, 0x7fffffff, 0xfffffffe, 0xffffffff]);
    for (const { names } of seccomp.syscalls ?? []) {
      for (const name of [...names, "socketcall", "ipc"]) {
        const number = numbers.get(name);
        if (number !== undefined) chosen.add(number).add(number + 1);
      }
    }
    for (const number of chosen) {
      for (let count = 0; count < 4; count++) {
        const args = Array.from({ length: 6 }, () =>
          BigInt.asUintN(64, random.pick(interestingValues) + BigInt(random.below(3) - 1)),
        );
        if (random.chance(60)) args[0] = BigInt(random.below(26));
        calls.push({ arch: architecture.auditArch, number, args });
      }
    }
  }
  calls.push({ arch: 0xc0000015, number: 1 });
  return calls;
}

const dockerProfile = hasOracle ? dockerSeccomp() : undefined;

describe.skipIf(!hasOracle)("compared with libseccomp (needs gcc and libseccomp-dev)", () => {
  test.skipIf(dockerProfile === undefined)(
    "docker's profile answers every call the same (needs go)",
    () => {
      if (dockerProfile === undefined) throw new Error("skipped");
      const known = new Set(knownToLibseccomp((dockerProfile.syscalls ?? []).flatMap(({ names }) => names)));
      const syscalls = (dockerProfile.syscalls ?? []).map((rule) => ({
        ...rule,
        names: rule.names.filter((name) => known.has(name)),
      }));
      const seccomp = { ...dockerProfile, syscalls: syscalls.filter(({ names }) => names.length > 0) };
      const reference = libseccompFilter(seccomp, "x64") ?? new Uint8Array();
      const { filter } = compileSeccomp(seccomp, "x64");
      expect(filter.length).toBeLessThan(reference.length);
      for (const architecture of hostArchitectures.x64) {
        const base = architecture.name === "SCMP_ARCH_X32" ? 0x40000000 : 0;
        for (let number = base; number < base + 600; number++) {
          for (const value of [0n, 1n, 8n, 38n, 39n, 40n, 42n, 0x20000n, 0x7e020000n, 0xffffffffn, 0x10000000000n]) {
            const call = { arch: architecture.auditArch, number, args: [value, value] };
            const wanted = isNewer(seccomp, "x64", call) ? enosys : runFilter(reference, call);
            const got = runFilter(filter, call);
            if (got !== wanted) expect({ call, verdict: got }).toEqual({ call, verdict: wanted });
          }
        }
      }
    },
    60_000,
  );

  for (const host of ["x64", "arm64"] as const) {
    test(`${host}: the same answers to random calls under random profiles`, () => {
      const allNames = [...new Set(hostArchitectures[host].flatMap((one) => [...syscallNumbers(one).keys()]))];
      const knownNames = knownToLibseccomp(allNames);
      let comparedProfiles = 0;
      for (let seed = 1; seed <= 40; seed++) {
        const random = new Random(seed);
        const seccomp = randomProfile(random, host, knownNames);
        const reference = libseccompFilter(seccomp, host);
        if (reference === undefined) continue;
        comparedProfiles++;
        const filter = compileSeccomp(seccomp, host).filter;
        for (const call of probes(random, seccomp, host)) {
          const wanted = isNewer(seccomp, host, call) ? enosys : runFilter(reference, call);
          const got = runFilter(filter, call);
          if (got !== wanted) expect({ seed, call, verdict: got }).toEqual({ seed, call, verdict: wanted });
        }
      }
      expect(comparedProfiles).toBeGreaterThan(25);
    }, 60_000);
  }
});
