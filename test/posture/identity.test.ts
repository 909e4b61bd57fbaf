/**
 * Who a process is, when the container's files or the command line try to make somebody else of it: CVE-2016-3697 (user
 * names that are numbers), CVE-2026-30892 (`exec --user 1` ran as root), CVE-2022-29162 and CVE-2022-27650 (inheritable
 * capabilities on exec).
 */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";

const it = requires("root", "busybox");
const itOci = requires("root", "busybox", "oci");
const itCloche = requires("root", "busybox", "cloche");

/** A passwd in which names are numbers, and numbers are spelled in ways that a lenient parser takes for others. */
const HOSTILE_PASSWD = [
  "1000:x:0:0::/stolen:/bin/sh",
  "1:x:0:0::/stolen:/bin/sh",
  "root:x:0:0:root:/root:/bin/sh",
  "a:x:0001000:0::/stolen:/bin/sh",
  "b:x:+1000:0::/stolen:/bin/sh",
  "c:x:1000 :0::/stolen:/bin/sh",
  "d:x:4294968296:0::/stolen:/bin/sh",
  "user:x:1000:1000::/home/user:/bin/sh",
  "",
].join("\n");

function running(runtime: Runtime, uid: number): string {
  const bundle = runtime.bundle((spec) => {
    spec.process.user = { uid, gid: uid };
    spec.process.args = ["sleep", "60"];
  });
  writeFileSync(path.join(bundle, "rootfs/etc/passwd"), HOSTILE_PASSWD);
  writeFileSync(path.join(bundle, "rootfs/etc/group"), "1000:x:0:1000,1\n1:x:0:1\nroot:x:0:1000,1\n");
  const id = runtime.id();
  runtime.ok(["run", "--detach", "--bundle", bundle, id]);
  return id;
}

const WHO = ["sh", "-c", "grep -E '^(Uid|Gid|Groups)' /proc/self/status | tr -s '\\t ' ' ' | tr '\\n' ';'; echo $HOME"];

function identity(uid: number, gid: number, groups = ""): string {
  const four = (id: number) => Array(4).fill(id).join(" ");
  return `Uid: ${four(uid)};Gid: ${four(gid)};Groups:${groups} ;`;
}

it("CVE-2016-3697: a user of the container named like a number is not who that number is", () =>
  withRuntime((runtime) => {
    const id = running(runtime, 1000);
    const said = runtime.ok(["exec", id, ...WHO]);
    expect(said).toStartWith(identity(1000, 1000));
    expect(said).not.toContain("stolen");
    expect(runtime.ok(["exec", "--user", "1000:1000", id, ...WHO])).toStartWith(identity(1000, 1000));
  }));

for (const user of [
  "root",
  "user",
  "0x0",
  "1e3",
  "-1",
  "+1",
  " 1",
  "1 ",
  "1:",
  ":0",
  "1:root",
  "4294967296",
  "4294967295",
  "1:4294967296",
  "١",
  "",
]) {
  itCloche(`CVE-2016-3697: exec --user ${JSON.stringify(user)} is refused: neither a uid nor uid:gid`, () =>
    withRuntime((runtime) => {
      const id = running(runtime, 1000);
      const { exitCode, stdout, stderr } = runtime.run(["exec", `--user=${user}`, id, ...WHO]);
      expect({ stdout, failed: exitCode !== 0 }).toEqual({ stdout: "", failed: true });
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(stderr).toContain("--user");
    }),
  );
}

for (const gid of ["4294967295", "4294967296", "-1", "0x1", "root", ""]) {
  itCloche(`exec --additional-gids ${JSON.stringify(gid)} is refused: no group id`, () =>
    withRuntime((runtime) => {
      const { exitCode, stdout } = runtime.run(["exec", `--additional-gids=${gid}`, running(runtime, 1000), ...WHO]);
      expect({ failed: exitCode !== 0, stdout }).toEqual({ failed: true, stdout: "" });
    }),
  );
}

for (const field of ["uid", "gid"] as const) {
  itCloche(`process.user.${field} of 4294967295, which the kernel takes for "unchanged", is refused`, () =>
    withRuntime((runtime) => {
      const bundle = runtime.bundle((spec) => {
        spec.process.user[field] = 4294967295;
      });
      const { exitCode, stderr } = runtime.run(["run", "--bundle", bundle, runtime.id()]);
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain(`process.user.${field}`);
    }),
  );
}

itOci("CVE-2026-30892: exec --user 1 is uid 1, and never root", () =>
  withRuntime((runtime) => {
    const id = running(runtime, 1000);
    for (const uid of [1, 2, 10, 1000, 65534, 4294967294]) {
      expect(runtime.ok(["exec", "--user", String(uid), id, ...WHO])).toMatch(
        new RegExp(`^Uid: ${uid} ${uid} ${uid} ${uid};`),
      );
    }
    expect(runtime.ok(["exec", "--user", "1:2", id, ...WHO])).toStartWith(identity(1, 2));
  }),
);

it("neighbour of CVE-2026-30892: exec --user 0 is root", () =>
  withRuntime((runtime) => {
    expect(runtime.ok(["exec", "--user", "0:0", running(runtime, 1000), ...WHO])).toStartWith(identity(0, 0));
  }));

const SETS = ["sh", "-c", "grep ^Cap /proc/self/status | tr '\\t\\n' ' ;'"];
const KILL = "0000000000000020";
const NONE = "0000000000000000";

it("CVE-2022-29162: capabilities that exec adds are not inheritable, so a file's capabilities gain nothing", () =>
  withRuntime((runtime) => {
    const id = runtime.create((spec) => {
      spec.process.capabilities = { bounding: ["CAP_KILL"], effective: [], permitted: [] };
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const added = runtime.ok(["exec", "--cap", "CAP_KILL", id, ...SETS]);
    expect(added).toBe(`CapInh: ${NONE};CapPrm: ${KILL};CapEff: ${KILL};CapBnd: ${KILL};CapAmb: ${NONE};`);
    // What exec did not add is not there either.
    expect(runtime.ok(["exec", id, ...SETS])).toContain(`CapInh: ${NONE};`);
  }));

it("neighbour of CVE-2022-29162: inheritable capabilities that config.json asks for are there", () =>
  withRuntime((runtime) => {
    const all = ["CAP_KILL"];
    const id = runtime.create((spec) => {
      spec.process.capabilities = { bounding: all, effective: all, permitted: all, inheritable: all, ambient: all };
      spec.process.user = { uid: 1000, gid: 1000 };
      spec.process.args = ["sleep", "60"];
    });
    runtime.ok(["start", id]);
    const wanted = `CapInh: ${KILL};CapPrm: ${KILL};CapEff: ${KILL};CapBnd: ${KILL};CapAmb: ${KILL};`;
    expect(runtime.ok(["exec", id, ...SETS])).toBe(wanted);
  }));
