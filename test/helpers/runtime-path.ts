/** Which runtime is tested: `dist/cloche`, or the one named by `RUNTIME`, to prove the tests on a peer. */
import path from "node:path";

/** The top of the checkout. */
export const projectDirectory = path.join(import.meta.dirname, "..", "..");

/** Files that the build makes. */
export const distDirectory = path.join(projectDirectory, "dist");

const chosen = process.env["RUNTIME"] ?? "";

/** Whether cloche itself is tested. */
export function isDefaultRuntime(): boolean {
  return chosen === "" || path.basename(chosen) === "cloche";
}

/** Path of the runtime under test, or its name if it is looked up in PATH. */
export function runtimePath(): string {
  return chosen === "" || chosen === "cloche" ? path.join(distDirectory, "cloche") : chosen;
}

/** Name of the runtime under test: `cloche`, `runc`, `crun`. */
export function runtimeName(): string {
  return path.basename(runtimePath());
}
