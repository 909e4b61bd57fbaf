/**
 * podman (and buildah): a file of our own in containers.conf.d (containers.conf(5)).
 *
 * `runtime_supports_json` decides whether podman gives the runtime a log, `runtime_supports_nocgroup` whether it may be
 * asked for no cgroup. A file that sets such a list replaces the list of the files before it, so ours repeats theirs.
 */

import { messageOf } from "../../specutils/errors.ts";
import type { Document, Engine, Files } from "./engine.ts";
import { isObject } from "./json-edit.ts";
import { parseToml, valueAt, withoutValue } from "./toml-edit.ts";

const DIRECTORY = "/etc/containers/containers.conf.d";

/** The lists that name runtimes, as podman has them built in (common/pkg/config of 4.3 and 5). */
const LISTS: Readonly<Record<string, readonly string[]>> = {
  runtime_supports_json: ["crun", "runc", "kata", "runsc", "youki", "krun", "ocijail"],
  runtime_supports_nocgroup: ["crun", "krun"],
};

const COMMENT = '# Added by "cloche install". "cloche uninstall" takes it out again.';

export const podman: Engine = {
  name: "podman",
  signs: { programs: ["podman", "buildah"], paths: ["/etc/containers"] },
  file: (name) => `${DIRECTORY}/99-${name}.conf`,
  parse: parseToml,
  find: (document, name) => valueAt(document, "engine", "runtimes", name),
  pathIn: (found) => (Array.isArray(found) ? found[0] : undefined),
  async insert(text, _document, { name, path }, files) {
    if (text.trim() !== "") {
      throw new Error(`there is a file of that name that "cloche install" did not write: choose another with --name`);
    }
    const lines = [
      COMMENT,
      "[engine]",
      ...Object.entries(await listsBefore(this.file(name), files)).map(
        ([list, names]) => `${list} = ${tomlList([...names.filter((other) => other !== name), name])}`,
      ),
      "",
      "[engine.runtimes]",
      `${JSON.stringify(name)} = ${tomlList([path])}`,
    ];
    return { offset: 0, text: `${lines.join("\n")}\n` };
  },
  without(document, name) {
    const rest = withoutValue(document, "engine", "runtimes", name);
    const { engine } = rest;
    return isObject(engine) ? { ...rest, engine: withoutName(engine, name) } : rest;
  },
  remove(text, name) {
    const quoted = JSON.stringify(name);
    return text
      .split(/(?<=\n)/)
      .filter((line) => line.trim() !== COMMENT && !new RegExp(`^\\s*("?)${name}\\1\\s*=`).test(line))
      .map((line) =>
        /^\s*runtime_supports_\w+\s*=/.test(line) ? line.replace(`, ${quoted}`, "").replace(`,${quoted}`, "") : line,
      )
      .join("");
  },
  defaultRuntime: (document) => valueAt(document, "engine", "runtime"),
  async warnings(_document, name, files) {
    const later = files.list(DIRECTORY, ".conf").filter((path) => path > this.file(name));
    const warnings: string[] = [];
    for (const path of later) {
      try {
        const document = await parseToml(files.read(path) ?? "");
        for (const list of Object.keys(LISTS)) {
          const names = valueAt(document, "engine", list);
          if (Array.isArray(names) && !names.includes(name)) {
            warnings.push(`${path} comes later and has its own ${list}: add ${JSON.stringify(name)} there`);
          }
        }
      } catch (error) {
        warnings.push(`${path} cannot be read: ${messageOf(error)}`);
      }
    }
    return warnings;
  },
  notice: undefined,
  example: (name) => `podman --runtime ${name} run --rm IMAGE COMMAND`,
};

function tomlList(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** The lists as they are without our file. */
async function listsBefore(own: string, files: Files): Promise<Record<string, string[]>> {
  const lists: Record<string, string[]> = Object.fromEntries(
    Object.entries(LISTS).map(([list, names]) => [list, [...names]]),
  );
  const inOrder = [
    "/usr/share/containers/containers.conf",
    ...files.list("/usr/share/containers/containers.conf.d", ".conf"),
    "/etc/containers/containers.conf",
    ...files.list(DIRECTORY, ".conf").filter((path) => path !== own),
  ];
  for (const path of inOrder) {
    const document = await parseNamed(path, files.read(path) ?? "");
    for (const list of Object.keys(LISTS)) {
      const names = valueAt(document, "engine", list);
      if (Array.isArray(names)) {
        // Newer ones have `{ append = true }` as a member.
        const isAppended = names.some((member) => isObject(member) && member["append"] === true);
        const added = names.filter((member) => typeof member === "string");
        lists[list] = isAppended ? [...(lists[list] ?? []), ...added] : added;
      }
    }
  }
  return lists;
}

async function parseNamed(path: string, text: string): Promise<Document> {
  try {
    return await parseToml(text);
  } catch (error) {
    throw new Error(`${path}: ${messageOf(error)}`, { cause: error });
  }
}

function withoutName(engine: Document, name: string): Document {
  const filtered = Object.keys(LISTS).flatMap((list) => {
    const names = engine[list];
    return Array.isArray(names) ? [[list, names.filter((other) => other !== name)] as const] : [];
  });
  return { ...engine, ...Object.fromEntries(filtered) };
}
