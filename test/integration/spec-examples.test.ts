/**
 * The runtime-spec's own examples of good and bad configs, fetched with the Go module that they belong to. Good ones
 * have the form of a config; that does not make each of them one that can run on this platform.
 */

import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkConfig, parseConfig } from "../../specutils/config.ts";
import { missing, requires } from "../helpers/requires.ts";

const MODULE = "github.com/opencontainers/runtime-spec@v1.3.0";

/** The directory of the module's sources. The module cache keeps it for the next time. */
function download(): string {
  const answer = execFileSync("go", ["mod", "download", "-json", MODULE], { cwd: "/", encoding: "utf8" });
  return JSON.parse(answer).Dir;
}

const needsGo = requires("go");
const examples = missing("go").length > 0 ? undefined : join(download(), "schema/test/config");

/** Why a good example is refused all the same, when it comes to running it here. */
const REASONS: Readonly<Record<string, string>> = {
  "freebsd-example.json": 'hostname: needs a namespace of type "uts"',
  "linux-netdevice.json": 'linux.netDevices: needs a namespace of type "network"',
  "spec-example.json": 'ociVersion: got "0.5.0-dev"',
  "zos-example.json": 'ociVersion: got "0.5.0-dev"',
};

if (examples === undefined) {
  needsGo("the runtime-spec's examples", () => {});
} else {
  test("the runtime-spec has good and bad examples", () => {
    expect(readdirSync(join(examples, "good")).length).toBeGreaterThanOrEqual(9);
    expect(readdirSync(join(examples, "bad")).length).toBeGreaterThanOrEqual(5);
  });

  test.each(readdirSync(join(examples, "good")))("good: %s has the form of a config", (name) => {
    const config = parseConfig(readFileSync(join(examples, "good", name), "utf8"));
    const reason = REASONS[name];
    if (reason === undefined) expect(() => checkConfig(config)).not.toThrow();
    else expect(() => checkConfig(config)).toThrow(`invalid config.json: ${reason}`);
  });

  test.each(readdirSync(join(examples, "bad")))("bad: %s is refused", (name) => {
    expect(() => parseConfig(readFileSync(join(examples, "bad", name), "utf8"))).toThrow(/^invalid config\.json: \S+/);
  });

  test("the spec's full example is a config that cloche could run, but for its version", () => {
    const text = readFileSync(join(examples, "good/spec-example.json"), "utf8").replace("0.5.0-dev", "1.3.0");
    expect(() => checkConfig(parseConfig(text))).not.toThrow();
  });
}
