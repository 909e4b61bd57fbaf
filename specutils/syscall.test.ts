import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { SyscallError } from "./errors.ts";
import {
  addressOf,
  errnoName,
  forwardSignals,
  kill,
  memfd,
  mount,
  NR,
  openat2,
  pidfdOpen,
  pidfdSendSignal,
  poll,
  READ_LATER,
  READ_OTHER,
  readSoon,
  receiveMessage,
  sendMessage,
  setPassCredentials,
  socketPair,
  spawnHelper,
  strerror,
  sys,
  sysRow,
  throwErrno,
  umount,
  waitPid,
} from "./syscall.ts";

const { ENOENT, EBADF, EINVAL, ESRCH, EMSGSIZE, EPIPE, EBUSY, EACCES } = os.constants.errno;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cloche-syscall-"));
afterAll(() => fs.rmSync(directory, { recursive: true }));

/** Errno of the SyscallError that `call` throws. */
function errnoOf(call: () => unknown): number {
  try {
    call();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(SyscallError);
    return (thrown as SyscallError).errno;
  }
  throw new Error("nothing was thrown");
}

/** Runs a shell script as spawnHelper's child, with stdout in a file, and returns how it ended and what it printed. */
function runShell(script: string, fds: [number, number][] = []) {
  const file = path.join(directory, "stdout");
  const out = fs.openSync(file, "w");
  const pid = spawnHelper("/bin/sh", ["sh", "-c", script], ["A=1"], [[1, out], ...fds]);
  const end = waitPid(pid);
  fs.closeSync(out);
  return { pid, end, stdout: fs.readFileSync(file, "utf8") };
}

function openFds(): string[] {
  return fs.readdirSync("/proc/self/fd");
}

describe("sys", () => {
  test("passes strings, bytes and numbers, and fills bytes", () => {
    const target = path.join(directory, "link");
    fs.symlinkSync("ö/target", target);
    const bytes = new Uint8Array(64);
    const length = sys(NR.readlinkat, -100, target, bytes, bytes.length);
    expect(new TextDecoder().decode(bytes.subarray(0, length))).toBe("ö/target");
  });
  test("passes strings longer than the space on the stack", () => {
    expect(sys(NR.memfd_create, "x".repeat(100_000), 0)).toBe(-EINVAL);
    expect(sys(NR.symlinkat, "x".repeat(4000), -100, "y".repeat(5000))).toBe(-os.constants.errno.ENAMETOOLONG);
  });
  test("returns -errno", () => {
    expect(sys(NR.close, 1_000_000)).toBe(-EBADF);
    expect(sys(NR.openat, -100, "/nope", 0)).toBe(-ENOENT);
  });
  test("passes bigints by their 64 bits, null as NULL", () => {
    expect(sys(NR.close, -1n)).toBe(-EBADF);
    expect(sys(NR.close, 0xffff_ffff_ffff_ffffn)).toBe(-EBADF);
    expect(sys(NR.openat, -100, null, 0)).toBe(-os.constants.errno.EFAULT);
  });
  test("refuses a NUL inside a string, a fraction, an array and a seventh argument", () => {
    const bad = [
      ["a\0b"],
      [1.5],
      [Number.NaN],
      [[1]],
      [undefined],
      [true],
      [1, 2, 3, 4, 5, 6, 7],
    ] as unknown as number[][];
    for (const args of bad) {
      expect(() => sys(NR.close, ...args)).toThrow(TypeError);
    }
  });
});

test("NR has the kernel headers' numbers, on this architecture and in the generic table that arm64 uses", () => {
  const names = Object.keys(NR);
  const numbersOf = (header: string, arch: string) => {
    const source = `#include <${header}>\n${names.map((name) => `${name} __NR_${name}\n`).join("")}`;
    const text = execFileSync("gcc", ["-E", "-P", "-D__BITS_PER_LONG=64", "-D__ARCH_WANT_RENAMEAT", "-xc", "-"], {
      input: source,
      encoding: "utf8",
    });
    const entries = text.matchAll(/^(\w+) (?:__NR_)?(\w+)$/gm);
    return { arch, ...Object.fromEntries([...entries].map(([, name, number]) => [name, Number(number)])) };
  };
  expect(numbersOf("asm/unistd.h", process.arch)).toEqual({ arch: process.arch, ...NR });
  const other = process.arch === "x64" ? "arm64" : "x64";
  const table = JSON.stringify(path.join(import.meta.dirname, "syscall/numbers.ts"));
  const program = `Object.defineProperty(process, "arch", { value: "${other}" });
    const { NR } = await import(${table}); console.log(JSON.stringify(NR));`;
  const numbers = JSON.parse(execFileSync(process.execPath, ["-e", program], { encoding: "utf8" }));
  const header = other === "arm64" ? "asm-generic/unistd.h" : "asm/unistd_64.h";
  expect(numbersOf(header, other)).toEqual({ arch: other, ...numbers });
});

test("sysRow makes all calls in their order, and returns what the last one returned", () => {
  const [reader, writer] = socketPair();
  const bytes = new Uint8Array(new TextEncoder().encode("ab").buffer);
  const write = (offset: bigint) => [NR.write, writer, addressOf(bytes) + offset, 1, 0, 0, 0];
  expect(sysRow(new BigInt64Array([...write(0n), ...write(1n)].map(BigInt)))).toBe(1);
  expect([receiveMessage(reader, 8), receiveMessage(reader, 8)].map(({ data }) => data[0])).toEqual([0x61, 0x62]);
  for (const fd of [reader, writer]) fs.closeSync(fd);
  expect(sysRow(new BigInt64Array([NR.close, reader, 0, 0, 0, 0, 0].map(BigInt)))).toBe(-EBADF);
  expect(() => sysRow(new BigInt64Array(6))).toThrow(TypeError);
  expect(() => sysRow(new BigInt64Array(0))).toThrow(TypeError);
});

test("addressOf gives an address that the kernel can use and that stays", () => {
  const bytes = new Uint8Array(8);
  const address = addressOf(bytes);
  Bun.gc(true);
  const [reader, writer] = socketPair();
  sendMessage(writer, new Uint8Array([1, 2, 3]));
  expect(sys(NR.read, reader, address, 8)).toBe(3);
  expect([...bytes]).toEqual([1, 2, 3, 0, 0, 0, 0, 0]);
  expect(addressOf(bytes.subarray(2))).toBe(address + 2n);
  fs.closeSync(reader);
  fs.closeSync(writer);
});

describe("error texts", () => {
  test("errnoName names errors", () => {
    expect([ENOENT, EBADF, 524].map(errnoName)).toEqual(["ENOENT", "EBADF", "errno 524"]);
  });
  test("strerror is lower case but for acronyms", () => {
    expect([ENOENT, EACCES, 5, 97, 524].map(strerror)).toEqual([
      "no such file or directory",
      "permission denied",
      "input/output error",
      "address family not supported by protocol",
      "errno 524",
    ]);
  });
  test("throwErrno returns results and names call and target of failures", () => {
    expect(throwErrno("open", "/x", 3)).toBe(3);
    expect(() => throwErrno("open", "/a\nb", -ENOENT)).toThrow('open "/a\\nb": no such file or directory');
  });
});

describe("openat2", () => {
  const RESOLVE_IN_ROOT = 0x10;
  test("resolves inside the directory and returns a close-on-exec descriptor", () => {
    fs.writeFileSync(path.join(directory, "inside"), "yes");
    fs.symlinkSync("/inside", path.join(directory, "absolute"));
    const root = fs.openSync(directory, "r");
    const fd = openat2(root, "absolute", fs.constants.O_RDONLY | 0o2000000, 0, RESOLVE_IN_ROOT);
    expect(fs.readFileSync(fd, "utf8")).toBe("yes");
    expect(sys(NR.fcntl, fd, 1)).toBe(1);
    fs.closeSync(fd);
    expect(errnoOf(() => openat2(root, "../nope", 0, 0, RESOLVE_IN_ROOT))).toBe(ENOENT);
    fs.closeSync(root);
  });
});

describe("memfd", () => {
  test("holds the content and refuses every change", () => {
    const fd = memfd("plan", new TextEncoder().encode("content"));
    expect(fs.readFileSync(`/proc/self/fd/${fd}`, "utf8")).toBe("content");
    expect(() => fs.writeSync(fd, "x", 0)).toThrow("EPERM");
    expect(() => fs.ftruncateSync(fd, 1)).toThrow("EPERM");
    expect(sys(NR.fcntl, fd, 1034)).toBe(0xf);
    expect(sys(NR.fcntl, fd, 1)).toBe(1);
    fs.closeSync(fd);
  });
});

describe("messages", () => {
  test("carry data and working close-on-exec descriptors, one by one", () => {
    const [one, other] = socketPair();
    const file = memfd("sent", new TextEncoder().encode("through"));
    sendMessage(one, new Uint8Array([1, 2]), [file, file]);
    sendMessage(one, new Uint8Array([3]));
    const first = receiveMessage(other, 16);
    expect([...first.data]).toEqual([1, 2]);
    expect(first.fds).toHaveLength(2);
    expect(first.pid).toBeUndefined();
    for (const fd of first.fds) {
      expect(fs.readFileSync(`/proc/self/fd/${fd}`, "utf8")).toBe("through");
      expect(sys(NR.fcntl, fd, 1)).toBe(1);
      fs.closeSync(fd);
    }
    expect([...receiveMessage(other, 16).data]).toEqual([3]);
    for (const fd of [file, one, other]) fs.closeSync(fd);
  });
  test("carry 253 descriptors and the sender at once", () => {
    const [one, other] = socketPair();
    setPassCredentials(other);
    sendMessage(one, new Uint8Array([1]), Array(253).fill(one));
    const message = receiveMessage(other, 16);
    expect(message.fds).toHaveLength(253);
    expect(message.pid).toBe(process.pid);
    for (const fd of [...message.fds, one, other]) fs.closeSync(fd);
  });
  test("end with an empty one when the sender has closed, and sending fails without a signal", () => {
    const [one, other] = socketPair();
    fs.closeSync(one);
    expect(receiveMessage(other, 16)).toEqual({ data: new Uint8Array(0), fds: [] });
    expect(errnoOf(() => sendMessage(other, new Uint8Array([1])))).toBe(EPIPE);
    fs.closeSync(other);
  });
  test("too long are refused, and their descriptors closed", () => {
    const [one, other] = socketPair();
    const before = openFds().length;
    sendMessage(one, new Uint8Array(100), [one]);
    expect(errnoOf(() => receiveMessage(other, 10))).toBe(EMSGSIZE);
    expect(openFds()).toHaveLength(before);
    fs.closeSync(one);
    fs.closeSync(other);
  });
});

describe("poll", () => {
  test("tells what is ready, and returns after the timeout", () => {
    const [one, other] = socketPair();
    expect(poll([{ fd: one, events: 1 }], 0)).toEqual([0]);
    const start = performance.now();
    expect(poll([{ fd: one, events: 1 }], 30)).toEqual([0]);
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
    sendMessage(other, new Uint8Array([1]));
    expect(
      poll(
        [
          { fd: one, events: 1 },
          { fd: other, events: 4 },
        ],
        -1,
      ),
    ).toEqual([1, 4]);
    fs.closeSync(one);
    fs.closeSync(other);
  });
});

describe("spawnHelper", () => {
  test.skipIf(process.geteuid?.() !== 0)("limits the capabilities of the child, and not its own", () => {
    const capabilities = () => /^CapBnd:\t(\w+)$/m.exec(fs.readFileSync("/proc/self/status", "utf8"))?.[1];
    const before = capabilities();
    const out = memfd("out", new Uint8Array(0));
    // CAP_CHOWN and CAP_FSETID. The memfd is sealed: what is looked at is how the child ends.
    const script = "grep -q '^CapEff:\t0*11$' /proc/self/status && grep -q '^CapBnd:\t0*11$' /proc/self/status";
    const limited = waitPid(spawnHelper("/bin/sh", ["sh", "-c", script], [], [[1, out]], 0b10001n));
    const unlimited = waitPid(spawnHelper("/bin/sh", ["sh", "-c", script], [], [[1, out]]));
    fs.closeSync(out);
    expect([limited?.exitCode, unlimited?.exitCode]).toEqual([0, 1]);
    expect(capabilities()).toBe(before);
  });

  test("gives exactly the wanted descriptors, swapped ones too", () => {
    const a = memfd("a", new TextEncoder().encode("A"));
    const b = memfd("b", new TextEncoder().encode("B"));
    const swapped: [number, number][] = [
      [a, b],
      [b, a],
      [200, b],
    ];
    const script = `cat /proc/self/fd/${a} /proc/self/fd/${b} /proc/self/fd/200; ls /proc/self/fd`;
    const { end, stdout } = runShell(script, swapped);
    expect(end).toMatchObject({ exitCode: 0 });
    expect(stdout.slice(0, 3)).toBe("BAB");
    // 0 and 2 are closed, so `ls` opens the directory as 0.
    const listed = stdout.slice(3).trim().split("\n");
    expect(listed.map(Number).toSorted((x, y) => x - y)).toEqual([0, 1, a, b, 200].toSorted((x, y) => x - y));
    fs.closeSync(a);
    fs.closeSync(b);
  });
  test("starts with no signal blocked, ignored or handled, whatever the parent does", () => {
    const { stdout } = runShell("exec cat /proc/self/status");
    expect(stdout.match(/^Sig(Blk|Ign|Cgt):\t0+$/gm)).toHaveLength(3);
  });
  test("passes arguments and environment exactly", () => {
    const { stdout } = runShell("tr '\\0' , < /proc/self/environ");
    expect(stdout).toBe("A=1,");
  });
  test("throws the reason if the program cannot be executed, and leaves no child", () => {
    expect(errnoOf(() => spawnHelper("/nope", ["nope"], [], []))).toBe(ENOENT);
    expect(errnoOf(() => spawnHelper(directory, ["x"], [], []))).toBe(EACCES);
    expect(errnoOf(() => spawnHelper("/bin/true", ["true"], [], [[0, 99_999]]))).toBe(EBADF);
    expect(errnoOf(() => waitPid(-1))).toBe(os.constants.errno.ECHILD);
  });
  test("refuses a descriptor twice and NUL characters", () => {
    expect(() =>
      spawnHelper(
        "/bin/true",
        ["true"],
        [],
        [
          [3, 0],
          [3, 1],
        ],
      ),
    ).toThrow(TypeError);
    expect(() => spawnHelper("/bin/true", ["a\0b"], [], [])).toThrow(TypeError);
    expect(() => spawnHelper("/bin/true\0", ["true"], [], [])).toThrow(TypeError);
  });
  test("leaves this process's descriptors and signal mask alone", () => {
    const mask = () => fs.readFileSync("/proc/self/status", "utf8").match(/SigBlk.*/)?.[0];
    const before = [openFds(), mask()];
    runShell("true");
    expect([openFds(), mask()]).toEqual(before);
  });
});

describe("waitPid", () => {
  test("tells every exit code", () => {
    for (const code of [0, 1, 127, 128, 255]) {
      const { pid, end } = runShell(`exit ${code}`);
      expect(end).toEqual({ pid, exitCode: code });
    }
  });
  test("tells the signal", () => {
    const { pid, end } = runShell("kill -KILL $$");
    expect(end).toEqual({ pid, signal: 9 });
  });
  test("with noHang returns at once", () => {
    const pid = spawnHelper("/bin/sleep", ["sleep", "60"], [], []);
    expect(waitPid(pid, { noHang: true })).toBeUndefined();
    kill(pid, 9);
    expect(waitPid(pid)).toEqual({ pid, signal: 9 });
  });
});

describe("pidfds", () => {
  test("signal the process, real-time signals too, until it is reaped", () => {
    const pid = spawnHelper("/bin/sleep", ["sleep", "60"], [], []);
    const pidfd = pidfdOpen(pid);
    pidfdSendSignal(pidfd, 0);
    pidfdSendSignal(pidfd, 64);
    expect(waitPid(pid)).toEqual({ pid, signal: 64 });
    expect(errnoOf(() => pidfdSendSignal(pidfd, 0))).toBe(ESRCH);
    expect(errnoOf(() => pidfdOpen(pid))).toBe(ESRCH);
    fs.closeSync(pidfd);
  });
});

describe("forwardSignals", () => {
  test("reaches the process while this one is blocked in waitPid", () => {
    for (const signal of [1, 2, 10, 15, 34, 64]) {
      const pid = spawnHelper("/bin/sleep", ["sleep", "60"], [], []);
      const undo = forwardSignals(pid);
      const sender = spawnHelper("/bin/sh", ["sh", "-c", `sleep 0.05; kill -${signal} ${process.pid}`], [], []);
      expect(waitPid(pid)).toEqual({ pid, signal });
      undo();
      waitPid(sender);
    }
  });
  test("takes signals from libraries that listen for them", () => {
    process.on("SIGUSR2", () => {});
    const pid = spawnHelper("/bin/sleep", ["sleep", "60"], [], []);
    const undo = forwardSignals(pid);
    const sender = spawnHelper("/bin/sh", ["sh", "-c", `sleep 0.05; kill -USR2 ${process.pid}`], [], []);
    expect(waitPid(pid)).toEqual({ pid, signal: 12 });
    undo();
    waitPid(sender);
    expect(process.listenerCount("SIGUSR2")).toBe(0);
  });
  test("leaves the engine's own handlers alone and restores what was there", () => {
    const handled = () => fs.readFileSync("/proc/self/status", "utf8").match(/Sig(Ign|Cgt).*/g);
    const before = handled();
    const pid = spawnHelper("/bin/sleep", ["sleep", "60"], [], []);
    const undo = forwardSignals(pid);
    expect(handled()).not.toEqual(before);
    expect(errnoOf(() => forwardSignals(pid))).toBe(EBUSY);
    undo();
    expect(handled()).toEqual(before);
    kill(pid, 9);
    waitPid(pid);
  });
  test("is harmless once the process is gone", () => {
    const pid = spawnHelper("/bin/true", ["true"], [], []);
    const undo = forwardSignals(pid);
    waitPid(pid);
    kill(process.pid, 10);
    undo();
    expect(errnoOf(() => forwardSignals(pid))).toBe(ESRCH);
  });
});

test("mount and umount name the target when they fail", () => {
  expect(() => mount(null, "/nope/x", "tmpfs", 0, null)).toThrow(/^mount "\/nope\/x": /);
  expect(() => umount("/nope/x", 0)).toThrow(/^umount2 "\/nope\/x": /);
});

test("the same addon works under Node", () => {
  const addon = path.join(import.meta.dirname, "..", "dist", "cloche-syscall.node");
  const program = `const m = { exports: {} }; process.dlopen(m, ${JSON.stringify(addon)});
    console.log(m.exports.sys(${NR.close}, 1000000), m.exports.errorName(2));`;
  const { stdout, stderr } = spawnSync("node", ["-e", program], { encoding: "utf8" });
  expect([stdout, stderr]).toEqual([`-${EBADF} ENOENT\n`, ""]);
});

describe("readSoon", () => {
  const pipe = (): [number, number] => {
    const fds = new Int32Array(new ArrayBuffer(8));
    expect(sys(NR.pipe2, new Uint8Array(fds.buffer), fs.constants.O_NONBLOCK)).toBe(0);
    return [fds[0] ?? -1, fds[1] ?? -1];
  };
  const buffer = new Uint8Array(new ArrayBuffer(64));
  const address = Number(addressOf(buffer));
  const closeAll = (...fds: number[]) => {
    for (const fd of fds) sys(NR.close, fd);
  };

  test("reads what is there, says whose it is, and gives up after the time", () => {
    const [[read, write], [otherRead, otherWrite]] = [pipe(), pipe()];
    const text = new TextEncoder().encode("hello");
    expect(readSoon(read, otherRead, address, 64, 0)).toBe(-os.constants.errno.EAGAIN);
    const before = performance.now();
    expect(readSoon(read, -1, address, 64, 2e6)).toBe(-os.constants.errno.EAGAIN);
    expect(performance.now() - before).toBeGreaterThan(1.9);
    sys(NR.write, write, text, 5);
    expect(readSoon(read, otherRead, address, 64, 0)).toBe(5);
    expect(new TextDecoder().decode(buffer.subarray(0, 5))).toBe("hello");
    sys(NR.write, otherWrite, text, 4);
    expect(readSoon(read, otherRead, address, 64, 0)).toBe(READ_OTHER + 4);
    // An end is a length of 0; what is wrong with the other one is not told.
    expect(readSoon(read, 9999, address, 64, 0)).toBe(-os.constants.errno.EAGAIN);
    expect(readSoon(9999, read, address, 64, 0)).toBe(-os.constants.errno.EBADF);
    closeAll(write, otherWrite);
    expect(readSoon(read, otherRead, address, 64, 0)).toBe(0);
    closeAll(read, otherRead);
  });

  test("says whether it had to look for it", async () => {
    const [read, write] = pipe();
    const writer = Bun.spawn(["sh", "-c", "sleep 0.05; printf x >&3"], {
      stdio: ["ignore", "ignore", "ignore", write],
    });
    expect(readSoon(read, -1, address, 64, 10e9)).toBe(READ_LATER + 1);
    expect(await writer.exited).toBe(0);
    closeAll(read, write);
  });

  test("refuses what is not a number", () => {
    expect(() => readSoon(0, 0, 0, 0, "x" as unknown as number)).toThrow(TypeError);
  });
});
