/** The systemd driver, on a host that systemd runs (the virtual machine). */
import { expect } from "bun:test";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { killCgroup } from "../../sandbox/cgroups/members.ts";
import { removeCgroup } from "../../sandbox/cgroups/remove.ts";
import { updateCgroup } from "../../sandbox/cgroups/update.ts";
import { ended, makeCgroup, startSleeper, uniqueName, withCgroup } from "../helpers/cgroup.ts";
import { requires } from "../helpers/requires.ts";

const test = requires("root", "systemd");
const MIB = 1024n * 1024n;

function show(unit: string, property: string): string {
  return execFileSync("systemctl", ["show", "--value", "--property", property, unit], { encoding: "utf8" }).trim();
}

test("systemd: the process is in a delegated scope of its slice, with its limits", async () => {
  const name = uniqueName();
  const resources = { memory: { limit: 64n * MIB }, pids: { limit: 7n }, cpu: { quota: 20_000n, period: 50_000n } };
  await withCgroup({ systemd: true, cgroupsPath: `a-b.slice:test:${name}`, resources }, (ref, child) => {
    const unit = `test-${name}.scope`;
    expect(ref.unit).toBe(unit);
    expect(ref.path).toBe(`/a.slice/a-b.slice/${unit}`);
    expect(readFileSync(`/proc/${child.pid}/cgroup`, "utf8")).toContain(`:/a.slice/a-b.slice/${unit}\n`);
    expect(show(unit, "Delegate")).toBe("yes");
    expect(show(unit, "TasksMax")).toBe("7");
    expect(show(unit, "CPUQuotaPerSecUSec")).toBe("400ms");
    expect(show(unit, "ActiveState")).toBe("active");
  });
  expect(show(`test-${name}.scope`, "LoadState")).toBe("not-found");
});

test("systemd: annotations become properties of the scope", async () => {
  const annotations = {
    "org.systemd.property.TimeoutStopSec": "uint64 123",
    "org.systemd.property.CollectMode": "'inactive-or-failed'",
    "org.systemd.property.After": "['basic.target']",
  };
  await withCgroup({ systemd: true, annotations }, (ref) => {
    expect(show(ref.unit ?? "", "TimeoutStopUSec")).toBe("2min 3s");
    expect(show(ref.unit ?? "", "CollectMode")).toBe("inactive-or-failed");
    expect(show(ref.unit ?? "", "After")).toContain("basic.target");
  });
});

test("systemd: limits hold after update and a daemon-reload", async () => {
  await withCgroup({ systemd: true, resources: { pids: { limit: 7n } } }, async (ref) => {
    const pidsMax = () => readFileSync(`${ref.dirs["pids"] ?? ref.dirs[""]}/pids.max`, "utf8").trim();
    await updateCgroup(ref, { pids: { limit: 9n } });
    expect(pidsMax()).toBe("9");
    execFileSync("systemctl", ["daemon-reload"]);
    expect(pidsMax()).toBe("9");
  });
});

test("systemd: a scope of a live container is refused and stays", async () => {
  await withCgroup({ systemd: true }, async (ref, child) => {
    const other = startSleeper();
    const cgroupsPath = `system.slice:${ref.unit?.replace(/\.scope$/, "").replace("-", ":")}`;
    const again = makeCgroup({ systemd: true, cgroupsPath }, other.pid);
    expect(again).rejects.toThrow(`cannot create systemd scope "${ref.unit}"`);
    await again.catch(() => {});
    other.kill("SIGKILL");
    expect(child.exitCode).toBeNull();
    expect(show(ref.unit ?? "", "ActiveState")).toBe("active");
  });
});

test("systemd: a property that systemd does not know is an error with its reason, and leaves nothing", async () => {
  const id = uniqueName();
  const child = startSleeper();
  const made = makeCgroup({ id, systemd: true, annotations: { "org.systemd.property.Nonsense": "true" } }, child.pid);
  expect(made).rejects.toThrow("Nonsense");
  await made.catch(() => {});
  child.kill("SIGKILL");
  expect(show(`cloche-${id}.scope`, "LoadState")).toBe("not-found");
});

test("systemd: removing a scope that has ended by itself is fine", async () => {
  const child = startSleeper();
  const ref = await makeCgroup({ systemd: true }, child.pid);
  const end = ended(child);
  killCgroup(ref, 9);
  await end;
  await removeCgroup(ref);
  await removeCgroup(ref);
});
