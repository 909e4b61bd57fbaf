/** That installing and uninstalling leaves any valid file as it was, to the byte, whatever its layout and content. */
import { expect, test } from "bun:test";
import { type Random, randomNumbers } from "../../test/helpers/mutate.ts";
import { containerd } from "./containerd.ts";
import { docker } from "./docker.ts";
import type { Engine } from "./engine.ts";
import { planInstall, planUninstall } from "./registration.ts";

const COUNT = 3000;
const ENTRY = { name: "cloche", path: "/usr/local/bin/cloche" };

const pick = <T>(items: readonly T[], random: Random) => items[random(items.length)] as T;

/** JSON in a layout of its own: white space anywhere between tokens, or one indentation throughout. */
function randomDaemonJson(random: Random): string {
  const newline = pick(["\n", "\r\n"], random);
  const indent = pick(["  ", "    ", "\t", ""], random);
  const style = pick(["lines", "one line", "odd"], random);
  const space = () => pick(["", " ", newline, "\t", `${newline}${newline} `], random);
  const gap = (level: number) =>
    style === "lines" ? newline + indent.repeat(level) : style === "odd" ? space() : pick(["", " "], random);
  const object = (members: string[], level: number): string =>
    members.length === 0
      ? pick(["{}", "{ }", `{${newline}}`], random)
      : `{${gap(level + 1)}${members.join(`,${gap(level + 1)}`)}${gap(level)}}`;
  const key = (name: string) => `${JSON.stringify(name)}${style === "odd" ? space() : ""}:${pick(["", " "], random)}`;
  const values = [
    "true",
    "12345678901234567890",
    "-0.50e+1",
    '"\\u00e9 \\"runtimes\\": {"',
    "[1,\t2]",
    "null",
    '"ä😀"',
  ];
  const others = (count: number, level: number) =>
    Array.from({ length: random(count) }, (_, index) =>
      random(4) === 0
        ? `${key(`k${index}`)}${object([`${key("runtimes")}${pick(values, random)}`], level + 1)}`
        : `${key(`k${index}`)}${pick(values, random)}`,
    );
  const runtimes = Array.from(
    { length: random(3) },
    (_, index) => `${key(`r${index}`)}${object([`${key("path")}"/x${index}"`], 2)}`,
  );
  const members = others(4, 0);
  if (random(3) > 0) members.splice(random(members.length + 1), 0, `${key("runtimes")}${object(runtimes, 1)}`);
  return `${space()}${object(members, 0)}${space()}`;
}

/** A file of containerd's with comments, strings that look like headers, and tables in any order. */
function randomToml(random: Random): string {
  const newline = pick(["\n", "\r\n"], random);
  const cri = pick(['plugins."io.containerd.grpc.v1.cri"', "plugins.'io.containerd.grpc.v1.cri'"], random);
  const tables = [
    `[${cri}.cni]${newline}  bin_dir = "/x" # here`,
    `[ ${cri}.containerd ]${newline}snapshotter = "overlayfs"`,
    `[${cri}.containerd.runtimes.runc]${newline}\truntime_type = 'io.containerd.runc.v2'`,
    `[${cri}.containerd.runtimes.a.options]${newline}BinaryName = "/a"${newline}SystemdCgroup = true`,
    `[debug]${newline}level = """${newline}[not.a.table]${newline}"""`,
    `[[list]]${newline}at = 1979-05-27T07:32:00Z${newline}[[list]]`,
    `# [${cri}.containerd.runtimes.cloche]`,
    `[timeouts]${newline}"a b" = 18446744073709551615`,
  ]
    .filter(() => random(2) === 0)
    .sort(() => random(3) - 1);
  const end = pick(["", newline, newline + newline, `${newline}# end`], random);
  return [`version = 2${pick(["", " # two"], random)}`, ...tables].join(newline.repeat(1 + random(2))) + end;
}

async function roundTrip(engine: Engine, before: string): Promise<void> {
  const files = (text: string) => ({ read: () => text, list: () => [] });
  const there = await planInstall(engine, ENTRY, undefined, files(before));
  if ("reason" in there || there.change.after === undefined) throw new Error(JSON.stringify(there));
  const { after, record } = there.change;
  const back = await planUninstall(engine, ENTRY, record, files(after));
  if ("reason" in back || back.change.after !== before) throw new Error(`${before}\n----\n${after}`);
  // And without the record: then the runtime is gone, and what is left says the same.
  const without = await planUninstall(engine, ENTRY, undefined, files(after));
  if ("reason" in without || without.change.after === undefined) throw new Error(`${before}\n----\n${after}`);
  expect(engine.find(await engine.parse(without.change.after), ENTRY.name)).toBeUndefined();
}

test(`${COUNT} daemon.json files are what they were after install and uninstall`, async () => {
  const random = randomNumbers(0xd0c);
  for (let run = 0; run < COUNT; run++) await roundTrip(docker, randomDaemonJson(random));
});

test(`${COUNT} config.toml files are what they were after install and uninstall`, async () => {
  const random = randomNumbers(0x70312);
  for (let run = 0; run < COUNT; run++) await roundTrip(containerd, randomToml(random));
});
