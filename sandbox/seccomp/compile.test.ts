import { describe, expect, test } from "bun:test";
import { SpecError } from "../../specutils/errors.ts";
import type { Seccomp, SeccompArg, SeccompSyscall } from "../../specutils/spec.ts";
import { runFilter } from "../../test/helpers/bpf.ts";
import { compileSeccomp } from "./compile.ts";
import { actions, filterFlags, newListenerFlag } from "./constants.ts";

const x64 = 0xc000003e;
const i386 = 0x40000003;
const aarch64 = 0xc00000b7;
const arm = 0x40000028;
const x32 = 0x40000000;
const errno = (number: number) => actions.SCMP_ACT_ERRNO | number;
const { SCMP_ACT_ALLOW: allow, SCMP_ACT_KILL: kill } = actions;

/** A function that says what a profile answers, on x86-64 with x32 and i386 unless told otherwise. */
function verdicts(seccomp: Partial<Seccomp>, host: "x64" | "arm64" = "x64") {
  const architectures = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"];
  const { filter } = compileSeccomp({ defaultAction: "SCMP_ACT_ERRNO", architectures, ...seccomp }, host);
  return (number: number, args: bigint[] = [], arch = host === "x64" ? x64 : aarch64) =>
    runFilter(filter, { arch, number, args });
}

const rule = (names: string[], action: string, ...args: SeccompArg[]): SeccompSyscall => ({ names, action, args });
const eq = (index: number, value: bigint): SeccompArg => ({ index, op: "SCMP_CMP_EQ", value });

describe("actions", () => {
  test.each([
    ["SCMP_ACT_KILL", undefined, 0],
    ["SCMP_ACT_KILL_THREAD", undefined, 0],
    ["SCMP_ACT_KILL_PROCESS", undefined, 0x80000000],
    ["SCMP_ACT_TRAP", undefined, 0x00030000],
    ["SCMP_ACT_ERRNO", undefined, 0x00050001],
    ["SCMP_ACT_ERRNO", 0, 0x00050000],
    ["SCMP_ACT_ERRNO", 4095, 0x00050fff],
    ["SCMP_ACT_TRACE", undefined, 0x7ff00001],
    ["SCMP_ACT_TRACE", 65535, 0x7ff0ffff],
    ["SCMP_ACT_LOG", undefined, 0x7ffc0000],
    ["SCMP_ACT_ALLOW", undefined, 0x7fff0000],
    ["SCMP_ACT_NOTIFY", undefined, 0x7fc00000],
  ])("%s with errno %p", (action, errnoRet, value) => {
    const syscalls = [{ names: ["chmod"], action, ...(errnoRet === undefined ? {} : { errnoRet }) }];
    const verdict = verdicts({ defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 7, syscalls, listenerPath: "/a" });
    expect(verdict(90)).toBe(value);
    expect(verdict(89)).toBe(errno(7));
  });
});

describe("operators", () => {
  const values = [
    0n,
    1n,
    2n,
    0x7fffffffn,
    0xfffffffen,
    0xffffffffn,
    2n ** 32n,
    2n ** 32n + 1n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const meanings: Record<string, (argument: bigint, value: bigint) => boolean> = {
    SCMP_CMP_NE: (argument, value) => argument !== value,
    SCMP_CMP_LT: (argument, value) => argument < value,
    SCMP_CMP_LE: (argument, value) => argument <= value,
    SCMP_CMP_EQ: (argument, value) => argument === value,
    SCMP_CMP_GE: (argument, value) => argument >= value,
    SCMP_CMP_GT: (argument, value) => argument > value,
  };
  for (const [op, isTrue] of Object.entries(meanings)) {
    test(`${op} compares 64 bits without sign, and 32 where an architecture has no more`, () => {
      for (const value of values) {
        const architectures = ["SCMP_ARCH_X86"];
        const verdict = verdicts({
          architectures,
          syscalls: [rule(["read"], "SCMP_ACT_ALLOW", { index: 5, op, value })],
        });
        for (const argument of values) {
          const args = [0n, 0n, 0n, 0n, 0n, argument];
          const low = BigInt.asUintN(32, argument);
          expect([value, argument, verdict(0, args) === allow]).toEqual([value, argument, isTrue(argument, value)]);
          expect(verdict(3, args, i386) === allow).toBe(isTrue(low, BigInt.asUintN(32, value)));
        }
      }
    });
  }

  test("SCMP_CMP_MASKED_EQ compares the bits of value with those of valueTwo", () => {
    const mask = 0xff00000000000ff0n;
    const arg = { index: 0, op: "SCMP_CMP_MASKED_EQ", value: mask, valueTwo: 0x1200000000000340n };
    const verdict = verdicts({ syscalls: [rule(["read"], "SCMP_ACT_ALLOW", arg)] });
    expect(verdict(0, [0x1200000000000340n])).toBe(allow);
    expect(verdict(0, [0x12ffffffffff034fn])).toBe(allow);
    expect(verdict(0, [0x1300000000000340n])).toBe(errno(1));
    expect(verdict(0, [0x1200000000000350n])).toBe(errno(1));
  });
});

describe("rules of one call", () => {
  test("all conditions of a rule have to hold", () => {
    const verdict = verdicts({ syscalls: [rule(["read"], "SCMP_ACT_ALLOW", eq(0, 1n), eq(2, 5n))] });
    expect([verdict(0, [1n, 9n, 5n]), verdict(0, [1n, 9n, 6n]), verdict(0, [2n, 9n, 5n])]).toEqual([
      allow,
      errno(1),
      errno(1),
    ]);
  });

  test("conditions on the same argument are alternatives", () => {
    const verdict = verdicts({ syscalls: [rule(["read"], "SCMP_ACT_ALLOW", eq(0, 1n), eq(0, 2n))] });
    expect([1n, 2n, 3n].map((value) => verdict(0, [value]))).toEqual([allow, allow, errno(1)]);
  });

  test("the first rule that holds counts, and a rule that holds in part does not hide the next", () => {
    const verdict = verdicts({
      syscalls: [
        rule(["read"], "SCMP_ACT_TRAP", eq(0, 1n), eq(1, 1n)),
        rule(["read"], "SCMP_ACT_ALLOW", { index: 0, op: "SCMP_CMP_LE", value: 1n }),
        rule(["read"], "SCMP_ACT_LOG", eq(0, 1n)),
      ],
    });
    expect([verdict(0, [1n, 1n]), verdict(0, [1n, 2n]), verdict(0, [2n, 1n])]).toEqual([
      actions.SCMP_ACT_TRAP,
      allow,
      errno(1),
    ]);
  });

  test("a rule without arguments beats those with some, and the first of two counts", () => {
    const verdict = verdicts({
      syscalls: [
        rule(["read"], "SCMP_ACT_TRAP", eq(0, 1n)),
        rule(["read"], "SCMP_ACT_ALLOW"),
        rule(["read"], "SCMP_ACT_LOG"),
      ],
    });
    expect(verdict(0, [1n])).toBe(allow);
  });
});

describe("architectures", () => {
  const syscalls = [rule(["chmod", "openat2"], "SCMP_ACT_ALLOW")];

  test("the host's own is always included, the others if the profile says so", () => {
    const verdict = verdicts({ architectures: ["SCMP_ARCH_S390X", "SCMP_ARCH_PPC64LE"], syscalls });
    expect([verdict(90), verdict(15, [], i386), verdict(x32 + 90)]).toEqual([allow, kill, kill]);
    const wider = verdicts({ syscalls });
    expect([wider(90), wider(15, [], i386), wider(x32 + 90)]).toEqual([allow, allow, allow]);
  });

  test("numbers are the architecture's own", () => {
    const verdict = verdicts({ syscalls });
    expect([verdict(15), verdict(90, [], i386), verdict(x32 + 15)]).toEqual([errno(1), errno(1), errno(1)]);
    const onArm = verdicts({ syscalls: [rule(["mkdirat"], "SCMP_ACT_ALLOW")] }, "arm64");
    expect([onArm(34), onArm(323, [], arm), onArm(34, [], arm)]).toEqual([allow, allow, errno(1)]);
  });

  test("a skipped call (-1) is not taken for one of x32", () => {
    const verdict = verdicts({ architectures: [], syscalls });
    expect([verdict(0xffffffff), verdict(0xfffffffe)]).toEqual([errno(1), kill]);
  });

  test("i386 reaches socket and System V IPC calls through socketcall and ipc, too", () => {
    const names = ["accept", "shmat"];
    const verdict = verdicts({ syscalls: [rule(names, "SCMP_ACT_ALLOW"), rule(["clone3"], "SCMP_ACT_LOG")] });
    expect([verdict(102, [5n], i386), verdict(102, [6n], i386)]).toEqual([allow, errno(1)]);
    expect([verdict(117, [21n], i386), verdict(117, [22n], i386)]).toEqual([allow, errno(1)]);
  });
});

describe("calls that are newer than all that the profile names", () => {
  const syscalls = [rule(["read", "openat2"], "SCMP_ACT_ALLOW")];

  test("get ENOSYS where the default refuses", () => {
    for (const defaultAction of ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]) {
      const verdict = verdicts({ defaultAction, syscalls });
      expect([verdict(437), verdict(438), verdict(436) === errno(38)]).toEqual([allow, errno(38), false]);
      expect([verdict(438, [], i386), verdict(x32 + 438)]).toEqual([errno(38), errno(38)]);
    }
  });

  test("get the default where it lets them through", () => {
    expect(verdicts({ defaultAction: "SCMP_ACT_LOG", syscalls })(438)).toBe(actions.SCMP_ACT_LOG);
  });

  test("get the default where the profile names none at all", () => {
    expect(verdicts({ syscalls: [] })(9999)).toBe(errno(1));
  });

  test("leave alone arm's own calls, which lie above all", () => {
    const named = verdicts({ syscalls: [rule(["read", "set_tls"], "SCMP_ACT_ALLOW")] }, "arm64");
    expect([named(0xf0005, [], arm), named(400, [], arm)]).toEqual([allow, errno(38)]);
  });
});

describe("flags and the listener", () => {
  const base: Seccomp = { defaultAction: "SCMP_ACT_ALLOW" };
  const flagsOf = (seccomp: Partial<Seccomp>) => compileSeccomp({ ...base, ...seccomp }, "x64").flags;
  const notify = { syscalls: [rule(["mkdir"], "SCMP_ACT_NOTIFY")], listenerPath: "/run/agent" };
  const waitKillable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";

  test("no flags at all mean SPEC_ALLOW, an empty list none", () => {
    expect([flagsOf({}), flagsOf({ flags: [] })]).toEqual([filterFlags.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0]);
  });

  test("WAIT_KILLABLE_RECV is left out where there is no listener", () => {
    expect(flagsOf({ flags: [waitKillable, "SECCOMP_FILTER_FLAG_LOG"] })).toBe(filterFlags.SECCOMP_FILTER_FLAG_LOG);
    expect(flagsOf({ ...notify, flags: [waitKillable] })).toBe(newListenerFlag | filterFlags[waitKillable]);
  });

  test("a listener is needed exactly if something is notified", () => {
    expect(compileSeccomp({ ...base, ...notify }, "x64").needsListener).toBe(true);
    expect(compileSeccomp({ ...base, listenerPath: "/run/agent" }, "x64").needsListener).toBe(false);
  });
});

describe("a wrong profile", () => {
  const arg = { index: 0, op: "SCMP_CMP_EQ", value: 0n };
  const withArg = (change: Partial<SeccompArg>) => ({
    syscalls: [rule(["read"], "SCMP_ACT_TRAP", { ...arg, ...change })],
  });
  const cases: [string, string, Partial<Seccomp>][] = [
    ["defaultAction", 'unknown action "SCMP_ACT_NO"', { defaultAction: "SCMP_ACT_NO" }],
    ["defaultAction", 'unknown action "toString"', { defaultAction: "toString" }],
    ["defaultErrnoRet", "not possible with SCMP_ACT_ALLOW", { defaultErrnoRet: 1 }],
    ["architectures[1]", 'unknown architecture "SCMP_ARCH_Z80"', { architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_Z80"] }],
    ["flags[0]", 'unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER"', { flags: ["SECCOMP_FILTER_FLAG_NEW_LISTENER"] }],
    ["syscalls[0].names", "must not be empty", { syscalls: [rule([], "SCMP_ACT_TRAP")] }],
    ["syscalls[0].names[1]", "must not be empty", { syscalls: [rule(["read", ""], "SCMP_ACT_TRAP")] }],
    ["syscalls[0].action", 'unknown action ""', { syscalls: [rule(["read"], "")] }],
    ["syscalls[0].errnoRet", "not possible", { syscalls: [{ names: ["read"], action: "SCMP_ACT_TRAP", errnoRet: 1 }] }],
    ["syscalls[0].errnoRet", "got 4096", { syscalls: [{ names: ["read"], action: "SCMP_ACT_ERRNO", errnoRet: 4096 }] }],
    ["syscalls[0].args[0].op", 'unknown operator "=="', withArg({ op: "==" })],
    ["syscalls[0].args[0].index", "got 6, want 0 to 5", withArg({ index: 6 })],
    ["syscalls[0].args[0].value", "want 0 to 2^64-1", withArg({ value: 2n ** 64n })],
    ["listenerPath", "is required", { syscalls: [rule(["read"], "SCMP_ACT_NOTIFY")] }],
    ["syscalls", "sendmsg", { syscalls: [rule(["sendmsg"], "SCMP_ACT_NOTIFY")], listenerPath: "/a" }],
    ["syscalls", "sendmsg", { defaultAction: "SCMP_ACT_NOTIFY", listenerPath: "/a" }],
  ];
  test.each(cases)("%s: %s", (field, problem, change) => {
    let thrown: unknown;
    try {
      compileSeccomp({ defaultAction: "SCMP_ACT_ALLOW", ...change }, "x64");
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(SpecError);
    if (!(thrown instanceof SpecError)) throw new Error("not a SpecError");
    expect(thrown.field).toBe(`linux.seccomp.${field}`);
    expect(thrown.message).toStartWith(`invalid config.json: linux.seccomp.${field}: `);
    expect(thrown.message).toContain(problem);
  });

  test("is told from one that notifies everything but sendmsg", () => {
    const syscalls = [rule(["sendmsg"], "SCMP_ACT_ALLOW")];
    const { needsListener } = compileSeccomp({ defaultAction: "SCMP_ACT_NOTIFY", listenerPath: "/a", syscalls }, "x64");
    expect(needsListener).toBe(true);
  });

  test("a filter longer than the kernel takes is refused, and a call that no kernel has is skipped", () => {
    const many = Array.from({ length: 1500 }, (_, value) => rule(["read"], "SCMP_ACT_TRAP", eq(0, BigInt(value))));
    expect(() => compileSeccomp({ defaultAction: "SCMP_ACT_ALLOW", syscalls: many }, "x64")).toThrow(
      "kernel takes 4096",
    );
    expect(verdicts({ syscalls: [rule(["frobnicate", "read"], "SCMP_ACT_ALLOW")] })(0)).toBe(allow);
  });
});

test("a program with many far jumps answers as one with few", () => {
  const values = Array.from({ length: 100 }, (_, index) => BigInt(index) * 3n);
  const names = ["read", "write", "close", "openat2"];
  const syscalls = names.flatMap((name) => values.map((value) => rule([name], "SCMP_ACT_ALLOW", eq(1, value))));
  const verdict = verdicts({ architectures: [], syscalls });
  for (const number of [0, 1, 3, 437]) {
    for (let value = 0n; value < 310n; value++) {
      expect(verdict(number, [0n, value])).toBe(values.includes(value) ? allow : errno(1));
    }
    expect(verdict(number + 5)).toBe(errno(number === 437 ? 38 : 1));
  }
});
