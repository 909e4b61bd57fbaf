/** Signals by name and number, as `kill` takes them (signal(7); the numbers hold for x86-64 and arm64). */

import { UsageError } from "./errors.ts";
import { quote } from "./quote.ts";

const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
};

const ALIASES: Readonly<Record<string, number>> = { SIGIOT: 6, SIGCLD: 17, SIGPOLL: 29, SIGUNUSED: 31 };

/** glibc keeps 32 and 33 for itself, so its SIGRTMIN, which everybody writes, is 34. */
const SIGRTMIN = 34;
const SIGRTMAX = 64;
const REAL_TIME_NAME = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/;

/**
 * The number (0 to 64) of a signal written as a number or a name, with or without `SIG`, in any case: `9`, `KILL`,
 * `SIGRTMIN+3`. Signal 0 sends nothing and only checks that the process is there (kill(2)).
 * @throws UsageError `unknown signal "NAME"`, the text runc has
 */
export function parseSignal(text: string): number {
  const number = /^\d{1,2}$/.test(text) ? Number(text) : numberOfName(text);
  if (number === undefined || number > SIGRTMAX) throw new UsageError(`unknown signal ${quote(text)}`);
  return number;
}

/** `SIGKILL` for 9, `SIGRTMIN+3` for 37; the bare number where a signal has no name. */
export function signalName(number: number): string {
  for (const name in SIGNALS) if (SIGNALS[name] === number) return name;
  if (number === SIGRTMIN) return "SIGRTMIN";
  return number > SIGRTMIN && number <= SIGRTMAX ? `SIGRTMIN+${number - SIGRTMIN}` : String(number);
}

function numberOfName(text: string): number | undefined {
  const upper = text.toUpperCase();
  const name = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  if (Object.hasOwn(SIGNALS, name)) return SIGNALS[name];
  if (Object.hasOwn(ALIASES, name)) return ALIASES[name];
  const [matched, base, sign, distance = "0"] = REAL_TIME_NAME.exec(name) ?? [];
  if (matched === undefined) return undefined;
  const number = (base === "MIN" ? SIGRTMIN : SIGRTMAX) + Number(`${sign ?? ""}${distance}`);
  return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
}
