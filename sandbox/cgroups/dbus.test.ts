import { afterAll, beforeAll, expect } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { requires } from "../../test/helpers/requires.ts";
import { type DBus, DBusError, openDBus } from "./dbus.ts";

const BUS = { path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
const test = requires("dbus");

let dir = "";
let daemon: ChildProcess | undefined;
beforeAll(async () => {
  dir = mkdtempSync(`${tmpdir()}/dbus-`);
  daemon = spawn("dbus-daemon", ["--session", "--nofork", "--print-address", `--address=unix:path=${dir}/bus`]);
  daemon.on("error", () => {});
  await new Promise<void>((resolve) => {
    daemon?.stdout?.once("data", () => resolve());
    daemon?.once("error", () => resolve());
  });
});
afterAll(() => {
  daemon?.kill("SIGKILL");
  rmSync(dir, { recursive: true });
});

async function withBus(use: (bus: DBus) => Promise<void>): Promise<void> {
  const bus = await openDBus(`${dir}/bus`, "org.freedesktop.DBus");
  try {
    await bus.hello();
    await use(bus);
  } finally {
    bus.close();
  }
}

test("DBus: a call is answered, several at once each with their own answer", () =>
  withBus(async (bus) => {
    const has = (name: string) => bus.call({ ...BUS, member: "NameHasOwner", signature: "s", body: [name] });
    expect(await Promise.all([has("org.freedesktop.DBus"), has("no.such.name")])).toEqual([[true], [false]]);
  }));

test("DBus: an error answer keeps its name", () =>
  withBus(async (bus) => {
    const call = bus.call({ ...BUS, member: "GetNameOwner", signature: "s", body: ["no.such.name"] });
    const error = await call.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DBusError);
    expect(error).toMatchObject({ errorName: "org.freedesktop.DBus.Error.NameHasNoOwner" });
  }));

test("DBus: a signal is found whether it came before or comes after one starts to wait", () =>
  withBus(async (bus) => {
    await bus.call({ ...BUS, member: "AddMatch", signature: "s", body: ["type='signal',member='NameOwnerChanged'"] });
    const signals = bus.collectSignals("NameOwnerChanged");
    const request = (name: string) => bus.call({ ...BUS, member: "RequestName", signature: "su", body: [name, 0] });
    const later = signals.find(([name]) => name === "dev.cloche.b", 5000);
    await request("dev.cloche.a");
    await request("dev.cloche.b");
    expect((await later)[0]).toBe("dev.cloche.b");
    expect((await signals.find(([name]) => name === "dev.cloche.a", 5000))[0]).toBe("dev.cloche.a");
    expect(signals.find(() => false, 50)).rejects.toThrow("no answer in time");
    signals.stop();
  }));

test("DBus: a socket that nobody listens on is an error", () => {
  expect(openDBus(`${dir}/none`, undefined)).rejects.toThrow();
});
