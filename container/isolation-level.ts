/** The isolation levels, and who chooses one. What `sandboxed` means is in isolation.ts, which `oci` does not load. */
import type { FileAccess } from "../sandbox/isolation/level.ts";
import { SpecError, UnsupportedError } from "../specutils/errors.ts";
import type { Spec } from "../specutils/spec.ts";

/** Weakest first. */
export const ISOLATION_LEVELS = ["oci", "sandboxed"] as const;
export type IsolationLevel = (typeof ISOLATION_LEVELS)[number];

/** A level, and whether anybody chose it: what was chosen holds, or there is no container (own-ids.ts). */
export interface AskedLevel {
  level: IsolationLevel;
  isChosen: boolean;
}

/** With it config.json asks for a level; a weaker one than set only if the administrator allows it. */
export const ISOLATION_ANNOTATION = "dev.cloche.isolation";

/** With it config.json names a gofer policy, if the administrator allows it. */
export const GOFER_POLICY_ANNOTATION = "dev.cloche.gofer-policy";

/** What the administrator says about levels. */
export interface IsolationSettings extends AskedLevel {
  /** Whether the annotation may ask for less than `level`. */
  allowAnnotation: boolean;
  fileAccess: FileAccess;
  /** Absolute paths of the gofer policy and of the file for the audit stream. */
  goferPolicy: string | undefined;
  goferAudit: string | undefined;
  /** Where what is written to the root file system goes: to itself, to memory, or to a directory. */
  rootfsOverlay: "none" | "memory" | `/${string}`;
  /** What the baseline filter lets through. */
  baselineAllow: readonly string[];
  /** Whose ranges of ids are used. */
  idsUser: string;
}

export const DEFAULT_ISOLATION: IsolationSettings = {
  level: "sandboxed",
  isChosen: false,
  allowAnnotation: false,
  fileAccess: "auto",
  goferPolicy: undefined,
  goferAudit: undefined,
  rootfsOverlay: "none",
  baselineAllow: [],
  idsUser: "cloche",
};

/**
 * The level of a container.
 *
 * @throws SpecError for one that config.json may not ask for
 */
export function levelOf(
  { level, isChosen, allowAnnotation }: IsolationSettings = DEFAULT_ISOLATION,
  { annotations = {} }: Spec,
): AskedLevel {
  const asked = annotations[ISOLATION_ANNOTATION];
  if (asked === undefined) return { level, isChosen };
  const field = `annotations["${ISOLATION_ANNOTATION}"]`;
  const known = ISOLATION_LEVELS.find((name) => name === asked);
  if (known === undefined) {
    throw new SpecError(
      `invalid config.json: ${field}: got ${JSON.stringify(asked)}, want one of ${ISOLATION_LEVELS.join(", ")}`,
      field,
    );
  }
  if (allowAnnotation || ISOLATION_LEVELS.indexOf(known) >= ISOLATION_LEVELS.indexOf(level)) {
    return { level: known, isChosen: true };
  }
  throw new SpecError(
    `invalid config.json: ${field}: ${JSON.stringify(known)} isolates less than ${JSON.stringify(level)}: an administrator may allow it with isolation-annotation in the configuration file`,
    field,
  );
}

/**
 * Refuses at level `oci` what only a gofer can see to.
 *
 * @throws UnsupportedError that names the setting
 */
export function checkNoGofer(
  { goferPolicy, goferAudit }: IsolationSettings = DEFAULT_ISOLATION,
  { annotations = {} }: Spec,
): void {
  const asked = [
    goferPolicy !== undefined && "gofer-policy",
    goferAudit !== undefined && "gofer-audit",
    annotations[GOFER_POLICY_ANNOTATION] !== undefined && `annotations["${GOFER_POLICY_ANNOTATION}"]`,
  ].find((name) => name !== false);
  if (asked === undefined) return;
  throw new UnsupportedError(
    `${asked}: isolation level "oci" serves no files, and so has no policy for them: use --isolation sandboxed`,
  );
}
