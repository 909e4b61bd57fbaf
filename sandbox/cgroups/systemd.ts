/** The systemd driver: a scope for each container, asked for over D-Bus (org.freedesktop.systemd1(5)). */

import { UnsupportedError } from "../../specutils/errors.ts";
import { connectToSystemd, type DBus, DBusError } from "./dbus.ts";
import type { SystemdUnit, UnitProperty } from "./types.ts";

const MANAGER = { path: "/org/freedesktop/systemd1", interface: "org.freedesktop.systemd1.Manager" };
/** systemd answers in milliseconds; a manager that hangs must not hang the engine. */
const JOB_TIMEOUT_MS = 30_000;

/**
 * Starts a transient scope with `pid` in it and waits until systemd has made its cgroup.
 *
 * @throws UnsupportedError if systemd cannot be reached or refuses
 */
export async function startScope(unit: SystemdUnit, pid: number): Promise<void> {
  await withManager(`cannot create systemd scope "${unit.name}"`, async (bus) => {
    const properties = [...unit.properties, { name: "PIDs", signature: "au", value: [pid] }];
    try {
      await start(bus, unit.name, properties);
    } catch (error) {
      if (!(error instanceof DBusError) || error.errorName !== "org.freedesktop.systemd1.UnitExists") throw error;
      // A scope of that name which failed earlier is kept until somebody looks at it. One that is alive stays alive.
      await ignoreMissing(bus.call({ ...MANAGER, member: "ResetFailedUnit", signature: "s", body: [unit.name] }));
      await start(bus, unit.name, properties);
    }
  });
}

async function start(bus: DBus, name: string, properties: readonly UnitProperty[]): Promise<void> {
  const body = [name, "replace", variants(properties), []];
  await runJob(bus, { member: "StartTransientUnit", signature: "ssa(sv)a(sa(sv))", body }, true);
}

/** Stops a scope, which kills what is left in it, and forgets that it failed. A scope that is gone is fine. */
export async function stopUnit(name: string): Promise<void> {
  await withManager(`cannot stop systemd scope "${name}"`, async (bus) => {
    await ignoreMissing(runJob(bus, { member: "StopUnit", signature: "ss", body: [name, "replace"] }, false));
    await ignoreMissing(bus.call({ ...MANAGER, member: "ResetFailedUnit", signature: "s", body: [name] }));
  });
}

/** Tells systemd new limits, for this boot. */
export async function setUnitProperties(name: string, properties: readonly UnitProperty[]): Promise<void> {
  if (properties.length === 0) return;
  await withManager(`cannot update systemd scope "${name}"`, async (bus) => {
    const body = [name, true, variants(properties)];
    await bus.call({ ...MANAGER, member: "SetUnitProperties", signature: "sba(sv)", body });
  });
}

function variants(properties: readonly UnitProperty[]): unknown[] {
  return properties.map(({ name, signature, value }) => [name, { signature, value }]);
}

/**
 * A job's result comes as a signal, possibly before the answer that tells its path: signals are collected from before
 * the call on.
 */
async function runJob(
  bus: DBus,
  call: { member: string; signature: string; body: unknown[] },
  mustSucceed: boolean,
): Promise<void> {
  const removed = bus.collectSignals("JobRemoved");
  try {
    const [job] = await bus.call({ ...MANAGER, ...call });
    const signal = await removed.find(([, path]) => path === job, JOB_TIMEOUT_MS);
    const result = String(signal[3]);
    if (mustSucceed && result !== "done") throw new UnsupportedError(`systemd answered "${result}"`);
  } finally {
    removed.stop();
  }
}

async function ignoreMissing(done: Promise<unknown>): Promise<void> {
  try {
    await done;
  } catch (error) {
    if (!(error instanceof DBusError) || error.errorName !== "org.freedesktop.systemd1.NoSuchUnit") throw error;
  }
}

async function withManager(what: string, use: (bus: DBus) => Promise<void>): Promise<void> {
  let bus: DBus | undefined;
  try {
    bus = await connectToSystemd();
    await bus.call({ ...MANAGER, member: "Subscribe", signature: "", body: [] });
    await use(bus);
  } catch (error) {
    throw new UnsupportedError(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    bus?.close();
  }
}
