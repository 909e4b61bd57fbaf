/** Taking back what a failed operation has done so far. */
import { messageOf } from "../specutils/errors.ts";
import type { Context } from "./context.ts";

/** Steps that undo, run in reverse order. */
export class UndoStack {
  readonly #steps: (() => void | Promise<void>)[] = [];

  /** Adds the step that takes back what was just done, or is about to be begun. */
  push(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Forgets every step: what was done stays. */
  clear(): void {
    this.#steps.length = 0;
  }

  /** Runs and forgets every step. One that fails is logged and does not keep the others from running. */
  async run(context: Context): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        context.warn(`cannot clean up: ${messageOf(error)}`);
      }
    }
  }
}
