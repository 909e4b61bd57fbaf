/**
 * Whether a history of commands on one container can have happened: linearisability, by following everything that can be.
 *
 * The events are gone through in the order of time. At any moment there is a set of possibilities: a state of the container,
 * and for each command on its way how far it has got. When a command begins, it is added to each possibility. When it
 * ends, each possibility is first continued by all steps (of all commands on their way, and those that happen by
 * themselves) in all orders, and those remain in which this command is done as it answered. None left: no order of the
 * steps explains the answers, that is, one of them was not true.
 *
 * It is sound, because the times of an event lie around the command's real ones, and complete for histories of a few
 * commands at a time: the set stays small, since commands that have ended are dropped from it.
 */
import type { Event } from "./history.ts";
import { afterKill, onlyLooks, ownSteps, type Pending, type Phase, type State, stepsOf } from "./model.ts";

interface Possibility {
  state: State;
  /** By index of the event. */
  phases: ReadonlyMap<number, Phase>;
}

/** What is wrong, and the last events before it; undefined when all can have happened. */
export interface Contradiction {
  event: Event;
  before: Event[];
  states: string[];
}

/** More than this is no possibility to be followed on any machine. */
const MOST_POSSIBILITIES = 200_000;

/** How many events before a contradiction are worth to be read. */
const SHOWN = 12;

/**
 * Follows the events of one id.
 *
 * @param end gets the states that are possible when all is over
 */
export function contradictionIn(events: readonly Event[], end?: (states: State[]) => void): Contradiction | undefined {
  let possible: Possibility[] = [{ state: undefined, phases: new Map() }];
  const pending = new Map<number, Pending>();
  for (const { index, isEnd } of momentsOf(events)) {
    const event = events[index];
    if (event === undefined) continue;
    if (!isEnd) {
      pending.set(index, { index, command: event.command, answer: event.answer });
      possible = possible.map(({ state, phases }) => ({ state, phases: new Map([...phases, [index, "begun"]]) }));
      continue;
    }
    const before = possible;
    possible = closed(possible, pending).flatMap((possibility) => withoutEnded(possibility, pending.get(index)));
    pending.delete(index);
    if (possible.length === 0) {
      const earlier = events.filter(({ from }) => from <= event.to).toSorted((a, b) => a.to - b.to);
      return { event, before: earlier.slice(-SHOWN), states: [...new Set(before.map(({ state }) => name(state)))] };
    }
  }
  end?.(closed(possible, pending).map(({ state }) => state));
  return undefined;
}

function momentsOf(events: readonly Event[]): { at: number; index: number; isEnd: boolean }[] {
  return events
    .flatMap(({ from, to }, index) => [
      { at: from, index, isEnd: false },
      { at: to, index, isEnd: true },
    ])
    .sort((a, b) => a.at - b.at);
}

/** All possibilities that lead on from these, these included. */
function closed(possible: readonly Possibility[], pending: ReadonlyMap<number, Pending>): Possibility[] {
  const found = new Map<string, Possibility>();
  const todo = [...possible];
  for (let one = todo.pop(); one !== undefined; one = todo.pop()) {
    const key = keyOf(one);
    if (found.has(key)) continue;
    found.set(key, one);
    if (found.size > MOST_POSSIBILITIES) throw new Error(`too much at once: ${pending.size} commands on one container`);
    const { state, phases } = one;
    const looked = afterLooking(one, pending);
    if (looked !== undefined) {
      todo.push(looked);
      continue;
    }
    for (const next of ownSteps(state)) todo.push({ state: next, phases });
    for (const [index, phase] of phases) {
      const command = pending.get(index);
      if (command === undefined) continue;
      for (const step of stepsOf(command, phase, state)) {
        todo.push({ state: step.state, phases: new Map(phases).set(index, step.phase) });
      }
    }
  }
  return [...found.values()];
}

/**
 * The same with every command done that only looks, and sees now what it is going to answer: it changes nothing for others, so
 * nothing is lost by letting it look at once, and the possibilities do not multiply by when it did.
 */
function afterLooking({ state, phases }: Possibility, pending: ReadonlyMap<number, Pending>): Possibility | undefined {
  let after: Map<number, Phase> | undefined;
  for (const [index, phase] of phases) {
    const command = pending.get(index);
    if (phase === "done" || command === undefined || !onlyLooks(command)) continue;
    if (stepsOf(command, phase, state).length === 0) continue;
    after ??= new Map(phases);
    after.set(index, "done");
  }
  return after && { state, phases: after };
}

function withoutEnded({ state, phases }: Possibility, ended: Pending | undefined): Possibility[] {
  if (ended === undefined) return [];
  const phase = phases.get(ended.index) ?? "begun";
  const rest = new Map(phases);
  rest.delete(ended.index);
  if (ended.answer.kind === "killed") {
    return afterKill(ended, phase, state).map((after) => ({ state: after, phases: rest }));
  }
  return phase === "done" ? [{ state, phases: rest }] : [];
}

function keyOf({ state, phases }: Possibility): string {
  return `${name(state)} ${[...phases].map(([index, phase]) => `${index}:${phase}`).join(" ")}`;
}

function name(state: State): string {
  if (state === undefined) return "absent";
  const { status, maker, from, isDying } = state;
  return `${status} by ${maker}${status === "paused" ? ` from ${from}` : ""}${isDying ? ", dying" : ""}`;
}
