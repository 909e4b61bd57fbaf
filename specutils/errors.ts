/**
 * Every error that cloche raises on purpose. A class exists only where a caller branches on it or data is carried.
 *
 * A message has the form `cannot <verb> <object> "<value>": <cause>`: one line, lower case, no full stop. `name` and
 * `code` are literals because minifying renames classes. Anything else that is thrown is a bug and is reported as one.
 */

/** Base of all errors that are answers, not bugs. `code` is stable and meant for programs. */
export class ClocheError extends Error {
  override name = "ClocheError";
  code = "ERR_CLOCHE";
  /** What failed while cleaning up after this error, if anything did: it travels beside the failure, never instead. */
  cleanupFailures: Error[] = [];
}

/** The command line is wrong: unknown flag, missing argument, bad value. */
export class UsageError extends ClocheError {
  override name = "UsageError";
  override code = "ERR_USAGE";
}

/** config.json, a process file or resources JSON is wrong. `field` is the path of the field, `clause` the spec's section. */
export class SpecError extends ClocheError {
  override name = "SpecError";
  override code = "ERR_SPEC";
  readonly field: string;
  readonly clause: string | undefined;
  constructor(message: string, field: string, clause?: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
    this.clause = clause;
  }
}

/** No container has that id. The text contains `does not exist`, which containerd and docker look for. */
export class NotFoundError extends ClocheError {
  override name = "NotFoundError";
  override code = "ERR_NOT_FOUND";
}

/** The container's status does not allow the operation (runtime.md#operations). */
export class StatusError extends ClocheError {
  override name = "StatusError";
  override code = "ERR_STATUS";
  readonly status: string;
  readonly wanted: readonly string[];
  constructor(message: string, status: string, wanted: readonly string[], options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.wanted = wanted;
  }
}

/** A system call failed. `errno` is positive, as in errno(3). */
export class SyscallError extends ClocheError {
  override name = "SyscallError";
  override code = "ERR_SYSCALL";
  readonly call: string;
  readonly target: string;
  readonly errno: number;
  constructor(message: string, call: string, target: string, errno: number, options?: ErrorOptions) {
    super(message, options);
    this.call = call;
    this.target = target;
    this.errno = errno;
  }
}

/** cloche-init reported a failure. `stage` names the step of the plan that failed, `errno` is positive or 0. */
export class HelperError extends ClocheError {
  override name = "HelperError";
  override code = "ERR_HELPER";
  readonly stage: string;
  readonly errno: number;
  constructor(message: string, stage: string, errno: number, options?: ErrorOptions) {
    super(message, options);
    this.stage = stage;
    this.errno = errno;
  }
}

/** This host or this build cannot do what was asked; the message says why and what would help. */
export class UnsupportedError extends ClocheError {
  override name = "UnsupportedError";
  override code = "ERR_UNSUPPORTED";
}

/**
 * Why a call of node:fs failed, without its code, its name and the path, for messages that say what matters of these
 * themselves: `permission denied`. Of anything else, its text.
 */
export function reasonOf(thrown: unknown): string {
  const message = messageOf(thrown);
  return /^E[A-Z0-9]+: (.*?)(?:, \w+(?: '.*)?)?$/s.exec(message)?.[1]?.toLowerCase() ?? message;
}

/** Text of anything thrown, for use as the cause at the end of a message. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
