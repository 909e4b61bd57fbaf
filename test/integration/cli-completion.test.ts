/** Completion scripts: that each shell loads its own without a word, and what bash and fish then offer. */
import { describe, expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { requires } from "../helpers/requires.ts";
import { type Runtime, withRuntime } from "../helpers/runtime.ts";
import { runtimePath } from "../helpers/runtime-path.ts";

const it = requires("cloche");
const itWithContainers = requires("cloche", "root", "busybox");
const itInZsh = requires("cloche", "zsh");
const itInFish = requires("cloche", "fish");

/** Runs `script` in a shell that finds the cloche under test, with its completion script as the first argument. */
function inShell(runtime: Runtime, shell: string, options: string[], script: string) {
  const file = `${runtime.directory}/completion.${shell}`;
  writeFileSync(file, runtime.ok(["completion", shell]));
  const PATH = `${path.dirname(runtimePath())}:${process.env["PATH"]}`;
  const env = { ...process.env, PATH, HOME: runtime.directory, CLOCHE_ROOT: runtime.root };
  return spawnSync(shell, [...options, "-c", script, ...(shell === "fish" ? [] : [shell]), file], {
    encoding: "utf8",
    env,
  });
}

/** What bash offers for a line that ends in the word to complete. */
function bashOffers(runtime: Runtime, line: string): string[] {
  const words = line.split(" ").map((word) => `'${word}'`);
  const script = `source "$1"; COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}
    _cloche; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = inShell(runtime, "bash", ["--norc"], script);
  expect(stderr).toBe("");
  return stdout.split("\n").filter(Boolean);
}

describe("completion for bash", () => {
  it("offers commands, flags of the command, values and files", () =>
    withRuntime((runtime) => {
      expect(bashOffers(runtime, "cloche re")).toEqual(["resume", "restore"]);
      expect(bashOffers(runtime, "cloche --log-f")).toEqual(["--log-format"]);
      expect(bashOffers(runtime, "cloche --root /x --debug pau")).toEqual(["pause"]);
      expect(bashOffers(runtime, "cloche --log-format ")).toEqual(["text", "json"]);
      expect(bashOffers(runtime, "cloche --log-format = j")).toEqual(["json"]);
      expect(bashOffers(runtime, "cloche --root = /x li")).toEqual(["list"]);
      expect(bashOffers(runtime, "cloche --log-format json list --format t")).toEqual(["table"]);
      expect(bashOffers(runtime, "cloche list -f t")).toEqual(["table"]);
      expect(bashOffers(runtime, "cloche kill --")).toEqual(["--all", "--sandbox", "--help"]);
      expect(bashOffers(runtime, "cloche run --no-")).toEqual(["--no-pivot", "--no-new-keyring"]);
      expect(bashOffers(runtime, "cloche create --bundle /us")).toEqual(["/usr"]);
      expect(bashOffers(runtime, "cloche help stat")).toEqual(["state"]);
      expect(bashOffers(runtime, "cloche completion z")).toEqual(["zsh"]);
      expect(bashOffers(runtime, "cloche kill ")).toEqual([]);
    }));

  itWithContainers("offers the containers there are, also after the first where several are taken", () =>
    withRuntime((runtime) => {
      const [first, second] = [runtime.create(), runtime.create()];
      expect(bashOffers(runtime, "cloche state ").toSorted()).toEqual([first, second].toSorted());
      expect(bashOffers(runtime, `cloche wait ${first} ${second}`)).toEqual([second]);
    }),
  );

  it("is what complete(1) was told about", () =>
    withRuntime((runtime) => {
      const { stdout, stderr, status } = inShell(runtime, "bash", ["--norc"], 'source "$1" && complete -p cloche');
      expect({ stdout, stderr, status }).toEqual({
        stdout: "complete -o default -F _cloche cloche\n",
        stderr: "",
        status: 0,
      });
    }));
});

describe("completion for zsh", () => {
  itInZsh("loads by source and defines the function", () =>
    withRuntime((runtime) => {
      const script = 'autoload -U compinit && compinit -u -d "$HOME/dump" && source "$1" && print $_comps[cloche]';
      const { stdout, stderr, status } = inShell(runtime, "zsh", ["-f"], script);
      expect({ stdout, stderr, status }).toEqual({ stdout: "_cloche\n", stderr: "", status: 0 });
    }),
  );
});

describe("completion for fish", () => {
  itInFish("offers commands, flags and values", () =>
    withRuntime((runtime) => {
      const offers = (line: string) => {
        const script = `source $argv[1]; complete -C '${line}'`;
        const { stdout, stderr } = inShell(runtime, "fish", ["--no-config"], script);
        expect(stderr).toBe("");
        return stdout
          .split("\n")
          .filter(Boolean)
          .map((offer) => offer.split("\t")[0]);
      };
      expect(offers("cloche resu")).toEqual(["resume"]);
      expect(offers("cloche --log-format ")).toEqual(["json", "text"]);
      expect(offers("cloche list --form")).toEqual(["--format"]);
      expect(offers("cloche list --format=")).toEqual(["--format=json", "--format=table"]);
      expect(offers("cloche kill ")).toEqual([]);
    }),
  );
});
