/** The names of all commands and how to load each: one table for dispatch, help and completion. */

import { UsageError } from "../specutils/errors.ts";
import type { Command } from "./command.ts";

/** Apart from other wrong command lines because it has an exit code of its own. */
export class UnknownCommandError extends UsageError {
  override name = "UnknownCommandError";
}

type Loader = () => Promise<{ default: Command }>;

/** In the order of the help: first the life of a container. Loaded one by one, since loading is most of a short call. */
const loaders: Readonly<Record<string, Loader>> = {
  create: () => import("./create.ts"),
  start: () => import("./start.ts"),
  run: () => import("./run.ts"),
  exec: () => import("./exec.ts"),
  state: () => import("./state.ts"),
  list: () => import("./list.ts"),
  ps: () => import("./ps.ts"),
  kill: () => import("./kill.ts"),
  wait: () => import("./wait.ts"),
  delete: () => import("./delete.ts"),
  pause: () => import("./pause.ts"),
  resume: () => import("./resume.ts"),
  update: () => import("./update.ts"),
  events: () => import("./events.ts"),
  do: () => import("./do.ts"),
  spec: () => import("./spec.ts"),
  features: () => import("./features.ts"),
  checkpoint: () => import("./checkpoint.ts"),
  restore: () => import("./restore.ts"),
  install: () => import("./install.ts"),
  uninstall: () => import("./uninstall.ts"),
  completion: () => import("./completion.ts"),
  help: () => import("./help.ts"),
  version: () => import("./version.ts"),
};

/** Commands that cloche starts itself, and no help speaks of. */
const hiddenLoaders: Readonly<Record<string, Loader>> = {
  gofer: () => import("./gofer.ts"),
};

/** The command called `name`. @throws UnknownCommandError if there is none */
export async function loadCommand(name: string): Promise<Command> {
  const all = { ...loaders, ...hiddenLoaders };
  const load = Object.hasOwn(all, name) ? all[name] : undefined;
  if (load === undefined) {
    throw new UnknownCommandError(`unknown command ${JSON.stringify(name)}: "cloche help" lists the commands`);
  }
  return (await load()).default;
}

/** Every command, for help and completion. */
export async function loadAllCommands(): Promise<Command[]> {
  return (await Promise.all(Object.values(loaders).map((load) => load()))).map((module) => module.default);
}
