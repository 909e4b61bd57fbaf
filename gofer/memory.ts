/** Giving memory back when there is nothing to do. */
import type { Descriptors } from "./descriptors.ts";

export class Memory {
  /** Gives memory that is not used back to the system; no collection ever runs while the loop does not return. */
  giveBack(_descriptors: Descriptors): void {
    const engine = (globalThis as { Bun?: { gc(isSynchronous: boolean): void; shrink(): void } }).Bun;
    engine?.gc(true);
    engine?.shrink();
  }
}
