/** What a hook reads and writes: the container's state on its stdin, and a file for whatever it prints. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { State } from "../specutils/spec.ts";
import { memfd, NR, sys, throwErrno } from "../specutils/syscall.ts";

const MFD_CLOEXEC = 1;

/** How much of a failing hook's output is shown, in bytes from its end. */
const SHOWN_OUTPUT = 1024;

/** Descriptors for one hook; `close` closes both. */
export interface HookFiles {
  stdinFd: number;
  outputFd: number;
  close(): void;
}

/**
 * Opens both. They are files, not pipes: a daemon that the hook leaves behind may keep them open, and nothing blocks when
 * they are not read.
 */
export function openHookFiles(state: State): HookFiles {
  const stateFd = memfd("state", Buffer.from(JSON.stringify(state)));
  try {
    // The offset of what was just written is its end; opening it again starts at the beginning.
    const stdinFd = openSync(`/proc/self/fd/${stateFd}`, "r");
    const outputFd = sys(NR.memfd_create, "hook", MFD_CLOEXEC);
    if (outputFd < 0) {
      closeSync(stdinFd);
      throwErrno("memfd_create", "hook", outputFd);
    }
    return {
      stdinFd,
      outputFd,
      close() {
        closeSync(stdinFd);
        closeSync(outputFd);
      },
    };
  } finally {
    closeSync(stateFd);
  }
}

/** The files of hooks that the helper runs, one after another. */
export class HookTurns {
  #files: HookFiles | undefined;

  /** The answer to SYNC.HOOK: files for the next hook, which gets `state`. */
  next(state: State): { fds: number[] } {
    this.close();
    this.#files = openHookFiles(state);
    return { fds: [this.#files.stdinFd, this.#files.outputFd] };
  }

  /** What the hook that was run last wrote, as `lastOutput` has it; empty when there was none, or all is over. */
  output(): string {
    return this.#files === undefined ? "" : lastOutput(this.#files.outputFd);
  }

  /** Closes what is open. May be called again. */
  close(): void {
    this.#files?.close();
    this.#files = undefined;
  }
}

/** The end of what a hook wrote, in one line that starts with `: `; empty if it wrote nothing. */
export function lastOutput(outputFd: number): string {
  const { size } = fstatSync(outputFd);
  const bytes = Buffer.alloc(Math.min(size, SHOWN_OUTPUT));
  readSync(outputFd, bytes, 0, bytes.length, size - bytes.length);
  const line = bytes.toString("utf8").trim().replace(/\s+/g, " ");
  return line === "" ? "" : `: ${line}`;
}
