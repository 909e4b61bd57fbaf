/** That README.md, BUILD.md and docs/ tell the truth where it can be looked up: npm scripts, paths, commands, flags, names. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { SYNC } from "../sandbox/protocol.ts";
import { requires } from "./helpers/requires.ts";
import { projectDirectory, runtimePath } from "./helpers/runtime-path.ts";

const itHelps = requires("cloche");

/** Text of a file by its path from the top of the checkout. */
const read = (file: string) => readFileSync(path.join(projectDirectory, file), "utf8");

const documents = ["README.md", "BUILD.md", "CHANGELOG.md", ...globSync("docs/*.md", { cwd: projectDirectory }).sort()];

/** What a document shows as code: spans in backquotes, and the lines of indented blocks less their comments. */
function codeOf(file: string): string[] {
  const text = read(file);
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);
  const lines = [...text.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = ""]) => line.replace(/ {2,}# .*$/, ""));
  return [...spans, ...lines];
}

/** Each piece of code that `pattern` finds in the documents, with the document for the message of a failure. */
function findInCode(pattern: RegExp): { file: string; code: string; match: RegExpExecArray }[] {
  return documents.flatMap((file) =>
    codeOf(file).flatMap((code) => {
      const match = pattern.exec(code);
      return match === null ? [] : [{ file, code, match }];
    }),
  );
}

const scripts = Object.keys(JSON.parse(read("package.json")).scripts as Record<string, string>);

describe("documented npm scripts", () => {
  test("are in package.json", () => {
    const wrong = findInCode(/^npm (?:run )?([\w-]+)/).filter(({ match }) => !scripts.includes(match[1] ?? ""));
    expect(wrong.map(({ file, code }) => `${file}: ${code}`)).toEqual([]);
  });

  test("are all there are", () => {
    const commands = new Set(codeOf("BUILD.md").map((code) => /^npm (?:run )?([\w-]+)/.exec(code)?.[1]));
    expect(scripts.filter((script) => !commands.has(script))).toEqual([]);
  });
});

describe("documented paths", () => {
  const folders = readdirSync(projectDirectory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);

  test("exist", () => {
    const isOurs = (word: string) => folders.includes(word.split("/", 1)[0] ?? "") && word.includes("/");
    const wrong = documents.flatMap((file) =>
      codeOf(file)
        .flatMap((code) => code.split(/[\s"'()]+/))
        .map((word) => word.replace(/^\.\//, "").replace(/[:,]+$/, ""))
        // What the build makes need not be there yet.
        .filter((word) => isOurs(word) && !/^(dist|node_modules|dist-\w+)\//.test(word) && !/[<*…]/.test(word))
        .filter((word) => !existsSync(path.join(projectDirectory, word)))
        .map((word) => `${file}: ${word}`),
    );
    expect(wrong).toEqual([]);
  });

  test("lead to documents that are there", () => {
    const wrong = documents.flatMap((file) =>
      [...read(file).matchAll(/\]\(([^)#]+)[^)]*\)/g)]
        .map(([, target = ""]) => target)
        .filter(
          (target) => !target.includes("://") && !existsSync(path.join(projectDirectory, path.dirname(file), target)),
        )
        .map((target) => `${file}: ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test("have the functions that are named beside them", () => {
    const named = documents.flatMap((file) => [...read(file).matchAll(/`([\w/-]+\.ts)` `(\w+)`/g)]);
    expect(named.length).toBeGreaterThan(2);
    const wrong = named.filter(([, file = "", name]) => !new RegExp(`^export .*\\b${name}\\b`, "m").test(read(file)));
    expect(wrong.map(([text]) => text)).toEqual([]);
  });

  test("ARCHITECTURE.md's table has every folder of sources", () => {
    const listed = codeOf("docs/ARCHITECTURE.md");
    const hasSources = (folder: string) => globSync(`${folder}/**/*.ts`, { cwd: projectDirectory }).length > 0;
    const sources = folders.filter((folder) => !/^(\.|dist|node_modules$|scripts$)/.test(folder) && hasSources(folder));
    expect(sources.filter((folder) => !listed.includes(`${folder}/`))).toEqual([]);
  });
});

test("ARCHITECTURE.md's conversation has every sync code", () => {
  const text = read("docs/ARCHITECTURE.md");
  expect(Object.keys(SYNC).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
});

/** What `cloche …ARGS` prints. */
function helpOf(...args: string[]): string {
  const { stdout, status } = spawnSync(runtimePath(), args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`cloche ${args.join(" ")}: exit code ${status}`);
  return stdout;
}

const commandsIn = (help: string) => [...help.matchAll(/^ {2}cloche ([a-z]+)/gm)].map(([, name = ""]) => name);
const flagsIn = (help: string) => [...help.matchAll(/^ +(?:-\w, )?--([a-z0-9-]+)/gm)].map(([, name = ""]) => name);

describe("documented commands", () => {
  /** What is known to the help and needs no word in the README: it is refused, or about the command line itself. */
  const unsung = ["checkpoint", "restore", "completion", "help", "version"];

  itHelps("README.md lists those of cloche --help", () => {
    const listed = /^`(create [a-z ]+)`/m.exec(read("README.md"))?.[1]?.split(" ") ?? [];
    const known = new Set(commandsIn(helpOf("--help")));
    expect(listed.toSorted()).toEqual([...known].filter((name) => !unsung.includes(name)).toSorted());
  });

  itHelps("exist, with the flags they are shown with", () => {
    const general = helpOf("--help");
    const known = new Set(commandsIn(general));
    const wrong: string[] = [];
    const calls = findInCode(
      /^(?:(?:dist\/)?cloche (?=[a-z-])|(?=(?:create|run|exec|delete|kill|list|update|do) --))(.*)$/,
    );
    for (const { file, code, match } of calls) {
      // Behind `--` and behind `do` stands somebody else's command line.
      const words = (match[1] ?? "").replace(/ -- .*$/, "").split(" ");
      const at = words.findIndex((word) => /^[a-z]/.test(word));
      const command = words[at];
      if (command !== undefined && !known.has(command)) wrong.push(`${file}: ${code}: no command ${command}`);
      const flags = new Set(flagsIn(general));
      if (command !== undefined && known.has(command))
        for (const flag of flagsIn(helpOf(command, "--help"))) flags.add(flag);
      for (const word of words) {
        const flag = /^--([a-z0-9-]+)/.exec(word)?.[1];
        if (flag !== undefined && flag !== "help" && !flags.has(flag)) wrong.push(`${file}: ${code}: no flag ${word}`);
      }
    }
    expect(calls.length).toBeGreaterThan(4);
    expect(wrong).toEqual([]);
  });

  itHelps("flags that stand alone belong to some command", () => {
    const general = helpOf("--help");
    const flags = new Set([general, ...commandsIn(general).map((name) => helpOf(name, "--help"))].flatMap(flagsIn));
    const alone = findInCode(/^--([a-z0-9-]+)(?: [A-Z]+)?$/);
    expect(alone.length).toBeGreaterThan(1);
    expect(alone.filter(({ match }) => !flags.has(match[1] ?? "")).map(({ file, code }) => `${file}: ${code}`)).toEqual(
      [],
    );
  });
});
