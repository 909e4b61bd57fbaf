/**
 * The isolation level at which cloche is tested: its default, or what `CLOCHE_ISOLATION` says, which every command gets from us.
 * scripts/test runs what depends on the level at both.
 */

/** Names the level to commands of cloche, also through docker and containerd. */
export const LEVEL_VARIABLE = "CLOCHE_ISOLATION";

/** Whether cloche isolates as far as it does by default. */
export function isSandboxed(): boolean {
  return process.env[LEVEL_VARIABLE] !== "oci";
}

/** The variable, for programs that are given no environment of ours. */
export function levelVariables(): Record<string, string> {
  const level = process.env[LEVEL_VARIABLE];
  return level === undefined ? {} : { [LEVEL_VARIABLE]: level };
}

/** Runs a test of what differs at level `sandboxed` by design. Tests of a file run one after the other, and so share the variable. */
export async function atLevelOci(body: () => unknown): Promise<void> {
  const before = process.env[LEVEL_VARIABLE];
  process.env[LEVEL_VARIABLE] = "oci";
  try {
    await body();
  } finally {
    if (before === undefined) delete process.env[LEVEL_VARIABLE];
    else process.env[LEVEL_VARIABLE] = before;
  }
}
