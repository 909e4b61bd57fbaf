/** What surrounds an operation when the administrator wants more than serving: policy, quota, audit. Without, it costs nothing. */
import type { Audit } from "./audit.ts";
import type { Gofer, Operation } from "./gofer.ts";
import type { Guard } from "./guard.ts";
import type { Quota } from "./quota.ts";

/** Guard, quota and audit of one tree, in that order. */
export class Hooks {
  readonly guard: Guard;
  readonly quota: Quota | undefined;
  readonly #audit: Audit | undefined;

  constructor(guard: Guard, quota: Quota | undefined, audit: Audit | undefined) {
    this.guard = guard;
    this.quota = quota;
    this.#audit = audit;
  }

  /** Carries the request in the arena out, or refuses it. */
  run(gofer: Gofer, opcode: number, operation: Operation): number {
    const refused = this.guard.check(gofer, opcode) || (this.quota?.check(gofer, opcode) ?? 0);
    if (refused !== 0) {
      this.#audit?.note(gofer, opcode, refused, true);
      return refused;
    }
    const result = operation(gofer);
    if (result >= 0) this.quota?.commit();
    this.#audit?.note(gofer, opcode, result, false);
    return result;
  }
}
