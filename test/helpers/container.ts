/** One container for one question: what a shell sees inside, or why it was refused. */
import { expect } from "bun:test";
import type { BundleSpec } from "./bundle.ts";
import type { Runtime } from "./runtime.ts";

export type Change = (spec: BundleSpec) => void;

/** Runs a shell script in a container of its own and returns what it prints. @throws Error when it fails */
export function sh(runtime: Runtime, script: string, change: Change = () => {}): string {
  const bundle = runtime.bundle((spec) => {
    spec.process.args = ["sh", "-c", script];
    change(spec);
  });
  return runtime.ok(["run", "--bundle", bundle, runtime.id()]);
}

/** Expects that no container comes of a config, and that nothing is left of it; returns what `run` says. */
export function refusal(runtime: Runtime, change: Change): string {
  const id = runtime.id();
  const { exitCode, stdout, stderr } = runtime.run(["run", "--bundle", runtime.bundle(change), id]);
  expect({ exitCode, stdout, state: runtime.run(["state", id]).exitCode }).toEqual({
    exitCode: 1,
    stdout: "",
    state: 1,
  });
  expect(runtime.leftovers()).toEqual([]);
  return stderr;
}

/** The lines of a text, without the last, empty one. */
export function lines(text: string): string[] {
  return text.replace(/\n$/, "").split("\n");
}

/** Adds the capabilities to the bounding, effective and permitted set. */
export function grant(spec: BundleSpec, ...names: string[]): void {
  const { capabilities = {} } = spec.process;
  for (const set of ["bounding", "effective", "permitted"] as const) capabilities[set]?.push(...names);
}

/** Puts a container into a user namespace whose ids from 0 on are the host's from `hostID` on. */
export function mapIds(spec: BundleSpec, hostID = 100_000, size = 65_536): void {
  spec.linux.namespaces.push({ type: "user" });
  spec.linux.uidMappings = [{ containerID: 0, hostID, size }];
  spec.linux.gidMappings = [{ containerID: 0, hostID, size }];
}
