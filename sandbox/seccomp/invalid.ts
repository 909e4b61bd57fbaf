import { SpecError } from "../../specutils/errors.ts";

const clause = "config-linux.md#seccomp";

/**
 * The error for a wrong field of `linux.seccomp`.
 * @param field path below `linux.seccomp`
 * @param value what the field holds and `wanted` what it may hold, if the problem is its value
 */
export function invalidSeccomp(field: string, problem: string, value?: string, wanted?: readonly string[]): SpecError {
  const path = `linux.seccomp.${field}`;
  const values = wanted === undefined ? "" : ` ${JSON.stringify(value ?? "")}, want one of ${wanted.join(", ")}`;
  return new SpecError(`invalid config.json: ${path}: ${problem}${values} (${clause})`, path, clause);
}
