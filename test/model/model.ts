/**
 * What a container may do next: the status machine of container/status.ts with the steps that a command takes, one after the
 * other, where others may come in between.
 *
 * A command is one step or two. Each step happens at one moment between the command's start and its end, and is possible only in
 * certain states; `create` first takes the id (`creating`) and is done later. The end of a container's process is a step that
 * nobody takes: after SIGKILL it comes by itself (`isDying`).
 */
import { isAllowed, type Operation } from "../../container/status.ts";
import type { Status } from "../../specutils/spec.ts";
import type { Answer, Command } from "./history.ts";

/** A container, or undefined while there is none with that id. */
export interface Container {
  status: Status;
  /** The `create` that made it. */
  maker: number;
  /** What `resume` returns to. */
  from: "created" | "running";
  /** SIGKILL is on its way to its process, or its maker was killed: it stops by itself. */
  isDying: boolean;
}
export type State = Container | undefined;

/** A command on its way. */
export interface Pending {
  index: number;
  command: Command;
  answer: Answer;
}

/** How far a command is: `begun`, in between (on the container of that maker), or `done`. */
export type Phase = "begun" | "done" | number;

export interface Step {
  phase: Phase;
  state: State;
}

/** The operation of the status table that a command is. */
const OPERATIONS: Partial<Record<Command, Operation>> = {
  start: "start",
  kill: "kill",
  signal: "kill",
  pause: "pause",
  resume: "resume",
  exec: "exec",
  delete: "delete",
};

/** Every next step of a command that fits what it is going to answer. */
export function stepsOf(pending: Pending, phase: Phase, state: State): Step[] {
  if (phase === "done") return [];
  const { command, answer } = pending;
  switch (answer.kind) {
    case "absent":
      return state === undefined && command !== "create" && command !== "force" ? [done(state)] : [];
    case "exists":
      return state !== undefined && command === "create" ? [done(state)] : [];
    case "status":
      return state?.status === answer.status ? [done(state)] : [];
    case "refused":
      return isRefusal(command, answer.status, state) ? [done(state)] : [];
    case "failed":
      return failures(pending, phase, state);
    case "ok":
      return successes(pending, phase, state);
    case "killed":
      return [...successes(pending, phase, state), ...failures(pending, phase, state)];
  }
}

/** Whether all that a command can do, given its answer, changes nothing and is done in one step. */
export function onlyLooks({ command, answer }: Pending): boolean {
  if (answer.kind === "failed" || answer.kind === "killed") return false;
  return answer.kind !== "ok" || command === "exec" || command === "signal";
}

/** What the death of a command's process may do to the container: what waits for it, ends. */
export function afterKill({ index, command }: Pending, phase: Phase, state: State): State[] {
  if (state === undefined) return [state];
  const isMaker = command === "create" && state.maker === index;
  if (isMaker && phase !== "done" && state.status === "creating") return [dying(state)];
  const mayDie = isMaker || (command === "start" && ["created", "running"].includes(state.status));
  return mayDie ? [state, dying(state)] : [state];
}

/** What happens by itself. */
export function ownSteps(state: State): State[] {
  return state?.isDying === true && state.status !== "stopped" ? [{ ...state, status: "stopped", isDying: false }] : [];
}

function done(state: State): Step {
  return { phase: "done", state };
}

function dying(container: Container): Container {
  return container.status === "stopped" ? container : { ...container, isDying: true };
}

/** Refused for a status that it has, and in which the table does not allow it. */
function isRefusal(command: Command, status: Status, state: State): boolean {
  const operation = OPERATIONS[command];
  if (operation === undefined || isAllowed(operation, status) || state === undefined) return false;
  // Killing all of its processes freezes them for a moment.
  return state.status === status || (command === "exec" && state.isDying && status === "paused");
}

function successes(pending: Pending, phase: Phase, state: State): Step[] {
  const { index, command } = pending;
  if (command === "create") return creation(index, phase, state);
  if (command === "delete" || command === "force") return deletion(command === "force", phase, state);
  const operation = OPERATIONS[command];
  if (state === undefined || operation === undefined || !isAllowed(operation, state.status)) return [];
  switch (command) {
    case "start":
      return state.isDying ? [] : [done({ ...state, status: "running", from: "running" })];
    case "kill":
      return [done(dying(thawed(state)))];
    case "pause":
      return [done({ ...state, status: "paused" })];
    case "resume":
      return [done(thawed(state))];
    default:
      return [done(state)];
  }
}

function thawed(container: Container): Container {
  return container.status === "paused" ? { ...container, status: container.from } : container;
}

function creation(index: number, phase: Phase, state: State): Step[] {
  if (phase === "begun") {
    if (state !== undefined) return [];
    return [{ phase: index, state: { status: "creating", maker: index, from: "created", isDying: false } }];
  }
  if (state === undefined || state.maker !== index || state.status !== "creating" || state.isDying) return [];
  return [done({ ...state, status: "created" })];
}

function deletion(isForced: boolean, phase: Phase, state: State): Step[] {
  if (phase === "begun") {
    if (state === undefined) return isForced ? [done(state)] : [];
    if (!isForced && !isAllowed("delete", state.status)) return [];
    return [{ phase: state.maker, state: dying(thawed(state)) }];
  }
  return state?.maker === phase ? [done(undefined)] : [];
}

/** A command fails for no other reason than that somebody killed or deleted the container under its hands. */
function failures({ index, command }: Pending, phase: Phase, state: State): Step[] {
  const isOver = (maker: number) =>
    state === undefined || state.maker !== maker || state.isDying || state.status === "stopped";
  if (command === "create") {
    const steps = phase === "begun" ? creation(index, phase, state) : [];
    if (phase === "begun" || !isOver(index)) {
      // Created, and killed before `create` had said so.
      return phase === index ? [...steps, ...creation(index, phase, state).map((step) => ({ ...step, phase }))] : steps;
    }
    // What it takes back is its own.
    return [done(state?.maker === index ? undefined : state)];
  }
  if (command !== "start" && command !== "exec" && command !== "pause") return [];
  if (phase !== "begun") return isOver(phase as number) ? [done(state)] : [];
  if (state === undefined || !isAllowed(command, state.status)) return [];
  if (state.isDying) return [done(state)];
  if (command === "pause") return [];
  const begun: State = command === "start" ? { ...state, status: "running", from: "running" } : state;
  return [{ phase: state.maker, state: begun }];
}
