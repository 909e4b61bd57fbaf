/** The names of all commands and how to load each, for dispatch, help and completion. */

import { UsageError } from "../specutils/errors.ts";
import type { Command } from "./command.ts";

/** Apart from other wrong command lines because it has an exit code of its own. */
export class UnknownCommandError extends UsageError {
  override name = "UnknownCommandError";
}

/** Every command that help speaks of, in its order: first the life of a container. */
const NAMES = [
  "create",
  "start",
  "run",
  "exec",
  "state",
  "list",
  "ps",
  "kill",
  "wait",
  "delete",
  "pause",
  "resume",
  "update",
  "events",
  "do",
  "spec",
  "features",
  "checkpoint",
  "restore",
  "install",
  "uninstall",
  "completion",
  "help",
  "version",
] as const;

/** `gofer` is one that cloche starts itself. */
type Name = (typeof NAMES)[number] | "gofer";

/** Loaded one by one, since loading is most of a short call; a table of functions would be made anew for each. */
function load(name: Name): Promise<{ default: Command }> {
  switch (name) {
    case "create":
      return import("./create.ts");
    case "start":
      return import("./start.ts");
    case "run":
      return import("./run.ts");
    case "exec":
      return import("./exec.ts");
    case "state":
      return import("./state.ts");
    case "list":
      return import("./list.ts");
    case "ps":
      return import("./ps.ts");
    case "kill":
      return import("./kill.ts");
    case "wait":
      return import("./wait.ts");
    case "delete":
      return import("./delete.ts");
    case "pause":
      return import("./pause.ts");
    case "resume":
      return import("./resume.ts");
    case "update":
      return import("./update.ts");
    case "events":
      return import("./events.ts");
    case "do":
      return import("./do.ts");
    case "spec":
      return import("./spec.ts");
    case "features":
      return import("./features.ts");
    case "checkpoint":
      return import("./checkpoint.ts");
    case "restore":
      return import("./restore.ts");
    case "install":
      return import("./install.ts");
    case "uninstall":
      return import("./uninstall.ts");
    case "completion":
      return import("./completion.ts");
    case "help":
      return import("./help.ts");
    case "version":
      return import("./version.ts");
    case "gofer":
      return import("./gofer.ts");
  }
}

function isName(name: string): name is Name {
  return name === "gofer" || (NAMES as readonly string[]).includes(name);
}

/** The command called `name`. @throws UnknownCommandError if there is none */
export async function loadCommand(name: string): Promise<Command> {
  if (!isName(name)) {
    throw new UnknownCommandError(`unknown command ${JSON.stringify(name)}: "cloche help" lists the commands`);
  }
  return (await load(name)).default;
}

/** Every command, for help and completion. */
export async function loadAllCommands(): Promise<Command[]> {
  return (await Promise.all(NAMES.map(load))).map((module) => module.default);
}
