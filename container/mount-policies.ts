/** What holds for the mounts of one container: settings, annotations and gofer policy taken together. */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { TreeOptions } from "../gofer/options.ts";
import { bytesOf, Globs } from "../gofer/policy.ts";
import { FILE_ACCESS, type FileAccess } from "../sandbox/isolation/level.ts";
import { type MountAccess, mountName } from "../sandbox/isolation/mount-access.ts";
import { ClocheError, reasonOf, SpecError } from "../specutils/errors.ts";
import type { Spec } from "../specutils/spec.ts";
import {
  type GoferPolicyFile,
  isRestrictive,
  type MountPolicy,
  mergePolicies,
  NO_POLICY,
  readGoferPolicy,
} from "./gofer-policy.ts";
import { GOFER_POLICY_ANNOTATION, type IsolationSettings } from "./isolation-level.ts";

/** How the files of mounts get into a sandbox: `served`, or by destination `/=auto,/data=served`. */
const FILE_ACCESS_ANNOTATION = "dev.cloche.file-access";

export interface MountPolicies {
  /** Whether there is any mount that a policy could hold for. */
  isSet: boolean;
  /** @throws SpecError for a way that the annotation may not ask for */
  access(destination: string): MountAccess;
  /** What the gofer of a mount is told. */
  goferOptions(destination: string): Partial<TreeOptions>;
  /** Whether the policy of a mount hides a path of it, so that nothing can be mounted there. */
  isHidden(destination: string, path: string): boolean;
  /** Where the audit stream of the mounts with a policy goes. */
  audit: string | undefined;
}

/** @throws ClocheError, SpecError that name the field */
export async function mountPolicies(settings: IsolationSettings, spec: Spec): Promise<MountPolicies> {
  const { fileAccess, allowAnnotation } = settings;
  const file = policyFile(settings, spec);
  const { mounts, audit: ownAudit } = file === undefined ? NO_FILE : await readGoferPolicy(file);
  const audit = settings.goferAudit ?? ownAudit;
  const common = mounts.get("*") ?? NO_POLICY;
  // An audit stream without more is one of everything.
  const isAuditOnly = file === undefined && audit !== undefined;
  if (audit === undefined) checkLogged(file, mounts);
  const policyOf = (destination: string) => mergePolicies(common, mounts.get(mountName(destination)) ?? NO_POLICY);
  const asked = askedAccess(spec);
  const access = (destination: string): MountAccess => {
    const name = mountName(destination);
    const policy = policyOf(name);
    const isHeld = isAuditOnly || isRestrictive(policy);
    const { access: wanted, field } = asked(name);
    const set = isHeld ? "served" : (policy.fileAccess ?? fileAccess);
    if (wanted !== undefined && wanted !== "served" && set === "served" && (isHeld || !allowAnnotation)) {
      const remedy = isHeld
        ? "it has a gofer policy"
        : "an administrator may allow it with isolation-annotation in the configuration file";
      throw new SpecError(
        `invalid config.json: ${field}: ${JSON.stringify(name)} is to be served, and not ${JSON.stringify(wanted)}: ${remedy}`,
        field,
      );
    }
    const isNamed = isRestrictive(mounts.get(name) ?? NO_POLICY);
    return { access: wanted ?? set, policy: isNamed ? "named" : isHeld ? "any" : undefined };
  };
  return {
    isSet: isAuditOnly || [...mounts.values()].some(isRestrictive),
    access,
    goferOptions: (destination) => optionsOf(policyOf(destination), mountName(destination)),
    isHidden: (destination, path) => new Globs(policyOf(destination).hidden).covers(bytesOf(path)),
    audit,
  };
}

const NO_FILE: GoferPolicyFile = { audit: undefined, mounts: new Map() };

/** The annotation's if the administrator allows that: it names a file of the host. @throws SpecError */
function policyFile(
  { goferPolicy, allowAnnotation }: IsolationSettings,
  { annotations = {} }: Spec,
): string | undefined {
  const asked = annotations[GOFER_POLICY_ANNOTATION];
  if (asked === undefined) return goferPolicy;
  const field = `annotations["${GOFER_POLICY_ANNOTATION}"]`;
  const invalid = (reason: string) => new SpecError(`invalid config.json: ${field}: ${reason}`, field);
  if (!allowAnnotation) {
    throw invalid("an administrator may allow it with isolation-annotation in the configuration file");
  }
  if (!asked.startsWith("/")) throw invalid(`got ${JSON.stringify(asked)}, want the absolute path of a file`);
  return asked;
}

/** @throws ClocheError for globs that nothing would come of */
function checkLogged(file: string | undefined, mounts: ReadonlyMap<string, MountPolicy>): void {
  for (const [name, { logged }] of mounts) {
    if (logged.length === 0) continue;
    throw new ClocheError(
      `invalid gofer policy ${JSON.stringify(file)}: mounts.${JSON.stringify(name)}.logged: there is no audit stream: audit or --gofer-audit is needed`,
    );
  }
}

/** What the annotation asks for, by a mount's name. @throws SpecError */
function askedAccess({ annotations = {} }: Spec): (name: string) => { access: FileAccess | undefined; field: string } {
  const field = `annotations["${FILE_ACCESS_ANNOTATION}"]`;
  const byName = new Map<string, FileAccess>();
  const text = annotations[FILE_ACCESS_ANNOTATION];
  for (const item of text?.split(",") ?? []) {
    const equals = item.lastIndexOf("=");
    const access = FILE_ACCESS.find((known) => known === item.slice(equals + 1));
    const name = equals < 0 ? "*" : item.slice(0, equals);
    if (access === undefined || !(name === "*" || name.startsWith("/"))) {
      throw new SpecError(
        `invalid config.json: ${field}: got ${JSON.stringify(item)}, want one of ${FILE_ACCESS.join(", ")}, or "DESTINATION=" and one of them`,
        field,
      );
    }
    byName.set(name === "*" ? name : mountName(name), access);
  }
  return (name) => ({ access: byName.get(name) ?? byName.get("*"), field });
}

function optionsOf(policy: MountPolicy, name: string): Partial<TreeOptions> {
  return {
    hidden: [...policy.hidden],
    readOnlyPaths: [...policy.readOnly],
    logged: [...policy.logged],
    quotaBytes: policy.maxBytes,
    quotaFiles: policy.maxFiles,
    mount: name,
  };
}

/**
 * Opens the file of the audit stream, to append. Nothing else than a file: a pipe's reader could stop the gofers.
 *
 * @returns a descriptor, the caller's to close
 * @throws ClocheError
 */
export function openAudit(file: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const cannot = (reason: string, cause?: unknown) =>
    new ClocheError(`cannot open audit stream ${JSON.stringify(file)}: ${reason}`, { cause });
  let fd: number;
  try {
    fd = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    throw cannot(reasonOf(error), error);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw cannot("it is not a regular file");
}
