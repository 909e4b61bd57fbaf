/**
 * containerd: a runtime of the CRI plugin, in config.toml itself (containerd-config.toml(5)).
 *
 * Not in a file of its own below `imports`: containerd 1.x lets an imported file replace the whole section of a plugin, so
 * that what config.toml says of the CRI plugin would be lost (containerd's pull request 9982, which is in 2.0, merges).
 * `ctr run --runc-binary` and docker need no entry.
 */

import path from "node:path";
import { messageOf } from "../../specutils/errors.ts";
import type { Document, Engine, Files } from "./engine.ts";
import { isObject } from "./json-edit.ts";
import { appendLines, parseToml, removeTables, valueAt, withoutValue } from "./toml-edit.ts";

/** The CRI plugin's key by the version of the file; a file that names none is of version 1, unless it is empty. */
const PLUGINS: Readonly<Record<number, string>> = {
  1: "cri",
  2: "io.containerd.grpc.v1.cri",
  3: "io.containerd.cri.v1.runtime",
};

/** What containerd 1.6 and newer all take. */
const VERSION_OF_NEW_FILE = 2;

const DIRECTORY = "/etc/containerd";

const SHIM = "io.containerd.runc.v2";

const RUNC_COMMENT = "The default, which containerd 1.x has built in only as long as no runtime is named here.";

export const containerd: Engine = {
  name: "containerd",
  signs: { programs: ["containerd"], paths: [DIRECTORY] },
  file: () => `${DIRECTORY}/config.toml`,
  async parse(text) {
    const document = await parseToml(text);
    versionOf(document);
    return document;
  },
  find: (document, name) => valueAt(document, ...runtimesKeys(document), name),
  pathIn: (found) => (isObject(found) ? valueAt(found, "options", "BinaryName") : undefined),
  async insert(text, document, entry) {
    const { name } = entry;
    const keys = runtimesKeys(document);
    const table = (...more: string[]) => `[${[...keys, ...more].map(quoteKey).join(".")}]`;
    const runcOptions = valueAt(document, ...keys, "runc", "options");
    const usesSystemd = isObject(runcOptions) && runcOptions["SystemdCgroup"] === true;
    const known = valueAt(document, ...keys);
    const hasRuntimes = isObject(known) && Object.keys(known).length > 0;
    const insertion = appendLines(text, [
      ...(Object.keys(document).length === 0 ? [`version = ${VERSION_OF_NEW_FILE}`, ""] : []),
      table(name),
      '  # Added by "cloche install"; "cloche uninstall" takes it out again.',
      `  runtime_type = "${SHIM}"`,
      table(name, "options"),
      `  BinaryName = ${JSON.stringify(entry.path)}`,
      ...(usesSystemd ? ["  SystemdCgroup = true"] : []),
      ...(hasRuntimes ? [] : [table("runc"), `  # ${RUNC_COMMENT}`, `  runtime_type = "${SHIM}"`]),
    ]);
    await checkResult(text + insertion.text);
    return insertion;
  },
  without(document, name, inserted) {
    const rest = withoutValue(document, ...runtimesKeys(document), name);
    const known = valueAt(rest, ...runtimesKeys(document));
    const isAlone = !isObject(known) || Object.keys(known).every((other) => other === "runc");
    const broughtRunc = inserted.includes(RUNC_COMMENT);
    const withoutRunc = broughtRunc && isAlone ? withoutValue(rest, ...runtimesKeys(document), "runc") : rest;
    const broughtVersion = /^version = /m.test(inserted);
    return broughtVersion && Object.keys(withoutRunc).length === 1 ? withoutValue(withoutRunc, "version") : withoutRunc;
  },
  remove: (text, name) => {
    // Whatever the version: the name of the plugin is the only thing that differs.
    return Object.values(PLUGINS).reduce(
      (rest, plugin) => removeTables(rest, ["plugins", plugin, "containerd", "runtimes", name]),
      text,
    );
  },
  defaultRuntime: (document) => valueAt(document, ...runtimesKeys(document).slice(0, -1), "default_runtime_name"),
  async warnings(document, name, files) {
    const disabled = document["disabled_plugins"];
    const imports = document["imports"];
    const plugin = pluginOf(document);
    return [
      ...(Array.isArray(disabled) && disabled.some((id) => id === "cri" || id === plugin)
        ? [
            "disabled_plugins turns the CRI plugin off: Kubernetes cannot use containerd, nor the runtime, until it is on",
          ]
        : []),
      ...(await importWarnings(plugin, imports, name, files)),
    ];
  },
  notice: { install: "systemctl restart containerd", uninstall: "systemctl restart containerd" },
  example: (name) => `crictl runp --runtime=${name} POD.json`,
};

function versionOf(document: Document): number {
  const { version = Object.keys(document).length === 0 ? VERSION_OF_NEW_FILE : 1 } = document;
  if (typeof version !== "number" || PLUGINS[version] === undefined) {
    throw new Error(`version: got ${JSON.stringify(version)}, want 1, 2 or 3`);
  }
  return version;
}

function pluginOf(document: Document): string {
  return PLUGINS[versionOf(document)] ?? "";
}

function runtimesKeys(document: Document): string[] {
  return ["plugins", pluginOf(document), "containerd", "runtimes"];
}

function quoteKey(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
}

/** Tables cannot be added to inline ones, and to whatever else is no table. */
async function checkResult(text: string): Promise<void> {
  try {
    await parseToml(text);
  } catch (error) {
    throw new Error("the CRI plugin's runtimes are written inline: write them as tables ([plugins.…]) first", {
      cause: error,
    });
  }
}

/** Of imported files (patterns may have a star in the last part): those that have a section of the plugin, or are broken. */
async function importWarnings(plugin: string, imports: Document[string] | undefined, name: string, files: Files) {
  const patterns = Array.isArray(imports) ? imports.filter((pattern) => typeof pattern === "string") : [];
  const paths = patterns.flatMap((pattern) => {
    const [, directory, beginning = "", ending = ""] = /^(.*)\/([^/*]*)\*([^/*]*)$/.exec(pattern) ?? [];
    return directory === undefined
      ? [path.resolve(DIRECTORY, pattern)]
      : files.list(directory, ending).filter((file) => path.basename(file).startsWith(beginning));
  });
  const warnings: string[] = [];
  for (const imported of paths) {
    try {
      const document = await parseToml(files.read(imported) ?? "");
      if (valueAt(document, "plugins", plugin) !== undefined) {
        warnings.push(
          `${imported} is imported and configures the CRI plugin, too: containerd before 2.0 then ignores ${name} here`,
        );
      }
    } catch (error) {
      warnings.push(`${imported} is imported and cannot be read: ${messageOf(error)}`);
    }
  }
  return warnings;
}
