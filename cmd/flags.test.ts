import { describe, expect, test } from "bun:test";
import { type FlagOrder, type FlagTable, parseFlags } from "./flags.ts";

const table = {
  bundle: { kind: "string", short: "b", help: "" },
  "no-pivot": { kind: "boolean", help: "" },
  pivot: { kind: "boolean", help: "" },
  tty: { kind: "boolean", short: "t", help: "" },
  detach: { kind: "boolean", short: "d", help: "" },
  env: { kind: "list", short: "e", help: "" },
  "preserve-fds": { kind: "integer", help: "" },
  format: { kind: "string", choices: ["table", "json"], help: "" },
} as const satisfies FlagTable;

const parse = (args: string[], order: FlagOrder = "anywhere") => parseFlags(table, args, order);

describe("parseFlags", () => {
  test("leaves a flag that is not given undefined, a list empty", () => {
    expect(parse([])).toEqual({
      flags: {
        bundle: undefined,
        "no-pivot": undefined,
        pivot: undefined,
        tty: undefined,
        detach: undefined,
        env: [],
        "preserve-fds": undefined,
        format: undefined,
      },
      positionals: [],
    });
  });

  test.each(["--bundle x", "--bundle=x", "-bundle x", "-bundle=x", "-b x", "-b=x", "--b x"])(
    "reads a value from %p",
    (line) => {
      expect(parse([...line.split(" "), "id"])).toMatchObject({ flags: { bundle: "x" }, positionals: ["id"] });
    },
  );

  test("reads flags behind the positional arguments", () => {
    expect(parse(["id", "--no-pivot", "9"])).toMatchObject({ flags: { "no-pivot": true }, positionals: ["id", "9"] });
  });

  test("leaves what follows the first positional argument alone when flags lead", () => {
    expect(parse(["-t", "id", "ls", "-d", "--", "x"], "leading")).toMatchObject({
      flags: { tty: true, detach: undefined },
      positionals: ["id", "ls", "-d", "--", "x"],
    });
  });

  test("ends the flags at --", () => {
    expect(parse(["-t", "--", "-d", "--"])).toMatchObject({
      flags: { tty: true, detach: undefined },
      positionals: ["-d", "--"],
    });
  });

  test("takes a value that begins with a dash, and a dash alone as an argument", () => {
    expect(parse(["--bundle", "-1", "-"])).toMatchObject({ flags: { bundle: "-1" }, positionals: ["-"] });
    expect(parse(["--bundle", "--"])).toMatchObject({ flags: { bundle: "--" }, positionals: [] });
  });

  test("reads a single-dash long flag as that flag, not as a group of letters", () => {
    expect(parse(["-no-pivot"]).flags).toMatchObject({ "no-pivot": true, pivot: undefined });
  });

  test("reads a group of letters, of which the last may take a value", () => {
    expect(parse(["-td"]).flags).toMatchObject({ tty: true, detach: true });
    expect(parse(["-te", "A=1"]).flags).toMatchObject({ tty: true, env: ["A=1"] });
    expect(parse(["-te=A=1"]).flags).toMatchObject({ tty: true, env: ["A=1"] });
  });

  test("takes the last of repeated values, and collects lists", () => {
    expect(parse(["-b", "x", "-b", "y", "-t", "-t=false", "-e", "A=1,2", "--env=B="]).flags).toMatchObject({
      bundle: "y",
      tty: false,
      env: ["A=1,2", "B="],
    });
  });

  test("reads Go's spellings of booleans, and no value from the next argument", () => {
    expect(parse(["--tty=T", "--detach=0"]).flags).toMatchObject({ tty: true, detach: false });
    expect(parse(["--tty", "false"])).toMatchObject({ flags: { tty: true }, positionals: ["false"] });
  });

  test.each([
    [["--nope"], "flag provided but not defined: -nope"],
    [["-nope=1"], "flag provided but not defined: -nope"],
    [["-tx"], "flag provided but not defined: -tx"],
    [["-et"], "flag provided but not defined: -et"],
    [["--td"], "flag provided but not defined: -td"],
    [["--toString"], "flag provided but not defined: -toString"],
    [["--__proto__=x"], "flag provided but not defined: -__proto__"],
    [["--bundle"], "flag needs an argument: -bundle"],
    [["-b"], "flag needs an argument: -b"],
    [["---tty"], "bad flag syntax: ---tty"],
    [["--=x"], "bad flag syntax: --=x"],
    [["-=x"], "bad flag syntax: -=x"],
    [["--tty=yes"], 'invalid boolean value "yes" for -tty'],
    [["--preserve-fds", "x"], 'invalid value "x" for flag -preserve-fds: must be a whole number from 0 on'],
    [["--preserve-fds=-1"], 'invalid value "-1" for flag -preserve-fds: must be a whole number from 0 on'],
    [["--preserve-fds="], 'invalid value "" for flag -preserve-fds: must be a whole number from 0 on'],
    [["--format", "xml"], 'invalid value "xml" for flag -format: must be table or json'],
  ])("refuses %p", (args, message) => {
    expect(() => parse(args)).toThrow(expect.objectContaining({ name: "UsageError", message }));
  });
});
